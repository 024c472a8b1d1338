package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/discover/zonetest"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

const home = "sender.example" // the domain of the worker under test

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// world is a worker with DNS, a shard that records settlements, and other providers.
type world struct {
	t      *testing.T
	ca     *rpc.CA
	zone   *zonetest.Zone
	shard  *shard
	router *rpc.Router
	worker *Worker
	config Config

	mu    sync.Mutex
	log   bytes.Buffer
	clock time.Duration
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.clock)
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock += d
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: must(rpc.NewCA("test", time.Now())), shard: &shard{}}
	w.zone = &zonetest.Zone{SRV: map[string][]dnsmessage.SRVResource{}, A: map[string][4]byte{}, Fault: map[string]zonetest.Fault{}, NS: map[string]string{}}
	w.router = w.startShard()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca.CertPEM())
	tele := must(telemetry.New(t.Context(), telemetry.Options{Role: "outbound", Out: w}))
	own := must(mesh.NewProvider(home, time.Now(), 2))
	w.config = Config{
		Router: w.router, Keys: []*mesh.OutboundKeys{own.Outbound}, Telemetry: tele,
		DNS: w.zone.Serve(t), Roots: roots, AllowPrivate: true, Now: w.now,
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	w.worker = must(newWorker(w.config))
	w.t.Cleanup(w.worker.close)
}

// shard records settlements, as a SettlementService behind real gRPC.
type shard struct {
	shardpb.UnimplementedSettlementServiceServer

	mu      sync.Mutex
	calls   []*shardpb.SettleRequest
	refuse  int // so many calls fail
	perHand time.Duration
}

func (s *shard) Settle(_ context.Context, r *shardpb.SettleRequest) (*shardpb.SettleResponse, error) {
	time.Sleep(s.perHand)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse > 0 {
		s.refuse--
		return nil, mesh.E("shard.Settle", mesh.Overloaded, errors.New("try later"))
	}
	s.calls = append(s.calls, r)
	return &shardpb.SettleResponse{}, nil
}

func (s *shard) settled() []*shardpb.SettleRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (w *world) startShard() *rpc.Router {
	w.t.Helper()
	server := rpc.NewServer(rpc.Options{Identity: must(w.ca.Identity(rpc.Shard, time.Now())), Log: slog.New(slog.DiscardHandler)})
	shardpb.RegisterSettlementServiceServer(server, w.shard)
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	go func() { _ = server.Serve(l) }()
	w.t.Cleanup(server.Stop)
	m := must(shardmap.NewStatic(shardmap.Even(1, l.Addr().String())))
	id := must(w.ca.Identity(rpc.Outbound, time.Now()))
	r := rpc.NewRouter(m, func(target string) (*grpc.ClientConn, error) {
		return rpc.Dial(target, rpc.Shard, rpc.Options{Identity: id})
	})
	w.t.Cleanup(func() { _ = r.Close() })
	return r
}

// site is another provider: DNS records, TLS, MAKE-1 in Service mode.
type site struct {
	t        *testing.T
	domain   string
	provider *mesh.Provider
	ring     *make1.Ring
	now      func() time.Time
	server   *httptest.Server
	answer   func(p *mesh.PostRequest) ([]byte, http.Header) // payload of the answer; nil payload: nothing comes

	mu      sync.Mutex
	posts   []*mesh.PostRequest
	raw     [][]byte
	seen    []string
	most    int // calls at once
	running int
}

func (w *world) newSite(domain string) *site {
	w.t.Helper()
	s := &site{
		t: w.t, domain: domain, now: w.now,
		provider: must(mesh.NewProvider(domain, time.Now(), 2)),
		ring:     must(make1.NewRing([]make1.RingEntry{make1.NewRingEntry(time.Now().Add(-time.Hour))})),
		answer:   accept,
	}
	certPEM, keyPEM, err := w.ca.IssueServer([]string{domain, "mmm." + domain}, nil, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{must(tls.X509KeyPair(certPEM, keyPEM))}, MinVersion: tls.VersionTLS13}
	s.server.StartTLS()
	w.t.Cleanup(s.server.Close)
	w.name(domain, s.server.Listener.Addr())
	return s
}

