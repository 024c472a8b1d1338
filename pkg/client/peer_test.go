package client

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/discover"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// neighbour is a service that forwards to the fake.
type neighbour struct {
	*Peer
	fake  *fakeService
	clock time.Duration // ahead of the fake's
	posts []jbcd.Raw
}

func newNeighbour(t *testing.T, f *fakeService) *neighbour {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	own, err := mesh.NewProvider("sender.example", time.Now(), 2)
	if err != nil {
		t.Fatal(err)
	}
	n := &neighbour{fake: f}
	f.serve = func(tag string, body jbcd.Raw) mesh.ResponseMessage {
		f.mu.Lock()
		n.posts = append(n.posts, slices.Clone(body))
		f.mu.Unlock()
		return &mesh.PostResponse{UploadResponse: mesh.UploadResponse{Entries: []mesh.EntryResponse{{Result: mesh.ResultAccept}}}}
	}
	n.Peer = NewPeer(Config{
		Services: map[string]string{"example.com": server.URL}, HTTP: server.Client(), Now: func() time.Time { return time.Now().Add(n.clock) },
	}, "example.com", own.Outbound)
	return n
}

var bob = []string{"bob@example.com"}

// post forwards one message with the script and returns what the fake saw.
func (n *neighbour) post(t *testing.T, script ...act) (*mesh.PostResponse, []string, error) {
	t.Helper()
	n.fake.mu.Lock()
	n.fake.script, n.fake.log = script, nil
	n.fake.mu.Unlock()
	res, err := n.Post(t.Context(), bob, []jbcd.Raw{jbcd.Raw(`[{},"eA"]`)})
	return res, slices.Clone(n.fake.log), err
}

