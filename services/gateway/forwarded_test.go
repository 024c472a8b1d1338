package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// peer is another provider's forwarding worker.
type peer struct {
	provider *mesh.Provider
	carol    *author // an account there
	ticket   *make1.Ticket
}

func newPeer(t testing.TB) *peer {
	t.Helper()
	p, err := mesh.NewProvider("beta.example", time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return &peer{provider: p, carol: newAuthor(t, carolAddress)}
}

func (p *peer) message(t testing.TB, changes ...func(*draft)) *dare.Envelope {
	t.Helper()
	return p.carol.message(t, append([]func(*draft){func(d *draft) { d.sender = carolAddress }}, changes...)...)
}

// forward is a Post of the worker: the first by an exchange, later ones by its ticket.
func (m *messaging) forward(t testing.TB, p *peer, v *mesh.PostRequest) (*reply, *mesh.PostResponse) {
	t.Helper()
	payload, err := mesh.EncodeRequest(mesh.TagPost, v)
	if err != nil {
		t.Fatal(err)
	}
	r := new(mesh.PostResponse)
	if p.ticket != nil {
		return m.askTicket(t, p.ticket, string(payload), r), r
	}
	o := p.provider.Outbound
	e, pending, err := m.client(o.Authentication).Exchange(
		make1.Credential{Mode: make1.Service, Envelopes: []*dare.Envelope{o.EnvelopedProfileHost, o.EnvelopedProfileService}}, payload, m.clock)
	if err != nil {
		t.Fatal(err)
	}
	got := send(t, m.Handler(), e, pending, r)
	p.ticket = got.ticket
	return got, r
}

// judge is the inbound worker: it answers each delivery by verdict, nil says nothing. It keeps what it saw.
type judge struct {
	verdict func(*eventpb.Delivery, *eventpb.Address) *eventpb.Verdict

	mu   sync.Mutex
	seen []*eventpb.Delivery
}

func (m *messaging) judge(t testing.TB, verdict func(*eventpb.Delivery, *eventpb.Address) *eventpb.Verdict) *judge {
	t.Helper()
	j := &judge{verdict: verdict}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.inbound.Consume(ctx, queue.Inbound, 4, func(_ context.Context, got *queue.Message) {
			j.mu.Lock()
			j.seen = append(j.seen, got.Delivery)
			j.mu.Unlock()
			for _, a := range got.Delivery.GetTo() {
				if v := j.verdict(got.Delivery, a); v != nil {
					v.DeliveryId = a.GetDeliveryId()
					if err := m.inbound.SendVerdict(got.Delivery.GetWaiter(), v); err != nil {
						t.Error(err)
					}
				}
			}
			if err := got.Ack(); err != nil {
				t.Error(err)
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return j
}

// take returns what the worker got since the last time, in the order of the messages' texts.
func (j *judge) take() []*eventpb.Delivery {
	j.mu.Lock()
	defer j.mu.Unlock()
	seen := j.seen
	j.seen = nil
	slices.SortFunc(seen, func(a, b *eventpb.Delivery) int {
		return strings.Compare(string(a.GetEnvelope()), string(b.GetEnvelope()))
	})
	return seen
}

// Covers C-123, C-129, C-130, D-54: a forwarded Post becomes deliveries with the octets that came, and the verdicts of
// access control are the answer.
func TestForwardedPost_C129(t *testing.T) {
	m := newMessaging(t, nil)
	j := m.judge(t, func(_ *eventpb.Delivery, a *eventpb.Address) *eventpb.Verdict {
		if a.GetAddress() == bobAddress {
			return &eventpb.Verdict{Accepted: true, Index: 5}
		}
		return &eventpb.Verdict{Code: 19}
	})
	p := newPeer(t)
	one, two := p.message(t), p.message(t)
	for _, by := range []string{"exchange", "ticket"} {
		got, r := m.forward(t, p, &mesh.PostRequest{
			Accounts: []string{bobAddress, aliceAddress, carolAddress, "Bob@alpha.example"}, Message: []*dare.Envelope{one, two},
			Self: []*dare.Envelope{p.message(t)},
		})
		got.is(t, by, 201, 0)
		want := []string{
			"0 Accept@5", "1 RejectMeshMessageInsufficientPrivilege", "2 RejectMeshUnknownAccount", "3 Accept@5",
			"4 Accept@5", "5 RejectMeshMessageInsufficientPrivilege", "6 RejectMeshUnknownAccount", "7 Accept@5",
		}
		if diff := cmp.Diff(want, shown(r.Entries)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", by, diff)
		}
		seen := j.take()
		if len(seen) != 2 {
			t.Fatalf("%s: %d deliveries", by, len(seen))
		}
		names := make(map[string]bool)
		var envelopes []string
		for _, d := range seen {
			var to []string
			for _, a := range d.GetTo() {
				to, names[a.GetDeliveryId()] = append(to, a.GetAddress()), true
			}
			if diff := cmp.Diff([]string{bobAddress, aliceAddress}, to); diff != "" {
				t.Errorf("%s: recipients (-want +got)\n%s", by, diff)
			}
			if d.GetServiceUdf() != p.provider.Outbound.Service.UDF() || d.GetDomain() != domainName || d.GetSenderAccount() != "" || !d.GetFirstSeen().AsTime().Equal(m.clock) {
				t.Errorf("%s: %v", by, d)
			}
			envelopes = append(envelopes, string(d.GetEnvelope()))
		}
		if len(names) != 4 {
			t.Errorf("%s: %d names for four deliveries", by, len(names))
		}
		for _, e := range []*dare.Envelope{one, two} {
			text, err := e.MarshalJBCD()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(envelopes, string(text)) {
				t.Errorf("%s: other octets than came", by)
			}
		}
	}
	if len(m.shard.asked) != 0 {
		t.Error("a shard was asked to post for another service")
	}
}

// Covers C-138, D-38: a service that does not speak for the sender is refused as a whole; R-20: all recipients refuse.
func TestForwardedRefused_C138(t *testing.T) {
	m := newMessaging(t, nil)
	code := uint32(34)
	m.judge(t, func(_ *eventpb.Delivery, a *eventpb.Address) *eventpb.Verdict {
		if a.GetAddress() == aliceAddress {
			return &eventpb.Verdict{Code: 17}
		}
		return &eventpb.Verdict{Code: code}
	})
	p := newPeer(t)
	got, _ := m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress, carolAddress}, Message: []*dare.Envelope{p.message(t), p.message(t)}})
	got.is(t, "not the sender's service", 401, 34)
	got, r := m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress, aliceAddress}, Message: []*dare.Envelope{p.message(t)}})
	got.is(t, "once so, once otherwise", 201, 34)
	if diff := cmp.Diff([]string{"0 RejectMeshServiceUnaccredited", "1 RejectMeshRecipientBlockedSender"}, shown(r.Entries)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	code = 13
	got, _ = m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{p.message(t)}})
	got.is(t, "refused by all", 201, 13)
}

