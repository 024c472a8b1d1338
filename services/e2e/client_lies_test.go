package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/e2e/tamper"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// database opens the one of the provider's databases that holds alice.
func database(t *testing.T, m *meshtest.Mesh) (*sql.DB, string) {
	t.Helper()
	for _, s := range m.Provider(t, meshtest.Alpha).Shards {
		db, err := sql.Open("sqlite", "file:"+s.Database+"?_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM account WHERE address = ?`, alice).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			t.Cleanup(func() { db.Close() })
			return db, s.Database
		}
		db.Close()
	}
	t.Fatal("no database holds the account")
	return nil, ""
}

// inContainer names a container of alice in SQL.
const inContainer = ` (partition, account, container) IN (SELECT c.partition, c.account, c.container FROM container c
	JOIN account a ON a.partition = c.partition AND a.account = c.account WHERE a.address = ?1 AND c.name = ?2) `

func change(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

// faultOf syncs and wants a ProofError in the container, with its evidence.
func faultOf(t *testing.T, m *machine, name string) *client.ProofError {
	t.Helper()
	var proof *client.ProofError
	m.use(func(a *client.Account) {
		report, err := a.Sync(t.Context(), nil)
		if !errors.As(err, &proof) {
			t.Fatalf("Sync: %v, want a proof failure", err)
		}
		if proof.Container != name {
			t.Fatalf("%v, want %s", proof, name)
		}
		for _, c := range report.Containers {
			if c.Container != name && c.Fault != "" {
				t.Errorf("%s failed too: %s", c.Container, c.Fault)
			}
		}
		for _, file := range []string{"fault.json", "answer.json"} {
			if info, err := os.Stat(filepath.Join(proof.Evidence, file)); err != nil || info.Size() == 0 {
				t.Errorf("evidence %s: %v", file, err)
			}
		}
	})
	return proof
}

// C-015, C-016, D-57: octets change in the provider's database; a client that fetches everything anew names each, keeps
// evidence, applies nothing of that container and all of the others.
func TestClientNamesWhatTheDatabaseLies(t *testing.T) {
	mesh1 := meshtest.Start(t, meshtest.Options{})
	m := newMachine(t, mesh1)
	m.create(alice)
	var logins []mesh.Entry
	for n := range 9 {
		logins = append(logins, login(n, "secret"))
	}
	m.put(mesh.CatalogCredential, logins...)
	m.put(mesh.CatalogBookmark, bookmark(1))
	m.sync()
	db, path := database(t, mesh1)
	const at = 5
	set := func(column, expression string) func() {
		return func() {
			change(t, db, `UPDATE frame SET `+column+` = `+expression+` WHERE`+inContainer+`AND idx = ?3`, alice, mesh.CatalogCredential, at)
		}
	}
	tampered := func(what string) func() {
		return func() {
			d, err := tamper.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, ok, err := d.Change(what, alice, mesh.CatalogCredential, at); !ok || err != nil {
				t.Fatal(what, ok, err)
			}
		}
	}
	tests := []struct {
		name  string
		lie   func()
		fault string
		index int64
	}{
		{"payload", tampered(tamper.Payload), "payload-digest", at},
		{"header", tampered(tamper.Header), "header", at},
		{"order", tampered(tamper.Order), "order", at},
		{"header is no JSON", set("header", `replace(header, '"EnvelopeID"', '"EnvelopeID')`), "header", at},
		{"trailer is no JSON", set("trailer", `replace(trailer, '"signatures"', '"signatures')`), "trailer", at},
		{"signature dropped", set("trailer", `replace(trailer, '"signatures"', '"signatores"')`), "unsigned", at},
		{"tree digest", set("tree_digest", `zeroblob(64)`), "tree-digest", at},
		{"a frame is gone", func() {
			change(t, db, `DELETE FROM frame WHERE`+inContainer+`AND idx = ?3`, alice, mesh.CatalogCredential, at)
		}, "order", at},
		{"the tail is gone", func() {
			change(t, db, `DELETE FROM frame WHERE`+inContainer+`AND idx >= ?3`, alice, mesh.CatalogCredential, at)
		}, "truncated", at},
		{"the container's digest", func() {
			change(t, db, `UPDATE container SET peaks = zeroblob(length(peaks)) WHERE`+inContainer, alice, mesh.CatalogCredential)
		}, "container-digest", 9},
	}
	save := func() func() {
		change(t, db, `CREATE TABLE kept_frame AS SELECT * FROM frame`)
		change(t, db, `CREATE TABLE kept_container AS SELECT * FROM container`)
		return func() {
			for _, table := range []string{"frame", "container"} {
				change(t, db, `DELETE FROM `+table)
				change(t, db, fmt.Sprintf(`INSERT INTO %s SELECT * FROM kept_%s`, table, table))
				change(t, db, `DROP TABLE kept_`+table)
			}
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			restore := save()
			defer restore()
			test.lie()
			fresh := m.copy()
			fresh.t = t
			fresh.forget()
			proof := faultOf(t, fresh, mesh.CatalogCredential)
			if proof.Fault != test.fault || proof.Index != test.index {
				t.Errorf("%v, want %s at %d", proof, test.fault, test.index)
			}
			fresh.use(func(a *client.Account) {
				if e, err := catalog(t, a, mesh.CatalogCredential).Entries(); err != nil || test.index != 9 && test.fault != "truncated" && len(e) != 0 {
					t.Errorf("%d entries applied (%v), want none", len(e), err)
				}
				if e, err := catalog(t, a, mesh.CatalogBookmark).Entries(); err != nil || len(e) != 1 {
					t.Errorf("%d bookmarks (%v), want the other container whole", len(e), err)
				}
			})
		})
	}
	fresh := m.copy()
	fresh.forget()
	fresh.sync()
	if a, b := m.replica(), fresh.replica(); a["mmm_Credential.dcat"] != b["mmm_Credential.dcat"] {
		t.Error("with everything put back the replica is another")
	}
}