// C-129, C-130: the first Post is authenticated by an exchange in Service mode, the second by its ticket; the octets of the envelopes
// arrive as they were.
func TestPeerPost(t *testing.T) {
	n := newNeighbour(t, newFake(t))
	odd := `[{ "EnvelopeID" : "MAAA" },"e\u0041\n ",{"signatures":[]}]`
	if _, err := n.Post(t.Context(), bob, []jbcd.Raw{jbcd.Raw(odd), jbcd.Raw(`[{},"eA"]`)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Hello null", "Hello exchange", "Post ticket"}, n.fake.log); diff != "" {
		t.Errorf("first Post (-want +got):\n%s", diff)
	}
	if got := string(n.posts[0]); !strings.Contains(got, `"Accounts":["bob@example.com"],"Message":[`+odd+`,[{},"eA"]]`) {
		t.Errorf("forwarded: %s", got)
	}
	res, log, err := n.post(t)
	if err != nil || len(res.Entries) != 1 || !slices.Equal(log, []string{"Post ticket"}) {
		t.Errorf("second Post: %v, %v, %+v", err, log, res)
	}
	if udf := n.fake.provider.Gateway.Service.UDF(); n.ServiceUDF() != udf {
		t.Errorf("pinned %q, want %q", n.ServiceUDF(), udf)
	}
}

// AUTH §5, §6, FLOWS §9: what a peer does about its ticket and the clock of the other, and what it leaves to its caller.
func TestPeerRefusals(t *testing.T) {
	code := func(k mesh.Kind) mesh.Code { return k.Code() }
	partial := `{"PostResponse":{"Status":503,"StatusExtended":31,"Entries":[{"IndexRequest":0},{"IndexRequest":1,"Result":"Accept"}]}}`
	tests := []struct {
		name    string
		script  []act
		log     []string
		kind    mesh.Kind // of a refusal that is returned; Internal: another error
		hint    bool
		ok      bool
		entries int
		retry   time.Duration
	}{
		{name: "expired", script: []act{{code: code(mesh.TicketExpired)}}, log: []string{"Post ticket", "Hello exchange", "Post ticket"}, ok: true, entries: 1},
		{
			name: "no key opens it", script: []act{{code: code(mesh.TicketInvalid), hint: true}},
			log: []string{"hint", "Hello null", "Hello exchange", "Post ticket"}, ok: true, entries: 1,
		},
		{
			name: "never any other ticket", script: []act{{code: code(mesh.TicketExpired)}, {}, {code: code(mesh.TicketExpired)}},
			log: []string{"Post ticket", "Hello exchange", "Post ticket"}, kind: mesh.TicketExpired,
		},
		{name: "overloaded", script: []act{{code: code(mesh.Overloaded), retry: 7}}, log: []string{"Post ticket"}, kind: mesh.Overloaded, retry: 7 * time.Second},
		{name: "some verdicts", script: []act{{payload: partial, retry: 3}}, log: []string{"Post ticket"}, kind: mesh.Overloaded, entries: 2, retry: 3 * time.Second},
		{name: "too many", script: []act{{code: code(mesh.RateLimited), hint: true, retry: 9}}, log: []string{"hint"}, kind: mesh.RateLimited, hint: true, retry: 9 * time.Second},
		{name: "blocked", script: []act{{code: code(mesh.ServiceBlockedService)}}, log: []string{"Post ticket"}, kind: mesh.ServiceBlockedService},
		{name: "a hint is no outcome", script: []act{{code: code(mesh.MessageInvalid), hint: true}}, log: []string{"hint"}, kind: mesh.MessageInvalid, hint: true},
		{name: "garbage", script: []act{{http: 200, body: "[not json"}, {http: 200, body: "<html>"}}, log: []string{"other", "other"}},
		{name: "sent elsewhere", script: []act{{http: 307, body: "go there"}, {http: 301, body: ""}}, log: []string{"other", "Post ticket"}, ok: true, entries: 1},
		{name: "hung up once", script: []act{{hangUp: true}}, log: []string{"Post ticket"}, ok: true, entries: 1},
		{name: "hung up twice", script: []act{{hangUp: true}, {hangUp: true}}, log: nil},
		{name: "an answer that is none", script: []act{{payload: `{"PostResponse":{"Status":201,"Entries":7}}`}}, log: []string{"Post ticket"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := newNeighbour(t, newFake(t))
			if err := n.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			res, log, err := n.post(t, test.script...)
			if time.Since(began) > 2*time.Second {
				t.Errorf("took %s: a peer does not wait", time.Since(began))
			}
			if diff := cmp.Diff(test.log, log); diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if len(res.Entries) != test.entries || (err == nil) != test.ok {
				t.Errorf("%d entries, %v", len(res.Entries), err)
			}
			var refusal *ServiceError
			var network *NetworkError
			switch {
			case test.ok:
			case test.kind == mesh.Internal:
				if !errors.As(err, &network) {
					t.Errorf("%v, want a network error", err)
				}
			case !errors.As(err, &refusal) || refusal.Kind != test.kind || refusal.Hint != test.hint || refusal.RetryAfter != test.retry:
				t.Errorf("%#v", err)
			case (res.Status == 0) != test.hint:
				t.Errorf("status %d of the Post itself", res.Status)
			}
		})
	}
}

// C-130, AUTH §5: after three quarters of its life a ticket is changed for another.
func TestPeerTicketLife(t *testing.T) {
	n := newNeighbour(t, newFake(t))
	n.fake.now = n.conf.now
	if _, _, err := n.post(t); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		by   time.Duration
		want []string
	}{
		{9 * time.Minute, []string{"Post ticket"}},
		{40 * time.Minute, []string{"Hello exchange", "Post ticket"}},
		{time.Minute, []string{"Post ticket"}},
		{24 * time.Hour, []string{"Hello null", "Hello exchange", "Post ticket"}},
	} {
		n.clock += step.by
		_, log, err := n.post(t)
		if diff := cmp.Diff(step.want, log); diff != "" || err != nil {
			t.Errorf("%s later: %v (-want +got):\n%s", step.by, err, diff)
		}
	}
}

