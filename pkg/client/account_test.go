package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// localAccount is an account that no service knows.
func localAccount(t *testing.T, c Config, address string) *Account {
	t.Helper()
	a, err := Create(t.Context(), c, address, CreateOptions{Local: true, Description: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func keysOf(t *testing.T, c *Catalog) []string {
	t.Helper()
	entries, err := c.Entries()
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

// What is put into a catalog is there at once, is there after the program ends, and is secret on disk.
func TestCatalogWithoutNetwork(t *testing.T) {
	c := Config{Dir: t.TempDir()}
	a := localAccount(t, c, "Alice@example.com")
	catalog, err := a.Catalog("mmm_CatalogCredential") // an alias
	if err != nil {
		t.Fatal(err)
	}
	if err := catalog.Put(credential(2), credential(1), credential(3)); err != nil {
		t.Fatal(err)
	}
	changed := credential(1)
	changed.Password = "a very secret password"
	if err := catalog.Put(changed); err != nil {
		t.Fatal(err)
	}
	if ok, err := catalog.Delete(credential(3).PrimaryKey()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := catalog.Delete("no such key"); ok || err != nil {
		t.Errorf("deleted what is not there: %v, %v", ok, err)
	}
	want := []string{credential(1).PrimaryKey(), credential(2).PrimaryKey()}
	if diff := cmp.Diff(want, keysOf(t, catalog)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := a.Info().Pending; n != 2 { // what came and went is nothing to send
		t.Errorf("%d changes wait, want 2", n)
	}
	before, err := os.ReadFile(filepath.Join(a.dir, fileQueue))
	if err != nil {
		t.Fatal(err)
	}
	if err := catalog.Put(changed); err != nil { // nothing new
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(a.dir, fileQueue))
	if err != nil || string(after) != string(before) {
		t.Errorf("the same content was queued again (%v)", err)
	}
	for _, secret := range []string{"very secret", "site1"} {
		if strings.Contains(string(after), secret) {
			t.Errorf("%q stands open in the queue", secret)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}

	if a, err = Open(c, ""); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if catalog, err = a.Catalog(mesh.CatalogCredential); err != nil {
		t.Fatal(err)
	}
	e, ok, err := catalog.Get(changed.PrimaryKey())
	if !ok || err != nil || !e.Pending || e.Tag != mesh.TagCatalogedCredential || e.Updated.IsZero() {
		t.Fatalf("%+v, %v, %v", e, ok, err)
	}
	entry, err := e.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(changed, entry); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a.Address() != "alice@example.com" {
		t.Errorf("address %q", a.Address())
	}
}

func TestPutRefuses(t *testing.T) {
	a := localAccount(t, Config{Dir: t.TempDir()}, "alice@example.com")
	catalog, err := a.Catalog(mesh.CatalogCredential)
	if err != nil {
		t.Fatal(err)
	}
	large := credential(1)
	large.Notes = strings.Repeat("x", uploadBytes)
	for name, e := range map[string]mesh.Entry{
		"another catalog": &mesh.CatalogedBookmark{Path: "x"},
		"a deletion":      deletion(credential(1)),
		"too large":       large,
	} {
		if err := catalog.Put(credential(9), e); err == nil {
			t.Errorf("%s was queued", name)
		}
	}
	marks, err := a.Catalog(mesh.CatalogBookmark)
	if err != nil {
		t.Fatal(err)
	}
	if err := marks.Put(&mesh.CatalogedBookmark{URI: "https://x.example"}); err == nil {
		t.Error("an entry without key was queued")
	}
	if keys := keysOf(t, catalog); len(keys) != 0 {
		t.Errorf("something of a refused Put is there: %v", keys)
	}
	for _, name := range []string{mesh.SpoolInbound, "mmm_Nothing", "../x"} {
		if _, err := a.Catalog(name); mesh.KindOf(err) != mesh.UnknownContainer {
			t.Errorf("%q: %v, want it refused", name, err)
		}
	}
}

func TestAccountsOfAMachine(t *testing.T) {
	c := Config{Dir: filepath.Join(t.TempDir(), "not", "there", "yet")}
	var missing *NotFoundError
	if _, err := Open(c, ""); !errors.As(err, &missing) {
		t.Errorf("an account where there is none: %v", err)
	}
	first := localAccount(t, c, "zoe/../x@example.com") // a name that is a path
	second := localAccount(t, c, "alice@example.org")
	if all, err := Accounts(c); err != nil || cmp.Diff([]string{"zoe/../x@example.com", "alice@example.org"}, all) != "" {
		t.Errorf("accounts %v (%v), want the first one made first", all, err)
	}
	if first.member.Mesh.UDF() != second.member.Mesh.UDF() || first.file.Device.DeviceUDF != second.file.Device.DeviceUDF {
		t.Error("the second account has a mesh or device of its own")
	}
	var there *ExistsError
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(t.Context(), c, "zoe/../x@example.com", CreateOptions{Local: true}); !errors.As(err, &there) {
		t.Errorf("made twice: %v", err)
	}
	if _, err := Create(t.Context(), c, "no address", CreateOptions{}); mesh.KindOf(err) != mesh.NameInvalid {
		t.Errorf("no address: %v", err)
	}
	if _, err := second.Sync(t.Context(), nil); !errors.As(err, &missing) {
		t.Errorf("Sync of an account that no service knows: %v", err)
	}
	err := filepath.WalkDir(c.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLockedByAnother(t *testing.T) {
	c := Config{Dir: t.TempDir()}
	a := localAccount(t, c, "alice@example.com")
	path := filepath.Join(a.dir, fileLock)
	if _, err := lock(path, 0); !errors.Is(err, errLocked) {
		t.Errorf("taken twice: %v", err)
	}
	free := make(chan error)
	go func() {
		b, err := Open(c, "") // waits
		if err == nil {
			err = b.Close()
		}
		free <- err
	}()
	time.Sleep(100 * time.Millisecond) // long enough for Open to meet the lock; it passes whatever happens
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-free; err != nil {
		t.Errorf("the second did not get it: %v", err)
	}
}

// A replica that somebody damaged is not read half: it says so, and is fetched anew when it is removed.
func TestDamagedReplica(t *testing.T) {
	p := newPerson(t, "alice@example.com")
	laptop, _ := p.device(mesh.RightAdmin, mesh.RightAll)
	s := newShelf(t, mesh.CatalogCredential)
	for n := range 5 {
		s.put(laptop, credential(n))
	}
	dir := t.TempDir()
	r, err := openReplica(dir, mesh.CatalogCredential, laptop)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.append(s.frames, laptop); err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openReplica(dir, mesh.CatalogCredential, laptop)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fmt.Sprint(r.chains, r.written), fmt.Sprint(again.chains, again.written)); diff != "" || len(again.signers) != 1 {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 0xFF
	content[1] ^= 0xFF
	if err := os.WriteFile(r.path, content, fileMode); err != nil {
		t.Fatal(err)
	}
	if _, err := openReplica(dir, mesh.CatalogCredential, laptop); err == nil {
		t.Error("a damaged file was read")
	}
}

// An address may have 64 characters of any script, and characters that a path gives a meaning.
func TestAccountDirs(t *testing.T) {
	c := Config{Dir: t.TempDir()}
	var want []string
	for _, local := range []string{"..", ".", "a+b", "q?*|<>", strings.Repeat("я", 64), strings.Repeat("字", 64)} {
		a, err := Create(t.Context(), c, local+"@example.com", CreateOptions{Local: true})
		if err != nil {
			t.Fatalf("%s: %v", local, err)
		}
		want = append(want, a.Address())
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if again, err := Open(c, a.Address()); err != nil {
			t.Errorf("%s: %v", local, err)
		} else if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	have, err := Accounts(c)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(have)
	slices.Sort(want)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(c.Dir); err != nil || len(entries) != 2 {
		t.Errorf("%v %v, want accounts and default", entries, err)
	}
}
