package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mathmesh/meshd/services/e2e/tamper"
)

const (
	alice = "alice@alpha.example"
	bob   = "bob@beta.example"
)

// The results of `mesh` that the demo reads.
type (
	importResult struct {
		Added, Updated, Unchanged int
		Skipped                   []struct{ Item, Reason string }
	}
	syncResult struct {
		Containers []struct {
			Container            string
			Frames               int64
			Digest               string
			Downloaded, Uploaded int
		}
		Conflicts  []struct{ Container, Key, Kept, Journal string }
		RoundTrips int `json:"round_trips"`
	}
	statusResult struct {
		Containers []struct {
			Container string
			Frames    int64
			Digest    string
		}
	}
)

func (d *demo) scenario() error {
	chapter("Two providers, alpha.example and beta.example")
	if err := d.step("start the service and wait until it is ready", func() (string, error) { return "", d.service.start() }); err != nil {
		return err
	}
	for _, part := range []func() error{d.importing, d.restoring, d.conflicting, d.lying, d.secondPerson, d.killing, d.sharding, d.messaging} {
		if err := part(); err != nil {
			return err
		}
	}
	fmt.Printf("\nMemory: %s\n", d.service.memory())
	return nil
}

func (d *demo) sample(name string) string { return filepath.Join(d.testdata, name) }

// importing: Alice creates an account, imports real files offline and sends everything in one sync.
func (d *demo) importing() error {
	chapter("Alice brings what she has")
	if err := d.step("mesh account create "+alice, func() (string, error) {
		return "", d.mesh("alice", "", "account", "create", alice).want(0)
	}); err != nil {
		return err
	}
	total := 0
	for _, imp := range []struct {
		noun, file string
		least      int
	}{{"password", "bitwarden.json", 500}, {"contact", "contacts.vcf", 200}, {"bookmark", "bookmarks.html", 300}} {
		if err := d.step(fmt.Sprintf("mesh %s import %s", imp.noun, imp.file), func() (string, error) {
			r, err := decode[importResult](d.mesh("alice", "", "--offline", imp.noun, "import", d.sample(imp.file)))
			if err == nil && r.Added < imp.least {
				err = fmt.Errorf("%d taken, want at least %d", r.Added, imp.least)
			}
			total += r.Added
			return fmt.Sprintf("%d taken, %d left out and named", r.Added, len(r.Skipped)), err
		}); err != nil {
			return err
		}
	}
	return d.step("mesh account sync", func() (string, error) {
		r, err := decode[syncResult](d.mesh("alice", "", "account", "sync"))
		if err != nil {
			return "", err
		}
		sent := 0
		for _, c := range r.Containers {
			sent += c.Uploaded
		}
		if sent < total {
			return "", fmt.Errorf("%d entries sent, want %d", sent, total)
		}
		// Three round trips and one for each 1,000 entries (or 4 MiB, which these files do not reach).
		if most := 3 + (sent+999)/1000; r.RoundTrips > most {
			return "", fmt.Errorf("%d round trips for %d entries, want at most %d", r.RoundTrips, sent, most)
		}
		return fmt.Sprintf("%d entries in %d round trips", sent, r.RoundTrips), nil
	})
}

// restoring: the replica is deleted and comes back, equal to the octet.
func (d *demo) restoring() error {
	chapter("Alice loses her replica")
	var before map[string][]byte
	if err := d.step("delete the replica, mesh account sync", func() (string, error) {
		dir := d.replica("alice", alice)
		var err error
		if before, err = files(dir); err != nil {
			return "", err
		}
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
		return "", d.mesh("alice", "", "account", "sync").want(0)
	}); err != nil {
		return err
	}
	return d.step("every container file is back, equal to the octet", func() (string, error) {
		after, err := files(d.replica("alice", alice))
		if err != nil {
			return "", err
		}
		size := 0
		for name, content := range before {
			if !bytes.Equal(content, after[name]) {
				return "", fmt.Errorf("%s differs: %d octets before, %d after", name, len(content), len(after[name]))
			}
			size += len(content)
		}
		if len(before) != len(after) || len(before) < 6 {
			return "", fmt.Errorf("%d files before, %d after: %v", len(before), len(after), slices.Sorted(maps.Keys(after)))
		}
		status, err := decode[statusResult](d.mesh("alice", "", "account", "status"))
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d files, %.1f MB; the service names %d containers", len(after), float64(size)/1e6, len(status.Containers)), nil
	})
}

