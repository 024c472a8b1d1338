// Package sqlite is the embedded store of a shard: one database file, pure Go, for meshd dev, tests and the demo.
//
// It promises what shard.Store says. Durable means synchronous=FULL in WAL mode: a commit has reached the disk. One
// connection writes, and holds the write lock from the first statement of a transaction (BEGIN IMMEDIATE), so the fence, an
// account and a container need no lock of their own. Readers see the last commit and do not wait. It does not move
// partitions: that needs PostgreSQL.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed schema.sql
var schema string

// version of schema.sql, in PRAGMA user_version.
const version = 2

// readers is the number of reading connections. Each has a page cache of up to 2 MiB, and two cores are busy with four.
const readers = 4

var _ shard.Store = (*Store)(nil)

// Store is one database file.
type Store struct {
	writer *sql.DB
	reader *sql.DB
	now    func() time.Time
}

// Open opens the database file at path, and makes it when there is none. It refuses a file of another schema and one whose
// constants (number of partitions, their hash) are not this program's.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{now: time.Now}
	var err error
	if s.writer, err = open(path, "_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s.writer.SetMaxOpenConns(1)
	s.writer.SetConnMaxIdleTime(0)
	if err := s.prepare(ctx); err != nil {
		_ = s.writer.Close()
		return nil, fmt.Errorf("sqlite: %s: %w", path, err)
	}
	if s.reader, err = open(path, "_pragma=busy_timeout(5000)&_pragma=query_only(true)"); err != nil {
		_ = s.writer.Close()
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	return s, nil
}

// open puts the pragmas into the name: set by a statement they would reach one connection only.
func open(path, query string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query)
}

func (s *Store) prepare(ctx context.Context) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var have int
	if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&have); err != nil {
		return err
	}
	constants := map[string]string{"partitions": strconv.Itoa(shardmap.Partitions), "hash": shardmap.Hash}
	switch have {
	case version:
	case 0:
		if _, err := tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", version)); err != nil {
			return err
		}
		for name, value := range constants {
			if _, err := tx.ExecContext(ctx, `INSERT INTO constant (name, value) VALUES (?, ?)`, name, value); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("schema %d, this program has %d", have, version)
	}
	for name, want := range constants {
		var value string
		if err := tx.QueryRowContext(ctx, `SELECT value FROM constant WHERE name = ?`, name).Scan(&value); err != nil {
			return err
		}
		if value != want {
			return fmt.Errorf("constant %s is %q here and %q in this program", name, value, want)
		}
	}
	return tx.Commit()
}

// Ping says whether the store can serve its own data.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "shard.Ping", func(tx *sql.Tx) error {
		var n int
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM constant`).Scan(&n)
	})
}

// Close releases everything.
func (s *Store) Close() error {
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// write runs f in a transaction and commits unless f fails.
func (s *Store) write(ctx context.Context, op string, f func(*sql.Tx) error) error {
	return run(ctx, op, s.writer, f)
}

// read runs f in a snapshot.
func (s *Store) read(ctx context.Context, op string, f func(*sql.Tx) error) error {
	return run(ctx, op, s.reader, f)
}

func run(ctx context.Context, op string, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return wrap(op, err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := f(tx); err != nil {
		return wrap(op, err)
	}
	return wrap(op, tx.Commit())
}

// wrap makes a *mesh.Error of any error; nil stays nil.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var known *mesh.Error
	if errors.As(err, &known) {
		return known
	}
	kind := mesh.Internal
	var driver *sqlite.Error
	switch {
	// ErrTxDone: the caller's time ended between two statements; package sql has rolled back by then.
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone):
		kind = mesh.Overloaded
	case errors.As(err, &driver):
		switch driver.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN:
			kind = mesh.Overloaded
		}
	}
	return mesh.E(op, kind, err)
}
