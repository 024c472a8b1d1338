package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Version is the schema that this program knows: the number of its last migration.
func Version() (int64, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	var last int64
	for _, f := range files {
		n, err := goose.NumericComponent(f)
		if err != nil {
			return 0, err
		}
		last = max(last, n)
	}
	return last, nil
}

// connConfig reads a URL for a single connection: settings of the pool are not the server's.
func connConfig(url string) (*pgx.ConnConfig, error) {
	pool, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("postgres: the URL is malformed") // pgx repeats it, and it may hold a password
	}
	return pool.ConnConfig, nil
}

// Migrate brings the database of url to the schema of this program. Several at once are harmless: they wait for each other.
// A database of a later program is left as it is.
func Migrate(ctx context.Context, url string) (err error) {
	config, err := connConfig(url)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// The lock is tried for five minutes, goose's default: longer than a migration of ours holds it.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(5*time.Minute/time.Second)))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	return nil
}