// Covers C-226 of a service: what needs no key is refused before the queue.
func TestForwardedMessages(t *testing.T) {
	m := newMessaging(t, nil)
	j := m.judge(t, func(*eventpb.Delivery, *eventpb.Address) *eventpb.Verdict { return &eventpb.Verdict{Accepted: true} })
	p := newPeer(t)
	long := p.message(t, func(d *draft) { d.text = strings.Repeat("a", mesh.MaxMessage) })
	named := p.message(t, func(d *draft) { d.metaType = mesh.TagRequestContact })
	got, r := m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{long, named, p.message(t)}})
	got.is(t, "some refused", 201, 0)
	if diff := cmp.Diff([]string{"0 RejectMeshRequestSize", "1 RejectMeshMessageInvalid", "2 Accept@0"}, shown(r.Entries)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n := len(j.take()); n != 1 {
		t.Errorf("%d deliveries", n)
	}
	got, _ = m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{long}})
	got.is(t, "too long", 201, 12)
	got, _ = m.forward(t, p, &mesh.PostRequest{Accounts: []string{carolAddress}, Message: []*dare.Envelope{p.message(t)}})
	got.is(t, "no relay", 201, 3)
	got, r = m.forward(t, p, &mesh.PostRequest{Message: []*dare.Envelope{p.message(t)}, Self: []*dare.Envelope{p.message(t)}})
	got.is(t, "for nobody", 201, 0)
	if len(r.Entries) != 0 {
		t.Errorf("for nobody: %v", shown(r.Entries))
	}
	redacted := &dare.Envelope{Header: []byte(`{"ContentLength":1000}`)}
	got, _ = m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{redacted}})
	got.is(t, "redacted", 400, 24)
	got, _ = m.forward(t, p, &mesh.PostRequest{Accounts: slices.Repeat([]string{bobAddress}, maxRecipients+1)})
	got.is(t, "too many recipients", 400, 12)
	if n := len(j.take()); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

