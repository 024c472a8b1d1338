package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// password is the password of a login as this machine shows it.
func (m *machine) password(n int) (password string) {
	m.t.Helper()
	m.use(func(a *client.Account) {
		e, ok, err := catalog(m.t, a, mesh.CatalogCredential).Get(login(n, "").PrimaryKey())
		if err != nil {
			m.t.Fatal(err)
		}
		if !ok {
			password = "<deleted>"
			return
		}
		entry, err := e.Decode()
		if err != nil {
			m.t.Fatal(err)
		}
		password = entry.(*mesh.CatalogedCredential).Password
	})
	return password
}

func (m *machine) remove(n int) {
	m.t.Helper()
	m.use(func(a *client.Account) {
		if ok, err := catalog(m.t, a, mesh.CatalogCredential).Delete(login(n, "").PrimaryKey()); !ok || err != nil {
			m.t.Fatal(ok, err)
		}
	})
}

// clock lets a machine change things at another time than now.
func (m *machine) clock(later time.Duration) {
	m.config.Now = func() time.Time { return time.Now().Add(later) }
}

// C-098, C-099, FLOWS §4.3: two copies of a person's folder change the same entries offline. Each conflict is reported once,
// both versions survive, and afterwards both copies and the service are equal.
func TestClientConflicts(t *testing.T) {
	first := newMachine(t, meshtest.Start(t, meshtest.Options{}))
	first.create(alice)
	first.put(mesh.CatalogCredential, login(1, "old"), login(2, "old"), login(3, "old"), login(4, "old"), login(5, "old"))
	first.sync()
	second := first.copy()

	first.put(mesh.CatalogCredential, login(1, "first"), login(2, "first"), login(4, "first"), login(5, "same"), login(6, "new"))
	first.remove(3)
	second.clock(3 * time.Second)
	second.put(mesh.CatalogCredential, login(1, "second"), login(3, "second"), login(5, "same"), login(7, "new"))
	second.remove(4)
	second.clock(-time.Hour)
	second.put(mesh.CatalogCredential, login(2, "second"))
	second.clock(0)

	if report := first.sync(); len(report.Conflicts) != 0 {
		t.Fatalf("the first one conflicts with nobody: %v", report.Conflicts)
	}
	report := second.sync()
	type outcome struct{ kept, loser string }
	got := map[string]outcome{}
	for _, c := range report.Conflicts {
		loser, err := os.ReadFile(c.Journal)
		if err != nil {
			t.Fatal(err)
		}
		got[c.Key] = outcome{c.Kept, string(loser)}
	}
	want := map[int]outcome{
		1: {"local", `"Password":"first"`},   // the later change wins
		2: {"remote", `"Password":"second"`}, // also when it is the other's
		3: {"local", `"CatalogedDelete"`},    // a change outlives a deletion
		4: {"remote", `"CatalogedDelete"`},   // whoever made it
	}
	for n, w := range want {
		g := got[login(n, "").PrimaryKey()]
		if g.kept != w.kept || !strings.Contains(g.loser, w.loser) {
			t.Errorf("login %d: kept %q, journal %q, want %q and %q", n, g.kept, g.loser, w.kept, w.loser)
		}
	}
	if len(got) != len(want) {
		t.Errorf("conflicts %v, want %d of them: who did the same has none", got, len(want))
	}
	if report := first.sync(); len(report.Conflicts) != 0 {
		t.Errorf("the conflict is reported again: %v", report.Conflicts)
	}
	for n, want := range map[int]string{1: "second", 2: "first", 3: "second", 4: "first", 5: "same", 6: "new", 7: "new"} {
		for _, m := range []*machine{first, second} {
			if got := m.password(n); got != want {
				t.Errorf("login %d is %q, want %q", n, got, want)
			}
		}
	}
	second.use(func(a *client.Account) {
		e, _, err := catalog(t, a, mesh.CatalogCredential).Get(login(3, "").PrimaryKey())
		if err != nil || len(e.Labels) != 1 || e.Labels[0] != "conflict" || e.Pending {
			t.Errorf("labels %q, pending %v (%v), want conflict and at the service", e.Labels, e.Pending, err)
		}
	})
	a, b := first.replica(), second.replica()
	for name := range a {
		if a[name] != b[name] {
			t.Errorf("%s differs between the copies", name)
		}
	}
}

// direct is an HTTP client that reaches the provider wherever the request goes.
func direct(t *testing.T, p stack.ProviderState) *http.Transport {
	t.Helper()
	ca, err := os.ReadFile(p.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: p.Domain}}
}