// name has the DNS say that a domain's service is at an address.
func (w *world) name(domain string, at net.Addr) {
	port := uint16(at.(*net.TCPAddr).Port)
	w.zone.Change(func() {
		w.zone.SRV["_mmm._tcp."+domain] = []dnsmessage.SRVResource{zonetest.SRV("mmm."+domain, port, 0)}
		w.zone.A["mmm."+domain] = [4]byte{127, 0, 0, 1}
	})
}

// accept is how an honest provider answers.
func accept(p *mesh.PostRequest) ([]byte, http.Header) {
	return each(p, 201, func(int) string { return mesh.ResultAccept }), nil
}

// each makes an answer of a result per entry; "": none; else Accept, or Reject with the result as its Reason.
func each(p *mesh.PostRequest, status int64, result func(i int) string) []byte {
	res := &mesh.PostResponse{}
	res.Status, res.ID = status, p.ID
	if status != 201 {
		res.StatusExtended = int64(mesh.Overloaded.Code().Extended)
	}
	for i := range len(p.Message) * len(p.Accounts) {
		e := mesh.EntryResponse{IndexRequest: int64(i)}
		switch r := result(i); r {
		case "":
		case mesh.ResultAccept:
			e.Result = r
		default:
			e.Result, e.Reason = mesh.ResultReject, r
		}
		res.Entries = append(res.Entries, e)
	}
	return must(mesh.EncodeResponse(res))
}

func refuse(k mesh.Kind, retryAfter string) func(*mesh.PostRequest) ([]byte, http.Header) {
	return func(*mesh.PostRequest) ([]byte, http.Header) {
		h := http.Header{}
		if retryAfter != "" {
			h.Set("Retry-After", retryAfter)
		}
		return must(mesh.EncodeResponse(mesh.Failure(mesh.E("test", k, errors.New("refused")), nil))), h
	}
}

func (s *site) behave(answer func(*mesh.PostRequest) ([]byte, http.Header)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *site) received() []*mesh.PostRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.posts)
}

func (s *site) saw(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, what)
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
	}()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Host != s.domain || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		s.t.Errorf("%s, Host %q, %v", r.Method, r.Host, r.Header)
	}
	e := must(dare.Parse(body))
	answer, header, status := s.reply(e)
	for name := range header {
		w.Header().Set(name, header.Get(name))
	}
	if answer == nil {
		<-r.Context().Done()
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(must(answer.MarshalJBCD()))
}

func (s *site) reply(e *dare.Envelope) (*dare.Envelope, http.Header, int) {
	now := s.now()
	failure := func(err error) []byte { return must(mesh.EncodeResponse(mesh.Failure(err, nil))) }
	switch must(make1.Classify(e)) {
	case make1.KindExchange:
		held := keys.NewRing(s.provider.Gateway.Authentication...)
		x, err := make1.OpenExchange(e, s.domain, func(kid string) (keys.Holder, bool) { _, ok := held.Public(kid); return held, ok }, now)
		if err != nil {
			s.saw("refused exchange")
			return must(x.Refuse(failure(err), now)), nil, 401
		}
		kid := s.authenticate(x)
		payload, header := s.serve("exchange", x.Payload)
		return must(x.Answer(payload, now, s.ring.Issue(make1.TicketContent{
			ServiceKID: x.ServiceKID, Domain: s.domain, AuthKID: kid, Mode: make1.Service, Issued: now, Expires: now.Add(time.Hour),
		}, now))), header, statusOf(payload)
	case make1.KindTicket:
		r, err := make1.OpenTicket(e, s.domain, func(string) ([]byte, bool) { return s.provider.Gateway.Authentication[0].Public().Octets, true }, s.ring, now)
		if r == nil {
			s.saw("hint")
			return &dare.Envelope{Header: []byte("{}"), Payload: failure(err)}, nil, 401
		}
		if err != nil {
			s.saw("refused ticket")
			return must(r.Answer(failure(err), now, true)), nil, 401
		}
		payload, header := s.serve("ticket", r.Payload)
		if payload == nil {
			return nil, nil, 0
		}
		return must(r.Answer(payload, now, false)), header, statusOf(payload)
	}
	s.saw("Hello null")
	var q mesh.HelloRequest
	_, body, err := jbcd.Tagged(e.Payload)
	if err == nil {
		err = jbcd.Unmarshal(body, &q)
	}
	if err != nil {
		s.t.Error(err)
	}
	g := s.provider.Gateway
	hello := must(mesh.EncodeResponse(&mesh.MeshHelloResponse{
		Response: mesh.Response{Status: 201, ID: q.ID}, EnvelopedProfileService: g.EnvelopedProfileService, EnvelopedProfileHost: g.EnvelopedProfileHost,
	}))
	return must(dare.New(hello, dare.Options{Holder: keys.NewRing(g.Signature), SignKIDs: []string{g.Signature.KID()}})), nil, 201
}