// conflicting: two copies change one entry offline.
func (d *demo) conflicting() error {
	chapter("Alice edits offline on two copies")
	const site, user = "portal.corp.example", "bernd"
	if err := d.step("both copies change the same password without the network", func() (string, error) {
		if err := d.copyPerson("alice", "alice2"); err != nil {
			return "", err
		}
		for who, password := range map[string]string{"alice": "first-version", "alice2": "second-version"} {
			if err := d.mesh(who, password+"\n", "--offline", "password", "add", site, user, "--password-file", "-").want(0); err != nil {
				return "", err
			}
		}
		return "", nil
	}); err != nil {
		return err
	}
	if err := d.step("the first copy syncs, the second meets a conflict (exit 5)", func() (string, error) {
		if err := d.mesh("alice", "", "account", "sync").want(0); err != nil {
			return "", err
		}
		r := d.mesh("alice2", "", "account", "sync")
		if err := r.want(5); err != nil {
			return "", err
		}
		var report syncResult
		if err := json.Unmarshal([]byte(r.out), &report); err != nil {
			return "", err
		}
		if len(report.Conflicts) != 1 {
			return "", fmt.Errorf("%d conflicts reported, want 1: %s", len(report.Conflicts), r.out)
		}
		c := report.Conflicts[0]
		return fmt.Sprintf("%s: the %s version stands, the other is in %s", c.Key, c.Kept, filepath.Base(c.Journal)), d.bothSurvive(c.Kept, c.Journal, site, user)
	}); err != nil {
		return err
	}
	return d.step("both copies agree again", func() (string, error) {
		if err := d.mesh("alice", "", "account", "sync").want(0); err != nil {
			return "", err
		}
		a, b := d.mesh("alice", "", "password", "get", site, "--user", user, "--field", "password"), d.mesh("alice2", "", "password", "get", site, "--user", user, "--field", "password")
		if a.out != b.out || a.code != 0 {
			return "", fmt.Errorf("the copies differ: %s / %s", a.out, b.out)
		}
		return "", nil
	})
}

// bothSurvive checks that one version is in the catalog and the other in the journal.
func (d *demo) bothSurvive(kept, journal, site, user string) error {
	stands, err := decode[map[string]string](d.mesh("alice2", "", "password", "get", site, "--user", user, "--field", "password"))
	if err != nil {
		return err
	}
	other := map[string]string{"first-version": "second-version", "second-version": "first-version"}[stands["password"]]
	if other == "" {
		return fmt.Errorf("the password is neither version: %q", stands["password"])
	}
	lost, err := os.ReadFile(journal)
	if err != nil {
		return err
	}
	if !bytes.Contains(lost, []byte(other)) {
		return fmt.Errorf("the %s version stands and the journal does not have the other", kept)
	}
	return nil
}

// lying: octets change in the service's database; a fresh replica finds and names each.
func (d *demo) lying() error {
	chapter("What the provider's database has of it")
	if err := d.step("no site, user or title of hers stands in any frame", d.searching); err != nil {
		return err
	}
	chapter("The provider's database lies")
	const container, index = "mmm_Credential", 5
	for _, what := range []string{tamper.Payload, tamper.Header, tamper.Order} {
		if err := d.step(fmt.Sprintf("%s of %s frame %d changed: found and named (exit 6)", what, container, index), func() (string, error) {
			undo, err := d.tamper(what, container, index)
			if err != nil {
				return "", err
			}
			if err := d.freshReplica(); err != nil {
				return "", err
			}
			r := d.mesh("witness", "", "account", "sync")
			if err := undo(); err != nil {
				return "", err
			}
			if err := r.want(6); err != nil {
				return "", err
			}
			first, _, _ := strings.Cut(strings.TrimSpace(r.err), " (evidence:")
			if !strings.Contains(r.err, container) || !strings.Contains(r.err, fmt.Sprint(index)) {
				return "", fmt.Errorf("the report does not name %s frame %d: %s", container, index, r.err)
			}
			return first, nil
		}); err != nil {
			return err
		}
	}
	return d.step("everything put back: a fresh replica is clean", func() (string, error) {
		if err := d.freshReplica(); err != nil {
			return "", err
		}
		return "", d.mesh("witness", "", "account", "sync").want(0)
	})
}

// searching looks for what Alice imported in every frame of every database (C-015). That the search reads frames at all is
// shown by a word that stands in every header.
func (d *demo) searching() (string, error) {
	secrets := []string{"portal.corp.example", "office@corp.example", "Corp portal", "Safe in the hall", "JBSWY3DPEHPK3PXP", "twice.example"}
	seen := false
	for _, where := range d.service.databases() {
		db, err := tamper.Open(where)
		if err != nil {
			return "", err
		}
		found, err := db.Search(secrets)
		if err == nil && found != "" {
			err = fmt.Errorf("%q stands in a frame of %s", found, where)
		}
		if err == nil && !seen {
			var open string
			open, err = db.Search([]string{"ContentMetaData"})
			seen = open != ""
		}
		if err = errors.Join(err, db.Close()); err != nil {
			return "", err
		}
	}
	if !seen {
		return "", errors.New("the search found nothing at all, not even headers: it shows nothing")
	}
	return "", nil
}

func (d *demo) freshReplica() error {
	if err := d.copyPerson("alice", "witness"); err != nil {
		return err
	}
	return os.RemoveAll(d.replica("witness", alice))
}