// C-016: a service that shows less, or something else, than it has shown before is found by Status alone.
func TestClientFindsRollbackAndFork(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{})
	m := newMachine(t, service)
	m.create(alice)
	m.put(mesh.CatalogCredential, login(1, "a"), login(2, "b"))
	m.sync()
	db, _ := database(t, service)
	var frames int64
	var peaks []byte
	if err := db.QueryRow(`SELECT frames, peaks FROM container WHERE`+inContainer, alice, mesh.CatalogCredential).Scan(&frames, &peaks); err != nil {
		t.Fatal(err)
	}
	put := func(frames int64, peaks []byte) {
		change(t, db, `UPDATE container SET frames = ?3, peaks = ?4 WHERE`+inContainer, alice, mesh.CatalogCredential, frames, peaks)
	}
	put(frames-1, peaks[:64])
	if proof := faultOf(t, m, mesh.CatalogCredential); proof.Fault != "rollback" || proof.Index != frames-1 {
		t.Errorf("%v, want rollback to %d", proof, frames-1)
	}
	other := append([]byte(nil), peaks...)
	other[len(other)-1] ^= 1
	put(frames, other)
	if proof := faultOf(t, m, mesh.CatalogCredential); proof.Fault != "fork" {
		t.Errorf("%v, want fork", proof)
	}
	change(t, db, `CREATE TABLE gone AS SELECT * FROM container WHERE`+inContainer, alice, mesh.CatalogCredential)
	change(t, db, `DELETE FROM container WHERE`+inContainer, alice, mesh.CatalogCredential)
	if proof := faultOf(t, m, mesh.CatalogCredential); proof.Fault != "rollback" || proof.Index != 0 {
		t.Errorf("%v, want rollback to 0", proof)
	}
	change(t, db, `INSERT INTO container SELECT * FROM gone`)
	put(frames, peaks)
	m.sync()
}

// D-24: a service that does not keep header or trailer as it got them is found when the client reads back what it sent.
func TestClientReadsBackWhatItSent(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{})
	m := newMachine(t, service)
	m.create(alice)
	db, _ := database(t, service)
	change(t, db, `CREATE TRIGGER liar AFTER INSERT ON frame WHEN NEW.idx = 2 BEGIN
		UPDATE frame SET header = CAST(replace(CAST(header AS TEXT), '"dig":"SHA2"', '"dig":"S512"') AS BLOB) WHERE rowid = NEW.rowid; END`)
	m.put(mesh.CatalogBookmark, bookmark(1), bookmark(2), bookmark(3))
	if proof := faultOf(t, m, mesh.CatalogBookmark); proof.Fault != "read-back" || proof.Index != 2 {
		t.Errorf("%v, want read-back at 2", proof)
	}
	m.use(func(a *client.Account) {
		if e, err := catalog(t, a, mesh.CatalogBookmark).Entries(); err != nil || len(e) != 3 {
			t.Errorf("%d bookmarks (%v), want the three that still wait here", len(e), err)
		}
	})
}