// authenticate holds the caller to Service mode and the profiles of the worker's own host (C-129).
func (s *site) authenticate(x *make1.Exchange) string {
	if x.Credential.Mode != make1.Service || len(x.Credential.Envelopes) != 2 || x.Credential.Account != "" {
		s.t.Errorf("credential of mode %s, %d envelopes", x.Credential.Mode, len(x.Credential.Envelopes))
	}
	service := must(mesh.VerifyProfileService(x.Credential.Envelopes[1]))
	host := must(mesh.VerifyProfileHost(x.Credential.Envelopes[0], service))
	if err := x.Authenticate(*host.KeyAuthentication.PublicParameters); err != nil {
		s.t.Error(err)
	}
	return host.KeyAuthentication.KID()
}

func (s *site) serve(how string, payload []byte) ([]byte, http.Header) {
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		s.t.Error(err)
	}
	s.saw(tag + " " + how)
	if tag == mesh.TagHello {
		return must(jbcd.Tag(mesh.ResponseTag(tag), mesh.Response{Status: 201})), nil
	}
	p := new(mesh.PostRequest)
	if err := jbcd.Unmarshal(body, p); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	s.posts, s.raw = append(s.posts, p), append(s.raw, slices.Clone(payload))
	answer := s.answer
	s.mu.Unlock()
	return answer(p)
}

func statusOf(payload []byte) int {
	var r mesh.PostResponse
	if _, err := mesh.DecodeResponse(payload, &r); err != nil || r.Status < 200 {
		return 201
	}
	return int(r.Status)
}

var counter struct {
	sync.Mutex
	n int
}

// delivery makes a message of alice for recipients.
func delivery(to ...string) *eventpb.Delivery {
	counter.Lock()
	counter.n++
	n := counter.n
	counter.Unlock()
	d := &eventpb.Delivery{
		Envelope:      fmt.Appendf(nil, `[{"EnvelopeID":"M%d"},"eA"]`, n),
		SenderAccount: "alice@" + home,
		FirstSeen:     timestamppb.New(time.Now()),
	}
	for i, a := range to {
		d.To = append(d.To, &eventpb.Address{Address: a, DeliveryId: fmt.Sprintf("%d.%d", n, i)})
	}
	return d
}

// forward sends deliveries at once and returns the settlements of each.
func (w *world) forward(list ...*eventpb.Delivery) [][]*shardpb.Settlement {
	w.t.Helper()
	all := make([][]*shardpb.Settlement, len(list))
	var wg sync.WaitGroup
	for i, d := range list {
		wg.Go(func() {
			l, err := read(d, w.now())
			if err != nil {
				w.t.Error(err)
				return
			}
			o, ok := w.worker.deliver(w.t.Context(), l, func() error { return nil })
			if !ok {
				w.t.Error("out of time")
			}
			all[i] = o.settlements
		})
	}
	wg.Wait()
	return all
}

// one forwards a message and returns its settlements in words.
func (w *world) one(d *eventpb.Delivery) string {
	w.t.Helper()
	var words []string
	for _, s := range w.forward(d)[0] {
		words = append(words, word(s))
	}
	return strings.Join(words, ", ")
}

func word(s *shardpb.Settlement) string {
	text := strings.ToLower(strings.TrimPrefix(s.GetState().String(), "STATE_"))
	if s.GetVerdict() != nil && !s.GetVerdict().GetAccepted() {
		text += " " + strconv.Itoa(int(s.GetVerdict().GetCode())) + " " + s.GetVerdict().GetRule()
	}
	return text
}
