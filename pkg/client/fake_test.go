package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// fakeService is a service that speaks MAKE-1 for real and has no accounts: it answers 201 to everything, unless the script
// says otherwise. The real ones are in services/e2e.
type fakeService struct {
	t        *testing.T
	provider *mesh.Provider
	ring     *make1.Ring
	now      func() time.Time
	life     time.Duration // of tickets

	serve func(tag string, body jbcd.Raw) mesh.ResponseMessage // nil: 201 to everything

	mu     sync.Mutex
	script []act    // for the requests to come; then honest
	log    []string // "Status ticket"
	ids    []string // of the requests, as they came
}

// act is what the fake does with one request instead of answering it.
type act struct {
	code    mesh.Code // refuse, sealed unless hint
	hint    bool
	http    int // of the HTTP answer; 0: as the protocol says
	retry   int // Retry-After, seconds
	body    string
	hangUp  bool
	payload string // answer this, sealed
	noEcho  bool   // a Hello with the ID of another
}

func newFake(t *testing.T) *fakeService {
	t.Helper()
	p, err := mesh.NewProvider("example.com", time.Now(), 2)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := make1.NewRing([]make1.RingEntry{make1.NewRingEntry(time.Now().Add(-time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	return &fakeService{t: t, provider: p, ring: ring, now: time.Now, life: time.Hour}
}

func (f *fakeService) next() (a act) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.script) > 0 {
		a, f.script = f.script[0], f.script[1:]
	}
	return a
}

func (f *fakeService) saw(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, what)
}

func (f *fakeService) note(what string, payload []byte) (tag string, id []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		f.t.Error(err)
		return "", nil
	}
	var base mesh.Request
	if err := jbcd.Unmarshal(body, &base); err != nil {
		f.t.Error(err)
	}
	f.log = append(f.log, tag+" "+what)
	f.ids = append(f.ids, string(base.ID))
	return tag, base.ID
}

func (f *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := f.next()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Host != "example.com" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("%s, Host %q, %v", r.Method, r.Host, err)
	}
	switch {
	case a.hangUp:
		panic(http.ErrAbortHandler)
	case a.body != "":
		f.saw("other")
		w.WriteHeader(a.http)
		io.WriteString(w, a.body)
		return
	}
	if a.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.retry))
	}
	e, err := dare.Parse(body)
	if err != nil {
		f.t.Error(err)
		return
	}
	answer, status, err := f.answer(e, a)
	if err != nil {
		f.t.Error(err)
		return
	}
	text, err := answer.MarshalJBCD()
	if err != nil {
		f.t.Error(err)
		return
	}
	if a.http != 0 {
		status = a.http
	}
	w.WriteHeader(status)
	w.Write(text)
}

