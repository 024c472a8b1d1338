package fsck_test

import (
	"context"
	"crypto/sha512"
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // its driver: the test changes a database behind the store's back

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/fsck"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/sqlite"
)

// database makes a shard's database with an account, six bookmarks of which one was changed and one deleted.
func database(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Run("fill", func(t *testing.T) { // a test of its own: the providers stop when it ends
		m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1, Dir: dir})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		a, err := client.Create(ctx, client.Config{Dir: t.TempDir(), StateFile: m.StateFile}, "alice@"+meshtest.Alpha, client.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		c, err := a.Catalog(mesh.CatalogBookmark)
		if err != nil {
			t.Fatal(err)
		}
		put := func(path, title string) {
			t.Helper()
			if err := c.Put(&mesh.CatalogedBookmark{Path: path, Title: title}); err != nil {
				t.Fatal(err)
			}
		}
		sync := func() {
			t.Helper()
			if _, err := a.Sync(ctx, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range []string{"a", "b", "c", "d", "e", "f"} {
			put(path, "")
		}
		sync()
		put("a", "changed")
		if _, err := c.Delete("b"); err != nil {
			t.Fatal(err)
		}
		sync()
	})
	path := filepath.Join(dir, meshtest.Alpha, "s00.db")
	report(t, path)
	return path
}

// report puts an incident into the database.
func report(t *testing.T, path string) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	digest := sha512.Sum512([]byte("report"))
	if _, err := store.Report(t.Context(), 7, shard.Entry{
		Header: []byte(`{}`), Payload: []byte("report"), PayloadDigest: digest[:], EnvelopeID: "incident",
	}); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, path string) *fsck.Report {
	t.Helper()
	w, err := sqlite.OpenWalker(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r, err := fsck.Check(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The judge finds nothing in a good database, and each planted fault by its name. C-089, D-24, D-43.
func TestFaults(t *testing.T) {
	path := database(t)
	clean := check(t, path)
	if len(clean.Faults) > 0 || clean.Frames < 12 || clean.Containers < 5 {
		t.Fatalf("a good database: %+v", clean)
	}
	// Each case changes the bookmarks; x is the row of the frame that is named.
	const x = ` WHERE container = (SELECT container FROM container WHERE name = 'mmm_Bookmark') AND account <> 0 AND idx = `
	const bookmarks = ` WHERE name = 'mmm_Bookmark'`
	for name, c := range map[string]struct {
		sql   string
		fault string
		index int64
	}{
		"payload":           {`UPDATE frame SET payload = CAST(zeroblob(payload_len) AS BLOB)` + x + `3`, "payload-digest", 3},
		"payload shorter":   {`UPDATE frame SET payload = substr(payload, 2)` + x + `3`, "payload-length", 3},
		"payload digest":    {`UPDATE frame SET payload_digest = zeroblob(64)` + x + `3`, "payload-digest", 3},
		"tree digest":       {`UPDATE frame SET tree_digest = zeroblob(64)` + x + `4`, "tree-digest", 4},
		"order":             {`UPDATE frame SET idx = CASE idx WHEN 2 THEN -3 WHEN 3 THEN 2 END` + strings.TrimSuffix(x, "= ") + `IN (2, 3); UPDATE frame SET idx = 3 WHERE idx = -3`, "tree-digest", 2},
		"frame gone":        {`DELETE FROM frame` + x + `4`, "gap", 4},
		"tail gone":         {`DELETE FROM frame` + x + `8`, "count", -1},
		"count":             {`UPDATE container SET frames = frames + 1` + bookmarks, "count", -1},
		"peaks":             {`UPDATE container SET peaks = zeroblob(length(peaks))` + bookmarks, "peaks", -1},
		"header no JSON":    {`UPDATE frame SET header = CAST('{' AS BLOB)` + x + `5`, "header", 5},
		"trailer no JSON":   {`UPDATE frame SET trailer = CAST('[]' AS BLOB)` + x + `5`, "trailer", 5},
		"Received in it":    {`UPDATE frame SET header = CAST('{"Received":"2026-01-01T00:00:00Z",' || substr(CAST(header AS TEXT), 2) AS BLOB)` + x + `5`, "header", 5},
		"index in it":       {`UPDATE frame SET header = CAST('{"ContainerInfo":{"Index":5},' || substr(CAST(header AS TEXT), 2) AS BLOB)` + x + `5`, "header", 5},
		"written digest":    {`UPDATE frame SET digest_written = 1 - digest_written` + x + `5`, "written-digest", 5},
		"unique id":         {`UPDATE frame SET unique_id = 'other'` + x + `5`, "metadata", 5},
		"envelope id":       {`UPDATE frame SET envelope_id = 'other'` + x + `5`, "envelope-id", 5},
		"of an incident":    {`UPDATE frame SET payload_digest = zeroblob(64) WHERE envelope_id = 'incident'`, "payload-digest", 1},
		"event":             {`UPDATE frame SET event = 3` + x + `5`, "event", 5},
		"account gone":      {`DELETE FROM account`, "orphan", -1},
		"another partition": {`UPDATE account SET address = 'bob@alpha.example'`, "partition", -1},
	} {
		changed := spoil(t, path, c.sql)
		r := check(t, changed)
		if !slices.ContainsFunc(r.Faults, func(f fsck.Fault) bool { return f.Kind == c.fault && f.Index == c.index }) {
			t.Errorf("%s: %v, want %s at %d", name, r.Faults, c.fault, c.index)
		}
	}
}

// spoil returns a copy of the database that statements have changed.
func spoil(t *testing.T, path, statements string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, s := range []struct{ path, sql string }{{path, `VACUUM INTO '` + copied + `'`}, {copied, statements}} {
		db, err := sql.Open("sqlite", "file:"+s.path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(s.sql); err != nil {
			t.Fatalf("%s: %v", s.sql, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// A disk that rots gives no report without end.
func TestManyFaults(t *testing.T) {
	r := check(t, spoil(t, database(t), `WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 2 FROM n WHERE i < 4000)
		INSERT INTO frame SELECT partition, account, container, i, envelope_id, unique_id, event, message_type, received, own, payload_len,
			payload_digest, digest_written, tree_digest, header, trailer, payload, blob FROM frame, n
		WHERE container = (SELECT container FROM container WHERE name = 'mmm_Bookmark') AND account <> 0 AND idx = 3`))
	if len(r.Faults) != 1000 || r.More == 0 {
		t.Errorf("%d faults and %d more", len(r.Faults), r.More)
	}
}