// C-082, C-154: a proxy turns every 201 into a 500, throws away the reason and adds headers of its own. The payload's status
// counts: nothing changes. It is reached without TLS, by a pin, so tickets and sealing are all there is.
func TestClientBelievesThePayloadNotTheProxy(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{})
	p := service.Provider(t, meshtest.Alpha)
	target, err := url.Parse(p.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var turned atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: direct(t, p),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host})
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode == http.StatusCreated {
				turned.Add(1)
				r.StatusCode, r.Status = http.StatusInternalServerError, "500 Internal Server Error"
				r.Header.Set("Retry-After", "3600")
			}
			return nil
		},
	})
	defer proxy.Close()
	info, err := client.Hello(t.Context(), client.Config{StateFile: service.StateFile}, meshtest.Alpha)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, service)
	m.config = client.Config{Dir: m.config.Dir, Services: map[string]string{meshtest.Alpha: proxy.URL + target.Path}}
	if _, err := client.Create(t.Context(), m.config, alice, client.CreateOptions{}); err == nil {
		t.Fatal("an account was made at a service that neither TLS nor a pin names (AUTH §8)")
	}
	m.config.Pins = map[string]string{meshtest.Alpha: info.ServiceUDF}
	m.create(alice)
	m.put(mesh.CatalogCredential, login(1, "secret"))
	report := m.sync()
	m.forget()
	m.sync()
	if got := m.password(1); got != "secret" {
		t.Errorf("password %q", got)
	}
	if n := turned.Load(); n < int64(report.RoundTrips) {
		t.Errorf("the proxy turned %d answers only", n)
	}
	m.config.Pins = nil // pinned by the account by now
	m.sync()
}

// C-064, C-146, D-10: the process is killed when the service has committed an Upload and before it hears of it. The next
// one sends the same request once more, gets the stored outcome, and nothing is there twice. Where the outcome is forgotten by
// then (15 minutes) the service says Conflict, and the frames are fetched and recognised.
func TestClientKilledBeforeTheAnswer(t *testing.T) {
	t.Run("outcome stored", func(t *testing.T) { killedBeforeTheAnswer(t, false) })
	t.Run("outcome forgotten", func(t *testing.T) { killedBeforeTheAnswer(t, true) })
}

func killedBeforeTheAnswer(t *testing.T, forgotten bool) {
	service := meshtest.Start(t, meshtest.Options{})
	m := newMachine(t, service)
	m.create(alice)
	m.put(mesh.CatalogCredential, login(1, "one"))
	m.sync()
	m.put(mesh.CatalogCredential, login(1, "two"), login(2, "two"), login(3, "two"))
	m.put(mesh.CatalogBookmark, bookmark(1))
	for _, fate := range []string{"before", "after"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperDiesInUpload$")
		config, err := json.Marshal(map[string]string{"dir": m.config.Dir, "state": service.StateFile, "fate": fate})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(os.Environ(), "MESH_TEST_DIES="+string(config))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the helper was to be killed: %v\n%s", err, out)
		}
		m.use(func(a *client.Account) {
			if n := a.Info().Pending; n != 4 {
				t.Fatalf("killed %s the service heard of it: %d changes wait, want all 4", fate, n)
			}
		})
	}
	db, _ := database(t, service)
	var committed int64
	if err := db.QueryRow(`SELECT frames FROM container WHERE`+inContainer, alice, mesh.CatalogCredential).Scan(&committed); err != nil || committed != 5 {
		t.Fatalf("the service has %d frames (%v): the kill came too early", committed, err)
	}
	down, up := 0, 3
	if forgotten {
		change(t, db, `DELETE FROM request_dedup`)
		down, up = 3, 0
	}
	report := m.sync()
	for _, c := range report.Containers {
		want := map[string]int64{mesh.CatalogCredential: 5, mesh.CatalogBookmark: 2}[c.Container]
		if want > 0 && c.Frames != want {
			t.Errorf("%s has %d frames, want %d", c.Container, c.Frames, want)
		}
		if c.Container == mesh.CatalogCredential && (c.Downloaded != down || c.Uploaded != up) {
			t.Errorf("%d frames fetched, %d sent, want %d and %d", c.Downloaded, c.Uploaded, down, up)
		}
	}
	if len(report.Conflicts) != 0 {
		t.Errorf("conflicts with oneself: %v", report.Conflicts)
	}
	m.use(func(a *client.Account) {
		if n := a.Info().Pending; n != 0 {
			t.Errorf("%d changes still wait", n)
		}
	})
	before := m.replica()
	m.forget()
	m.sync()
	for name, content := range m.replica() {
		if before[name] != content {
			t.Errorf("%s is another after the restore", name)
		}
	}
}