// outcome is the response payload for a request of that tag.
func (f *fakeService) outcome(tag string, id, request []byte, a act) ([]byte, int) {
	if a.payload != "" {
		return []byte(a.payload), 201
	}
	if a.code.Status != 0 {
		return must(mesh.EncodeResponse(&mesh.Response{Status: int64(a.code.Status), StatusExtended: int64(a.code.Extended)})), a.code.Status
	}
	if f.serve != nil {
		if _, body, err := mesh.DecodeRequest(request); err == nil && tag != mesh.TagHello {
			res := f.serve(tag, body)
			res.Base().Status, res.Base().ID = 201, id
			return must(mesh.EncodeResponse(res)), 201
		}
	}
	return must(jbcd.Tag(mesh.ResponseTag(tag), mesh.Response{Status: 201, ID: id})), 201
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (f *fakeService) answer(e *dare.Envelope, a act) (*dare.Envelope, int, error) {
	kind, err := make1.Classify(e)
	if err != nil {
		return nil, 0, err
	}
	if a.hint {
		f.saw("hint")
		payload, status := f.outcome("", nil, nil, a)
		return &dare.Envelope{Header: []byte("{}"), Payload: payload}, status, nil
	}
	switch kind {
	case make1.KindExchange:
		return f.exchange(e, a)
	case make1.KindTicket:
		return f.ticket(e, a)
	}
	return f.hello(e, a)
}

func (f *fakeService) hello(e *dare.Envelope, a act) (*dare.Envelope, int, error) {
	_, id := f.note("null", e.Payload)
	if a.noEcho {
		id = bytes.Repeat([]byte{1}, idSize)
	}
	g := f.provider.Gateway
	payload, err := mesh.EncodeResponse(&mesh.MeshHelloResponse{
		Response:                mesh.Response{Status: 201, ID: id},
		EnvelopedProfileService: g.EnvelopedProfileService, EnvelopedProfileHost: g.EnvelopedProfileHost,
	})
	if err != nil {
		return nil, 0, err
	}
	answer, err := dare.New(payload, dare.Options{Holder: keys.NewRing(g.Signature), SignKIDs: []string{g.Signature.KID()}})
	return answer, 201, err
}

func (f *fakeService) exchange(e *dare.Envelope, a act) (*dare.Envelope, int, error) {
	now := f.now()
	ring := keys.NewRing(f.provider.Gateway.Authentication...)
	x, err := make1.OpenExchange(e, "example.com", func(kid string) (keys.Holder, bool) {
		_, ok := ring.Public(kid)
		return ring, ok
	}, now)
	if x == nil {
		f.saw("unknown S")
		return &dare.Envelope{Header: []byte("{}"), Payload: must(mesh.EncodeResponse(mesh.Failure(err, nil)))}, 401, nil
	}
	if err != nil {
		f.saw("stale exchange")
		answer, err := x.Refuse(must(mesh.EncodeResponse(mesh.Failure(err, nil))), now)
		return answer, 401, err
	}
	var client keys.PublicKey
	switch x.Credential.Mode {
	case make1.Service:
		service, err := mesh.VerifyProfileService(x.Credential.Envelopes[1])
		if err != nil {
			return nil, 0, err
		}
		host, err := mesh.VerifyProfileHost(x.Credential.Envelopes[0], service)
		if err != nil {
			return nil, 0, err
		}
		client = *host.KeyAuthentication.PublicParameters
	case make1.Device:
		p, err := mesh.VerifyProfileDevice(x.Credential.Envelopes[0])
		if err != nil {
			return nil, 0, err
		}
		client = *p.KeyAuthentication.PublicParameters
	default:
		var c mesh.ConnectionAccount
		if err := decodeTagged(x.Credential.Envelopes[0].Payload, mesh.TagConnectionAccount, &c); err != nil {
			return nil, 0, err
		}
		client = *c.KeyAuthentication.PublicParameters
	}
	if err := x.Authenticate(client); err != nil {
		return nil, 0, err
	}
	tag, id := f.note("exchange", x.Payload)
	payload, status := f.outcome(tag, id, x.Payload, a)
	answer, err := x.Answer(payload, now, f.ring.Issue(make1.TicketContent{
		ServiceKID: x.ServiceKID, Domain: "example.com", AuthKID: client.KID(), Mode: x.Credential.Mode, Issued: now, Expires: now.Add(f.life),
	}, now))
	return answer, status, err
}

func (f *fakeService) ticket(e *dare.Envelope, a act) (*dare.Envelope, int, error) {
	now := f.now()
	r, err := make1.OpenTicket(e, "example.com", func(kid string) ([]byte, bool) {
		for _, k := range f.provider.Gateway.Authentication {
			if k.KID() == kid {
				return k.Public().Octets[:56], true
			}
		}
		return nil, false
	}, f.ring, now)
	if r == nil {
		return &dare.Envelope{Header: []byte("{}"), Payload: must(mesh.EncodeResponse(mesh.Failure(err, nil)))}, 401, nil
	}
	if err != nil {
		f.saw("refused ticket")
		answer, err := r.Answer(must(mesh.EncodeResponse(mesh.Failure(err, nil))), now, true)
		return answer, 401, err
	}
	tag, id := f.note("ticket", r.Payload)
	payload, status := f.outcome(tag, id, r.Payload, a)
	answer, err := r.Answer(payload, now, status >= 400)
	return answer, status, err
}

// caller is a session with the fake, over TLS.
type caller struct {
	*session
	fake   *fakeService
	waited []time.Duration
	clock  time.Duration
}

func newCaller(t *testing.T, f *fakeService, scheme string) *caller {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = nil
	if scheme == "https" {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	c := &caller{fake: f}
	conf := &Config{
		Services: map[string]string{"example.com": server.URL}, HTTP: server.Client(),
		Now: func() time.Time { return time.Now().Add(c.clock) },
	}
	f.now = conf.now
	transport, err := newTransport(t.Context(), conf, "example.com", personal())
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, "alice@example.com")
	m, _ := p.device()
	c.session = &session{
		transport: transport, conf: conf, holder: m.holder, authKID: m.Authentication.KID(), pin: f.provider.Gateway.Service.UDF(),
		cred: make1.Credential{Mode: make1.Profile, Account: "alice@example.com", Envelopes: []*dare.Envelope{m.Credential}},
	}
	c.sleep = func(_ context.Context, d time.Duration) error {
		c.waited = append(c.waited, d)
		return nil
	}
	return c
}

// talk makes one call of each kind with the script and returns what the fake saw.
func (c *caller) talk(t *testing.T, tag string, n need, script ...act) ([]string, error) {
	t.Helper()
	c.fake.mu.Lock()
	c.fake.script, c.fake.log, c.fake.ids = script, nil, nil
	c.fake.mu.Unlock()
	var req request = new(mesh.StatusRequest)
	var res mesh.ResponseMessage = new(mesh.StatusResponse)
	switch tag {
	case mesh.TagUpload:
		req, res = new(mesh.UploadRequest), new(mesh.UploadResponse)
	case mesh.TagDeleteAccount:
		req, res = new(mesh.DeleteRequest), new(mesh.DeleteResponse)
	}
	_, err := c.call(t.Context(), tag, req, res, n)
	return slices.Clone(c.fake.log), err
}

func refusalOf(t *testing.T, err error) *ServiceError {
	t.Helper()
	var r *ServiceError
	if !errors.As(err, &r) {
		t.Fatalf("%v, want a refusal", err)
	}
	return r
}