func (d *demo) tamper(what, container string, index int64) (func() error, error) {
	for _, where := range d.service.databases() {
		db, err := tamper.Open(where)
		if err != nil {
			return nil, err
		}
		undo, ok, err := db.Change(what, alice, container, index)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		if ok {
			return func() error { defer db.Close(); return undo() }, nil
		}
		db.Close()
	}
	return nil, fmt.Errorf("no database holds %s frame %d of %s", container, index, alice)
}

// secondPerson: Bob does the same at the other provider.
func (d *demo) secondPerson() error {
	chapter("Bob, at beta.example")
	return d.step("create, import, sync, restore", func() (string, error) {
		if err := d.mesh("bob", "", "account", "create", bob).want(0); err != nil {
			return "", err
		}
		n := 0
		for noun, file := range map[string]string{"password": "bitwarden.json", "contact": "contacts.vcf", "bookmark": "bookmarks.html"} {
			r, err := decode[importResult](d.mesh("bob", "", noun, "import", d.sample(file)))
			if err != nil {
				return "", err
			}
			n += r.Added
		}
		before, err := files(d.replica("bob", bob))
		if err != nil {
			return "", err
		}
		if err := os.RemoveAll(d.replica("bob", bob)); err != nil {
			return "", err
		}
		if err := d.mesh("bob", "", "account", "sync").want(0); err != nil {
			return "", err
		}
		after, err := files(d.replica("bob", bob))
		if err != nil {
			return "", err
		}
		if !maps.EqualFunc(before, after, bytes.Equal) {
			return "", errors.New("the replica came back different")
		}
		return fmt.Sprintf("%d entries", n), nil
	})
}

// killing: the service is killed in the middle of writes; what was acknowledged is there afterwards.
func (d *demo) killing() error {
	chapter("SIGKILL in the middle")
	writers := []string{"w1@alpha.example", "w2@alpha.example", "w3@beta.example"}
	for _, w := range writers {
		if r := d.mesh(w, "", "account", "create", w); r.code != 0 {
			return r.want(0)
		}
	}
	acked := make([][]string, len(writers))
	if err := d.step("three people store passwords while the service is killed and restarted", func() (string, error) {
		var stop atomic.Bool
		var group sync.WaitGroup
		for i, w := range writers {
			group.Go(func() {
				for n := 0; !stop.Load(); n++ {
					site := fmt.Sprintf("site%d.example", n)
					r := d.mesh(w, fmt.Sprintf("pw-%d\n", n), "password", "add", site, "user", "--password-file", "-")
					var done struct{ Synced bool }
					if r.code == 0 && json.Unmarshal([]byte(r.out), &done) == nil && done.Synced {
						acked[i] = append(acked[i], site)
					}
				}
			})
		}
		time.Sleep(2 * time.Second)
		err := d.service.kill()
		time.Sleep(500 * time.Millisecond) // writers go on without a service
		if err == nil {
			err = d.service.restart()
		}
		time.Sleep(time.Second)
		stop.Store(true)
		group.Wait()
		return fmt.Sprintf("%d writes acknowledged", len(acked[0])+len(acked[1])+len(acked[2])), err
	}); err != nil {
		return err
	}
	return d.step("nothing acknowledged is missing, on fresh replicas", func() (string, error) {
		for i, w := range writers {
			if len(acked[i]) == 0 {
				return "", fmt.Errorf("%s had nothing acknowledged: the step shows nothing", w)
			}
			if err := d.mesh(w, "", "account", "sync").want(0); err != nil {
				return "", err
			}
			if err := os.RemoveAll(d.replica(w, w)); err != nil {
				return "", err
			}
			if err := d.mesh(w, "", "account", "sync").want(0); err != nil {
				return "", err
			}
			logins, err := decode[[]struct{ Service string }](d.mesh(w, "", "password", "list"))
			if err != nil {
				return "", err
			}
			there := map[string]int{}
			for _, l := range logins {
				there[l.Service]++
			}
			for _, site := range acked[i] {
				if there[site] != 1 {
					return "", fmt.Errorf("%s: %s was acknowledged and is there %d times", w, site, there[site])
				}
			}
		}
		return "", nil
	})
}

// sharding: accounts of one provider lie on different shards.
func (d *demo) sharding() error {
	chapter("Where the accounts lie")
	return d.step("meshctl account where", func() (string, error) {
		shards := map[string][]string{}
		for _, a := range []string{alice, "w1@alpha.example", "w2@alpha.example"} {
			s, err := d.service.where(a)
			if err != nil {
				return "", err
			}
			shards[s] = append(shards[s], strings.TrimSuffix(a, "@alpha.example"))
		}
		if len(shards) < 2 {
			return "", fmt.Errorf("all accounts lie on one shard: %v", shards)
		}
		var lines []string
		for _, s := range slices.Sorted(maps.Keys(shards)) {
			lines = append(lines, s+": "+strings.Join(shards[s], ", "))
		}
		return "alpha.example: " + strings.Join(lines, "; "), nil
	})
}
