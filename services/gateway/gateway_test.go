package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

const domainName = "alpha.example"

// lonely is a gateway whose shards are away: everything works that needs none.
type lonely struct {
	*Gateway
	provider *mesh.Provider
	ring     *make1.Ring
	clock    time.Time
}

func newLonely(t testing.TB, change func(*Config)) *lonely {
	t.Helper()
	g := &lonely{clock: time.Now().Truncate(time.Second)}
	var err error
	if g.provider, err = mesh.NewProvider(domainName, g.clock, 1); err != nil {
		t.Fatal(err)
	}
	if g.ring, err = make1.NewRing([]make1.RingEntry{make1.NewRingEntry(g.clock.Add(-time.Hour))}); err != nil {
		t.Fatal(err)
	}
	tele, err := telemetry.New(t.Context(), telemetry.Options{Role: "gateway", Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tele.Close(t.Context()) })
	nobody, err := shardmap.NewStatic(shardmap.Even(1, "127.0.0.1:1")) // nothing listens there
	if err != nil {
		t.Fatal(err)
	}
	router := rpc.NewRouter(nobody, func(target string) (*grpc.ClientConn, error) {
		return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	})
	t.Cleanup(func() { _ = router.Close() })
	k := g.provider.Gateway
	c := Config{
		Domains: []Domain{{
			Name: domainName, ProfileService: k.EnvelopedProfileService, ProfileHost: k.EnvelopedProfileHost,
			Keys: keys.NewRing(append(k.Authentication, k.Signature)...), Signer: k.Signature.KID(),
			Ring: func() *make1.Ring { return g.ring }, Policy: Open,
		}},
		Router: router, Telemetry: tele, Now: func() time.Time { return g.clock },
		Limits: Limits{ExchangeRate: 1e6, ExchangeBurst: 1e6},
	}
	if change != nil {
		change(&c)
	}
	if g.Gateway, err = New(c); err != nil {
		t.Fatal(err)
	}
	return g
}

// post sends a body to a handler over the recorder: no network.
func post(h http.Handler, body []byte, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "https://"+domainName+"/.well-known/mmm", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// reply is an answer as a client sees it.
type reply struct {
	http *httptest.ResponseRecorder
	mesh.Response
	how      string // "hint", "refusal", "response"
	ticket   *make1.Ticket
	received bool
}

func (r *reply) is(t testing.TB, what string, status, extended int64) {
	t.Helper()
	if r.Status != status || r.StatusExtended != extended {
		t.Errorf("%s: %d/%d (%s, %s), want %d/%d", what, r.Status, r.StatusExtended, r.StatusDescription, r.how, status, extended)
	}
	if want := int(status); want != 300 && r.http.Code != want {
		t.Errorf("%s: HTTP %d beside Status %d", what, r.http.Code, status)
	}
}

// readHint reads a hint.
func readHint(t testing.TB, w *httptest.ResponseRecorder) *reply {
	t.Helper()
	e, err := dare.Parse(w.Body.Bytes())
	if err != nil {
		t.Fatalf("HTTP %d, the answer is no envelope: %v: %q", w.Code, err, w.Body)
	}
	if string(e.Header) != "{}" || e.Trailer != nil {
		t.Fatalf("not a null envelope: %s", w.Body)
	}
	r := &reply{http: w, how: "hint"}
	if _, err := mesh.DecodeResponse(e.Payload, &r.Response); err != nil {
		t.Fatal(err)
	}
	return r
}

// stranger is a device that nobody has heard of.
type stranger struct {
	key     *keys.PrivateKey
	profile *dare.Envelope
}

func newStranger(t testing.TB) *stranger {
	t.Helper()
	s := mesh.NewDeviceSecrets()
	key, err := s.Authentication()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := s.ProfileDevice("a device", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{key, profile}
}

func (s *stranger) credential() make1.Credential {
	return make1.Credential{Mode: make1.Device, Envelopes: []*dare.Envelope{s.profile}}
}

func (g *lonely) client(key *keys.PrivateKey) *make1.Client {
	return &make1.Client{Domain: domainName, S: g.provider.Gateway.Authentication[0].Public(), Holder: keys.NewRing(key), AuthKID: key.KID()}
}

// send seals payload by seal, sends it and opens the answer into v.
func send(t testing.TB, h http.Handler, e *dare.Envelope, p *make1.Pending, v mesh.ResponseMessage) *reply {
	t.Helper()
	body, err := e.MarshalJBCD()
	if err != nil {
		t.Fatal(err)
	}
	return open(t, post(h, body, nil), p, v)
}

func open(t testing.TB, w *httptest.ResponseRecorder, p *make1.Pending, v mesh.ResponseMessage) *reply {
	t.Helper()
	e, err := dare.Parse(w.Body.Bytes())
	if err != nil {
		t.Fatalf("HTTP %d, the answer is no envelope: %v: %q", w.Code, err, w.Body)
	}
	a, err := p.Open(e)
	var h *make1.Hint
	if errors.As(err, &h) {
		return readHint(t, w)
	}
	if err != nil {
		t.Fatalf("HTTP %d: %v: %s", w.Code, err, w.Body)
	}
	if v == nil {
		v = new(mesh.Response)
	}
	if _, err := mesh.DecodeResponse(a.Payload, v); err != nil {
		t.Fatalf("%v: %s", err, a.Payload)
	}
	return &reply{http: w, Response: *v.Base(), how: "sealed", ticket: a.Ticket, received: a.Received != nil}
}

// ask is an exchange by s.
func (g *lonely) ask(t testing.TB, s *stranger, payload string, v mesh.ResponseMessage) *reply {
	t.Helper()
	e, p, err := g.client(s.key).Exchange(s.credential(), []byte(payload), g.clock)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, g.Handler(), e, p, v)
}

// askTicket is a request under a ticket.
func (g *lonely) askTicket(t testing.TB, ticket *make1.Ticket, payload string, v mesh.ResponseMessage) *reply {
	t.Helper()
	e, p, err := ticket.Seal([]byte(payload), g.clock)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, g.Handler(), e, p, v)
}
