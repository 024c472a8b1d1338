// Package postgres is the production store of a shard: PostgreSQL 15 or later, through pgx.
//
// It promises what shard.Store says. Each writing verb is one call of a PL/pgSQL function (migrations/00002 and 00003), so
// one statement, one transaction and one round trip: nothing is left half done when this process dies. Each reading verb is
// one round trip and one snapshot. The schema is made by Migrate, which meshctl migrate calls, never by Open.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
)

const (
	// connections of a pool whose URL says nothing (pool_max_conns): commits of as many are flushed together, and a hundred,
	// PostgreSQL's default for all, leaves room for several processes.
	connections = 16

	// statementTime ends a statement whose client has forgotten it: the longest request of the protocol is 5 s.
	statementTime = 30 * time.Second

	// lockTime bounds the wait for an account that is busy, or for a move that freezes a partition (up to 5 s).
	lockTime = 10 * time.Second

	// sweepTime is between two looks at the deduplication tables, whose slots last 15 minutes.
	sweepTime = 5 * time.Minute
)

var _ shard.Store = (*Store)(nil)

// Store is one database.
type Store struct {
	pool  *pgxpool.Pool
	probe *pgxpool.Pool // one connection, of Ping alone
	busy  busy
	log   *slog.Logger
	stop  context.CancelFunc
	swept sync.WaitGroup

	unprepared bool // the URL wants no prepared statements (default_query_exec_mode): between us and the server is a pooler
}

// Option changes what Open makes.
type Option func(*Store)

// Log tells where faults go that no caller hears of; without it they go nowhere.
func Log(log *slog.Logger) Option { return func(s *Store) { s.log = log } }

// Open connects to the database of url (a PostgreSQL URL; pool_max_conns and its like are pgxpool's). It refuses a database of
// another schema and one whose constants (number of partitions, their hash) are not this program's.
func Open(ctx context.Context, url string, options ...Option) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("postgres: the URL is malformed") // pgx repeats it, and it may hold a password
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = connections
	}
	for name, value := range map[string]string{
		"application_name":                    "meshd shard",
		"default_transaction_isolation":       "read committed",
		"idle_in_transaction_session_timeout": milliseconds(statementTime),
		"statement_timeout":                   milliseconds(statementTime),
		"lock_timeout":                        milliseconds(lockTime),
		"jit":                                 "off", // compiling costs more than any statement of ours
		// A table that was analysed while it was empty, as autovacuum does after TRUNCATE, is read whole by a plan that lives on
		// while the table fills. Every statement of ours has its index.
		"enable_seqscan": "off",
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	one := config.Copy()
	one.MaxConns, one.MinConns, one.MinIdleConns = 1, 0, 0
	probe, err := pgxpool.NewWithConfig(ctx, one)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s := &Store{pool: pool, probe: probe, log: slog.New(slog.DiscardHandler)}
	s.unprepared = config.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement
	for _, option := range options {
		option(s)
	}
	if err := s.check(ctx); err != nil {
		probe.Close()
		pool.Close()
		return nil, fmt.Errorf("postgres: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.swept.Go(func() { s.sweep(background) })
	return s, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// check compares schema and constants.
func (s *Store) check(ctx context.Context) error {
	var have int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	var missing *pgconn.PgError
	if errors.As(err, &missing) && missing.Code == "42P01" {
		return errors.New("the database has no schema: run meshctl migrate")
	}
	if err != nil {
		return err
	}
	want, err := Version()
	if err != nil {
		return err
	}
	if have != want {
		return fmt.Errorf("the database has schema %d, this program needs %d: run meshctl migrate", have, want)
	}
	for name, want := range map[string]string{"partitions": strconv.Itoa(shardmap.Partitions), "hash": shardmap.Hash} {
		var value string
		if err := s.pool.QueryRow(ctx, `SELECT value FROM constant WHERE name = $1`, name).Scan(&value); err != nil {
			return err
		}
		if value != want {
			return fmt.Errorf("constant %s is %q in the database and %q in this program", name, value, want)
		}
	}
	return nil
}

// sweep empties deduplication tables whose time is over. Every process does it; it does not matter who comes first.
func (s *Store) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.sweepOnce(ctx)
		}
	}
}

// sweepOnce may fail where the table is in use: the next time does as well. One that always fails fills the disk.
func (s *Store) sweepOnce(ctx context.Context) {
	if _, err := s.pool.Exec(ctx, `SELECT mesh_sweep(mesh_slot())`); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "deduplication table not emptied", slog.Any("err", err))
	}
}

// Ping says whether the store can serve its own data: readiness. It has a connection of its own: a pool that is busy is not away,
// and a process that is taken out for its load gives it to the next.
func (s *Store) Ping(ctx context.Context) error {
	var n int
	return wrap("shard.Ping", s.probe.QueryRow(ctx, `SELECT count(*) FROM constant`).Scan(&n))
}

// Close releases everything.
func (s *Store) Close() error {
	s.stop()
	s.swept.Wait()
	s.probe.Close()
	s.pool.Close()
	return nil
}

// refuse makes the error of a code that a function of ours gave: MS and the extended code, 999 for a wrong shard.
func refuse(op, code, detail string) error {
	n, err := strconv.Atoi(strings.TrimPrefix(code, "MS"))
	var inner error
	if detail != "" {
		inner = errors.New(detail)
	}
	switch {
	case err != nil || !strings.HasPrefix(code, "MS"):
		return mesh.Errorf(op, mesh.Internal, "code %q", code)
	case n == 999:
		epoch, _ := strconv.ParseUint(detail, 10, 64)
		return mesh.E(op, mesh.WrongShard, shardmap.Stale{Epoch: epoch})
	case n == 31:
		return mesh.E(op, mesh.Overloaded, inner)
	}
	return mesh.E(op, mesh.KindOfCode(mesh.Code{Extended: n}), inner)
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
	var server *pgconn.PgError
	if errors.As(err, &server) && strings.HasPrefix(server.Code, "MS") {
		return refuse(op, server.Code, server.Message)
	}
	kind := mesh.Internal
	if passing(err, server) {
		kind = mesh.Overloaded
	}
	return mesh.E(op, kind, err)
}

// passing says whether the same request may succeed a moment later.
func passing(err error, server *pgconn.PgError) bool {
	if server != nil {
		switch server.Code[:2] {
		case "08", "40", "53", "57", "58": // connection, serialization and deadlock, resources, operator, system
			return true
		}
		switch server.Code {
		case "55P03", "25P03", "25006": // lock timeout, idle transaction ended, read-only: a standby that is not promoted yet
			return true
		}
		return false
	}
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &network) || errors.As(err, &connect) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

// none says whether a query had no row.
func none(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