// AUTH §6: the other's clock is ten minutes off; the time of its sealed refusal serves once, for each request.
func TestPeerClock(t *testing.T) {
	for _, clock := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		n := newNeighbour(t, newFake(t))
		n.clock = clock
		_, log, err := n.post(t)
		want := []string{"Hello null", "stale exchange", "Hello exchange", "refused ticket", "Post ticket"}
		if diff := cmp.Diff(want, log); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// Whoever takes the place of a service is found, until a day is over (D-38).
func TestPeerPinned(t *testing.T) {
	n := newNeighbour(t, newFake(t))
	n.fake.now = n.conf.now
	if err := n.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := mesh.NewProvider("example.com", time.Now(), 2)
	if err != nil {
		t.Fatal(err)
	}
	n.fake.mu.Lock()
	n.fake.provider = other
	n.fake.mu.Unlock()
	var proof *ProofError
	if _, _, err := n.post(t); !errors.As(err, &proof) {
		t.Errorf("%v, want another service found", err)
	}
	n.clock = 23 * time.Hour
	if _, _, err := n.post(t); !errors.As(err, &proof) {
		t.Errorf("%v, want another service found", err)
	}
	n.clock = 25 * time.Hour
	if _, _, err := n.post(t); err != nil || n.ServiceUDF() != other.Gateway.Service.UDF() {
		t.Errorf("a day later: %v", err)
	}
}

// Many at once authenticate once.
func TestPeerTogether(t *testing.T) {
	n := newNeighbour(t, newFake(t))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := n.Post(t.Context(), bob, []jbcd.Raw{jbcd.Raw(`[{},"eA"]`)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	slices.Sort(n.fake.log)
	if n.fake.log[0] != "Hello exchange" || n.fake.log[1] != "Hello null" || n.fake.log[2] != "Post ticket" || len(n.fake.log) != 18 {
		t.Errorf("%v", n.fake.log)
	}
}

// Why a peer was not found reaches the caller.
func TestPeerNotFound(t *testing.T) {
	n := newNeighbour(t, newFake(t))
	n.conf.Services, n.conf.StateFile = map[string]string{"example.com": "https://127.0.0.1:1"}, ""
	n.conf.HTTP = &http.Client{}
	var network *NetworkError
	if err := n.Prepare(t.Context()); !errors.As(err, &network) {
		t.Errorf("%v, want a network error", err)
	}
	n.conf.Services = map[string]string{"example.com": "ftp://x"}
	n.transport = nil
	if err := n.Prepare(t.Context()); err == nil || errors.As(err, &network) {
		t.Errorf("%v, want what is configured wrong", err)
	}
	var none *discover.Error
	if errors.As(n.Prepare(t.Context()), &none) {
		t.Error("a wrong configuration taken for the DNS")
	}
}

// FuzzPostAnswer: whatever a service answers to a Post, under its keys, the peer ends in a verdict.
func FuzzPostAnswer(f *testing.F) {
	f.Add([]byte(`{"PostResponse":{"Status":201,"Entries":[{"IndexRequest":0,"Result":"Accept"}]}}`))
	f.Add([]byte(`{"MeshResponse":{"Status":401,"StatusExtended":34}}`))
	f.Add([]byte(`{"UploadResponse":{"Status":503,"Entries":[{"IndexRequest":-1,"Result":"Reject","Reason":"MeshRedirect"}]}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		res := new(mesh.PostResponse)
		if err := decodeAnswer(payload, []byte("id"), res); err != nil {
			return
		}
		if res.Status < 200 || res.Status > 599 {
			t.Errorf("status %d", res.Status)
		}
		if r := refused(res.Base(), &reply{}, false); (r == nil) != (res.Status < 300 || res.Status == 300) {
			t.Errorf("status %d: %v", res.Status, r)
		}
	})
}