// dies kills the process around the first request that follows an authenticated Hello: the Upload.
type dies struct {
	next  http.RoundTripper
	after bool
	posts int
}

func (d *dies) RoundTrip(r *http.Request) (*http.Response, error) {
	d.posts++
	upload := d.posts == 2 // after Status
	if upload && !d.after {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	res, err := d.next.RoundTrip(r)
	if upload {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return res, err
}

// TestHelperDiesInUpload is not a test: it is the process that TestClientKilledBeforeTheAnswer kills.
func TestHelperDiesInUpload(t *testing.T) {
	var c struct{ Dir, State, Fate string }
	if json.Unmarshal([]byte(os.Getenv("MESH_TEST_DIES")), &c) != nil {
		return
	}
	state, err := stack.ReadState(c.State)
	if err != nil {
		t.Fatal(err)
	}
	d := &dies{next: direct(t, state.Providers[0]), after: c.Fate == "after"}
	a, err := client.Open(client.Config{Dir: c.Dir, StateFile: c.State, HTTP: &http.Client{Transport: d}}, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Sync(t.Context(), nil)
	t.Fatalf("alive: %v", err)
}

// C-063, AUTH §6: a clock that is wrong by an hour is corrected by the sealed refusal, for each request anew; another
// account of the same machine shares mesh and device (C-006, C-145).
func TestClientWithAWrongClock(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{})
	m := newMachine(t, service)
	m.clock(-time.Hour)
	m.create(alice)
	m.put(mesh.CatalogCredential, login(1, "secret"))
	m.sync()
	m.create("alice@" + meshtest.Beta)
	all, err := client.Accounts(m.config)
	if err != nil || len(all) != 2 || all[0] != alice {
		t.Fatalf("accounts %v (%v)", all, err)
	}
	var infos []client.Info
	for _, address := range all {
		a, err := client.Open(m.config, address)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, a.Info())
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if infos[0].MeshUDF != infos[1].MeshUDF || infos[0].DeviceUDF != infos[1].DeviceUDF || infos[0].AccountUDF == infos[1].AccountUDF {
		t.Errorf("not one mesh and device with two accounts: %v", infos)
	}
}

// C-088, C-194, C-195: deletion needs a ticket made a moment ago, which the client gets by itself; then nothing works.
func TestClientDeletesTheAccount(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{})
	m := newMachine(t, service)
	m.create(alice)
	other := m.copy()
	m.use(func(a *client.Account) {
		if err := a.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Sync(t.Context(), nil); err == nil {
			t.Error("a deleted account synchronises")
		}
	})
	other.use(func(a *client.Account) {
		var refusal *client.ServiceError
		if _, err := a.Status(t.Context()); !errors.As(err, &refusal) || refusal.Hint {
			t.Errorf("Status of a deleted account from another copy: %v, want an authenticated refusal", err)
		}
	})
	another := newMachine(t, service)
	var refusal *client.ServiceError
	if _, err := client.Create(t.Context(), another.config, alice, client.CreateOptions{}); !errors.As(err, &refusal) || refusal.Kind != mesh.AccountRegistered {
		t.Errorf("the address in quarantine: %v, want 409/1", err)
	}
	if all, err := client.Accounts(another.config); err != nil || len(all) != 0 {
		t.Errorf("a refused address is left on the machine: %v (%v)", all, err)
	}
}

// An unreachable service loses nothing: the change waits, and another process is told who has the lock.
func TestClientOffline(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{})
	m := newMachine(t, service)
	m.create(alice)
	if err := service.StopProvider(t.Context(), meshtest.Alpha); err != nil {
		t.Fatal(err)
	}
	m.put(mesh.CatalogCredential, login(1, "offline"))
	m.use(func(a *client.Account) {
		var network *client.NetworkError
		if _, err := a.Sync(t.Context(), nil); !errors.As(err, &network) {
			t.Errorf("Sync: %v, want a network error", err)
		}
		if a.Info().Pending != 1 {
			t.Error("the change does not wait")
		}
	})
	if got := m.password(1); got != "offline" {
		t.Errorf("password %q", got)
	}
	if err := service.StartProvider(t.Context(), meshtest.Alpha); err != nil {
		t.Fatal(err)
	}
	m.sync()
	m.forget()
	m.sync()
	if got := m.password(1); got != "offline" {
		t.Errorf("password %q after the restore", got)
	}
}
