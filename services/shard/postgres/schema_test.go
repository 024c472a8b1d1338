package postgres

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/services/internal/pgtest"
)

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, statement string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct{ change, want string }{
		"no schema":          {`DROP TABLE goose_db_version`, "no schema: run meshctl migrate"},
		"an older schema":    {`DELETE FROM goose_db_version WHERE version_id = 3`, "run meshctl migrate"},
		"a later schema":     {`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`, "run meshctl migrate"},
		"other partitions":   {`UPDATE constant SET value = '1024' WHERE name = 'partitions'`, `partitions is "1024"`},
		"another hash":       {`UPDATE constant SET value = 'crc32' WHERE name = 'hash'`, `hash is "crc32"`},
		"a constant missing": {`DELETE FROM constant`, "no rows"},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.Database(t)
			exec(t, connect(t, url), c.change)
			s, err := Open(t.Context(), url)
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Open(t.Context(), "postgres://u:secret@h:notaport/d"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("malformed URL: %v", err)
	}
}

func TestMigrate(t *testing.T) {
	empty := pgtest.Server{Migrate: func(context.Context, string) error { return nil }}
	t.Cleanup(func() {
		if err := empty.Stop(); err != nil {
			t.Error(err)
		}
	})
	url := empty.Database(t)
	if s, err := Open(t.Context(), url); err == nil {
		_ = s.Close()
		t.Fatal("Open made a schema")
	}
	var wg sync.WaitGroup
	for range 3 { // as processes of a rollout do
		wg.Go(func() {
			if err := Migrate(t.Context(), url+"&pool_max_conns=2"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// Partitions must be row filters and payloads ranges: what is dear to change later.
func TestSchema(t *testing.T) {
	conn := connect(t, server.Database(t))
	rows, err := conn.Query(t.Context(), `SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indisprimary AND n.nspname = 'public' AND c.relname NOT IN ('constant', 'goose_db_version')`)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var table, column string
	if _, err := pgx.ForEachRow(rows, []any{&table, &column}, func() error {
		n++
		if column != "partition" {
			t.Errorf("primary key of %s begins with %s", table, column)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n < 16 {
		t.Errorf("%d tables", n)
	}
	var storage string
	if err := conn.QueryRow(t.Context(), `SELECT attstorage FROM pg_attribute WHERE attrelid = 'frame'::regclass AND attname = 'payload'`).Scan(&storage); err != nil || storage != "e" {
		t.Errorf("storage of payload: %q, %v", storage, err)
	}
	var identity int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attidentity <> '' AND c.relname <> 'goose_db_version'`).Scan(&identity); err != nil || identity != 0 {
		t.Errorf("%d identity columns, %v", identity, err)
	}
}
