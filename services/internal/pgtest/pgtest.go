// Package pgtest gives tests a real PostgreSQL: one private cluster per test binary, a database of its own per test.
//
// MESH_TEST_POSTGRES names a server to use instead (a URL of a superuser or of one who may create databases). A machine
// without PostgreSQL fails the test, with a message that says what to install.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/services/internal/pgcluster"
)

// Server is the PostgreSQL of a test binary, started by the first test that needs it. Its user is
//
//	var server = pgtest.Server{Migrate: postgres.Migrate}
//
//	func TestMain(m *testing.M) { os.Exit(server.Main(m)) }
type Server struct {
	Migrate func(ctx context.Context, url string) error // makes the schema in an empty database
	Durable bool                                        // fsync on

	once    sync.Once
	err     error
	cluster *pgcluster.Cluster
	url     string // of the database to make others from
	name    string // prefix of our databases: others may use the server too
	mu      sync.Mutex
	made    int
}

// Main runs the tests and stops the server. The result is for os.Exit.
func (s *Server) Main(m *testing.M) int {
	code := m.Run()
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	return code
}

// Database returns the URL of a new database with the schema, which goes away with the test.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name, err := s.create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.admin(fmt.Sprintf(`DROP DATABASE %s WITH (FORCE)`, name)); err != nil {
			t.Error(err)
		}
	})
	return within(s.url, name)
}

func (s *Server) create() (string, error) {
	s.once.Do(func() { s.err = s.start() })
	if s.err != nil {
		return "", s.err
	}
	s.mu.Lock() // one copy of a template at a time is all that PostgreSQL does
	defer s.mu.Unlock()
	s.made++
	name := fmt.Sprintf("%s_%d", s.name, s.made)
	return name, s.admin(fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s`, name, s.name))
}

func (s *Server) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s.name = "mesh_test_" + strings.ToLower(rand.Text()[:8])
	s.url = os.Getenv("MESH_TEST_POSTGRES")
	if s.url == "" {
		var err error
		if s.cluster, err = pgcluster.Start(ctx, pgcluster.Options{Durable: s.Durable}); err != nil {
			return err
		}
		s.url = s.cluster.URL("postgres")
	}
	if err := s.admin(`CREATE DATABASE ` + s.name); err != nil {
		return err
	}
	return s.Migrate(ctx, within(s.url, s.name))
}

// Stop stops the server; Main does it too.
func (s *Server) Stop() error {
	switch {
	case s.cluster != nil:
		return s.cluster.Stop()
	case s.url != "" && s.err == nil:
		return s.admin(fmt.Sprintf(`DROP DATABASE IF EXISTS %s WITH (FORCE)`, s.name))
	}
	return nil
}

func (s *Server) admin(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// within names another database of the same server.
func within(server, database string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	u.Path = "/" + database
	return u.String()
}
