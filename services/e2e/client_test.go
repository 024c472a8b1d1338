// Package e2e judges the system as a whole: the client against real providers, faults, real processes.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/stack"
)

const alice = "alice@" + meshtest.Alpha

// machine is a person's folder on one computer.
type machine struct {
	t      *testing.T
	config client.Config
}

func newMachine(t *testing.T, m *meshtest.Mesh) *machine {
	t.Helper()
	return &machine{t, client.Config{Dir: t.TempDir(), StateFile: m.StateFile}}
}

// copy is the same person's folder on another computer.
func (m *machine) copy() *machine {
	m.t.Helper()
	c := &machine{m.t, m.config}
	c.config.Dir = m.t.TempDir()
	if err := os.CopyFS(c.config.Dir, os.DirFS(m.config.Dir)); err != nil {
		m.t.Fatal(err)
	}
	return c
}

// use opens the account for f.
func (m *machine) use(f func(a *client.Account)) {
	m.t.Helper()
	a, err := client.Open(m.config, "")
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			m.t.Error(err)
		}
	}()
	f(a)
}

func (m *machine) create(address string) {
	m.t.Helper()
	a, err := client.Create(m.t.Context(), m.config, address, client.CreateOptions{Description: "test"})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) sync() *client.SyncReport {
	m.t.Helper()
	var report *client.SyncReport
	m.use(func(a *client.Account) {
		var err error
		if report, err = a.Sync(m.t.Context(), nil); err != nil {
			m.t.Fatal(err)
		}
	})
	return report
}

func (m *machine) put(container string, entries ...mesh.Entry) {
	m.t.Helper()
	m.use(func(a *client.Account) {
		if err := catalog(m.t, a, container).Put(entries...); err != nil {
			m.t.Fatal(err)
		}
	})
}

func catalog(t *testing.T, a *client.Account, container string) *client.Catalog {
	t.Helper()
	c, err := a.Catalog(container)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// replica reads the container files.
func (m *machine) replica() map[string]string {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.config.Dir, "accounts", "*", "replica", "*"))
	if err != nil || len(files) == 0 {
		m.t.Fatal("no replica", err)
	}
	content := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			m.t.Fatal(err)
		}
		content[filepath.Base(f)] = string(b)
	}
	return content
}

func (m *machine) forget() {
	m.t.Helper()
	dirs, _ := filepath.Glob(filepath.Join(m.config.Dir, "accounts", "*", "replica"))
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			m.t.Fatal(err)
		}
	}
}

func login(n int, password string) *mesh.CatalogedCredential {
	return &mesh.CatalogedCredential{
		Protocol: "https", Service: fmt.Sprintf("site%d.example", n), Username: "alice", Password: password,
	}
}

func bookmark(n int) *mesh.CatalogedBookmark {
	return &mesh.CatalogedBookmark{Path: fmt.Sprintf("folder/page %d", n), URI: fmt.Sprintf("https://page%d.example/", n), Title: "a page"}
}

// C-002, C-003, C-085, C-086, C-087, C-090, C-095, C-102, C-103, C-178: an account is made, what is put into it goes to the
// service once, and comes back from there to the octet.
func TestClientRestoresToTheOctet(t *testing.T) {
	for _, store := range []string{stack.SQLite, stack.Postgres} {
		t.Run(store, func(t *testing.T) {
			restoresToTheOctet(t, meshtest.Start(t, meshtest.Options{Store: store, Dir: openDir(t)}))
		})
	}
}

// openDir is a folder that a private PostgreSQL, which runs as another user, can reach.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mesh-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func restoresToTheOctet(t *testing.T, service *meshtest.Mesh) {
	m := newMachine(t, service)
	m.create(alice)
	var logins, marks []mesh.Entry
	for n := range 40 {
		logins = append(logins, login(n, "secret"))
		marks = append(marks, bookmark(n))
	}
	m.put(mesh.CatalogCredential, logins...)
	m.put(mesh.CatalogBookmark, marks...)
	report := m.sync()
	if report.RoundTrips > 4 {
		t.Errorf("%d round trips for one batch, want at most 3 and 1 for the thousand", report.RoundTrips)
	}
	again := m.sync()
	if again.RoundTrips != 1 {
		t.Errorf("%d round trips with nothing to do, want 1", again.RoundTrips)
	}
	before := m.replica()
	m.forget()
	m.sync()
	after := m.replica()
	for name, content := range before {
		if after[name] != content {
			t.Errorf("%s came back with %d octets, want the %d that were there", name, len(after[name]), len(content))
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d containers came back, want %d", len(after), len(before))
	}
	m.use(func(a *client.Account) {
		entries, err := catalog(t, a, mesh.CatalogCredential).Entries()
		if err != nil || len(entries) != len(logins) {
			t.Fatalf("%d logins came back (%v), want %d", len(entries), err, len(logins))
		}
		status, err := a.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if n := len(status.ContainerStatus); n < len(after) {
			t.Errorf("Status lists %d containers, want at least %d", n, len(after))
		}
	})
}

// The import of the issue: 1,000 logins, 200 contacts with photos of 20 KiB, 300 bookmarks go out in three round trips and one
// per 4 MiB or 1,000 entries, and come back to the octet.
func TestClientRoundTripsOfAnImport(t *testing.T) {
	m := newMachine(t, meshtest.Start(t, meshtest.Options{}))
	m.create(alice)
	var logins, contacts, marks []mesh.Entry
	photo := make([]byte, 20<<10)
	for n := range 1000 {
		logins = append(logins, login(n, "secret"))
	}
	for n := range 200 {
		contact, err := mesh.NewTagged(mesh.TagContactPerson, mesh.ContactPerson{Contact: mesh.Contact{
			ID: fmt.Sprint(n), Sources: []mesh.TaggedSource{{BinarySource: photo}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		contacts = append(contacts, &mesh.CatalogedContact{Key: fmt.Sprintf("contact %d", n), Contact: contact})
	}
	for n := range 300 {
		marks = append(marks, bookmark(n))
	}
	m.put(mesh.CatalogCredential, logins...)
	m.put(mesh.CatalogContact, contacts...)
	m.put(mesh.CatalogBookmark, marks...)
	report := m.sync()
	const octets = 200 * (20 << 10) * 4 / 3 // base64 inside the entry
	entries := len(logins) + len(contacts) + len(marks)
	budget := 3 + max((entries+999)/1000, (octets+4<<20-1)/(4<<20))
	if report.RoundTrips > budget {
		t.Errorf("%d round trips, want at most %d", report.RoundTrips, budget)
	}
	uploaded := 0
	for _, c := range report.Containers {
		uploaded += c.Uploaded
	}
	if want := entries + 2; uploaded != want { // two containers began with it
		t.Errorf("%d frames uploaded, want %d", uploaded, want)
	}
	before := m.replica()
	m.forget()
	m.sync()
	for name, content := range m.replica() {
		if before[name] != content {
			t.Errorf("%s is another after the restore", name)
		}
	}
	m.use(func(a *client.Account) {
		list, err := catalog(t, a, mesh.CatalogCredential).Entries()
		if err != nil || len(list) != len(logins) {
			t.Errorf("%d logins (%v), want %d", len(list), err, len(logins))
		}
	})
}