// Covers D-54: what has no verdict has no Result, and the service is told to come again.
func TestForwardedWithoutVerdict(t *testing.T) {
	m := newMessaging(t, nil)
	m.judge(t, func(_ *eventpb.Delivery, a *eventpb.Address) *eventpb.Verdict {
		if a.GetAddress() == bobAddress {
			return &eventpb.Verdict{Accepted: true, Index: 5}
		}
		return nil
	})
	p := newPeer(t)
	v := &mesh.PostRequest{Accounts: []string{bobAddress, aliceAddress}, Message: []*dare.Envelope{p.message(t)}}
	check := func(what string, want []string, least, most time.Duration) {
		t.Helper()
		start := time.Now()
		got, r := m.forward(t, p, v)
		took := time.Since(start)
		got.is(t, what, 503, 31)
		if diff := cmp.Diff(want, shown(r.Entries)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
		if got.how != "sealed" || got.http.Header().Get("Retry-After") != "5" || took < least || took > most {
			t.Errorf("%s: %s, Retry-After %q, took %s", what, got.how, got.http.Header().Get("Retry-After"), took)
		}
	}
	check("no verdict", []string{"0 Accept@5", "1 "}, verdictTime-verdictReserve, postTime)
	m.nats.Close()
	check("no queue", []string{"0 ", "1 "}, 0, verdictTime)
}

// Covers C-132: a service that sends too much is told when to come again; others are not hindered.
func TestForwardedRate_C132(t *testing.T) {
	m := newMessaging(t, func(c *Config) { c.Limits.ForwardRate, c.Limits.ForwardBurst, c.Limits.Forwards = 1, 3, 2 })
	hold := make(chan struct{})
	m.judge(t, func(*eventpb.Delivery, *eventpb.Address) *eventpb.Verdict {
		<-hold
		return &eventpb.Verdict{Accepted: true}
	})
	p := newPeer(t)
	one := func() *mesh.PostRequest {
		return &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{p.message(t)}}
	}
	var posts sync.WaitGroup
	udf := p.provider.Outbound.Service.UDF()
	for range 2 {
		v, q := one(), &peer{provider: p.provider, carol: p.carol}
		posts.Go(func() {
			got, _ := m.forward(t, q, v)
			got.is(t, "within the limits", 201, 0)
		})
	}
	for m.visits.under(udf) < 2 {
		time.Sleep(time.Millisecond)
	}
	got, _ := m.forward(t, p, one())
	got.is(t, "two are under way", 429, 31)
	close(hold)
	posts.Wait()
	if n := m.visits.under(udf); n != 0 {
		t.Errorf("%d Posts under way after the last", n)
	}
	got, _ = m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{p.message(t), p.message(t)}})
	got.is(t, "two messages of one left", 429, 31)
	if wait := got.http.Header().Get("Retry-After"); got.how != "sealed" || wait != "1" {
		t.Errorf("%s, Retry-After %q", got.how, wait)
	}
	got, _ = m.forward(t, p, &mesh.PostRequest{Accounts: []string{bobAddress, aliceAddress}, Message: []*dare.Envelope{p.message(t)}})
	got.is(t, "two recipients, one left", 429, 31)
	got, _ = m.forward(t, p, one())
	got.is(t, "the one left", 201, 0)
	other := newPeer(t)
	got, _ = m.forward(t, other, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{other.message(t)}})
	got.is(t, "another service from the same address", 429, 31)
	m.clock = m.clock.Add(3 * time.Second)
	got, _ = m.forward(t, p, one())
	got.is(t, "three seconds later", 201, 0)
}

// Messages are counted by what refused them, once for each recipient.
func TestVerdictMetric(t *testing.T) {
	reader := metric.NewManualReader()
	m := newMessaging(t, func(c *Config) {
		c.Telemetry = &telemetry.Telemetry{
			Log: slog.New(slog.DiscardHandler), Meter: metric.NewMeterProvider(metric.WithReader(reader)), Tracer: noop.NewTracerProvider(),
		}
	})
	m.post(t, m.alice, aliceAddress, &mesh.PostRequest{
		Accounts: []string{carolAddress, "nobody"},
		Message:  []*dare.Envelope{m.alice.message(t), m.alice.message(t, func(d *draft) { d.tag = mesh.TagMessagePIN })},
	})
	p := newPeer(t)
	m.forward(t, p, &mesh.PostRequest{Accounts: []string{carolAddress}, Message: []*dare.Envelope{p.message(t)}})
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range data.ScopeMetrics[0].Metrics {
		if sum, ok := i.Data.(metricdata.Sum[int64]); ok && i.Name == "mesh_verdict_total" {
			for _, point := range sum.DataPoints {
				text := fmt.Sprint(point.Value)
				for _, kv := range point.Attributes.ToSlice() {
					text += " " + kv.Value.AsString()
				}
				got = append(got, text)
			}
		}
	}
	slices.Sort(got)
	want := []string{"1 egress MeshUnknownAccount Reject", "1 ingress MeshUnknownAccount Reject", "2 egress MeshMessageUnsupported Reject"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// under is how many Posts of a service are under way.
func (v *visits) under(service string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n[service]
}
