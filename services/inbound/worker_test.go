package inbound

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// fakeShard is a shard behind real gRPC that answers as it is told.
type fakeShard struct {
	shardpb.UnimplementedDeliveryServiceServer

	mu        sync.Mutex
	fault     error
	result    *shardpb.EntryResult
	delivered []*shardpb.DeliverRequest
	reported  int
}

func (s *fakeShard) Deliver(_ context.Context, r *shardpb.DeliverRequest) (*shardpb.DeliverResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivered = append(s.delivered, r)
	if s.fault != nil {
		return nil, rpc.ToStatus(s.fault)
	}
	return &shardpb.DeliverResponse{Result: s.result}, nil
}

func (s *fakeShard) Report(context.Context, *shardpb.ReportRequest) (*shardpb.ReportResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported++
	return &shardpb.ReportResponse{}, nil
}

func newWorker(t *testing.T, s *fakeShard, lookup Lookup) *Worker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	shardpb.RegisterDeliveryServiceServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	one, err := shardmap.NewStatic(shardmap.Even(1, l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	router := rpc.NewRouter(one, func(target string) (*grpc.ClientConn, error) {
		return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	})
	t.Cleanup(func() { _ = router.Close() })
	return &Worker{
		shards: router, services: newAccreditation(lookup), incidents: newAllowances(time.Now), domains: []string{"beta.example"}, log: slog.New(slog.DiscardHandler),
	}
}

// sealed is a good message with an envelope.
func sealed(t *testing.T) *facts {
	t.Helper()
	e, err := dare.New([]byte("{}"), dare.Options{Meta: &dare.ContentMeta{UniqueID: "N1", MessageType: mesh.TagRequestConfirmation}})
	if err != nil {
		t.Fatal(err)
	}
	f := good()
	f.envelope = e
	return f
}

// C-138: a service speaks for the address that people are shown as the sender, not for another one beside it that is its own to give.
func TestSenderOfAnotherDomain_C138(t *testing.T) {
	w := newWorker(t, &fakeShard{}, func(_ context.Context, domain string) (string, error) {
		return map[string]string{"evil.example": service, "alpha.example": "MBBB-OTHE"}[domain], nil
	})
	for _, c := range []struct {
		what, named string
		addresses   []string
		want        string // the address that counts; empty: refused
	}{
		{"names its own", "mallory@evil.example", []string{alice, "mallory@evil.example"}, "mallory@evil.example"},
		{"names another's", alice, []string{"mallory@evil.example", alice}, ""},
		{"names one of ours", bob, []string{"mallory@evil.example", bob}, ""},
		{"names nobody", "", []string{alice, "mallory@evil.example"}, "mallory@evil.example"},
		{"is another's", "", []string{alice}, ""},
	} {
		f := good()
		f.address, f.serviceDomain, f.accredited = "", "", false
		f.sender.Addresses, f.sender.Profile, f.letter.Message.Sender = c.addresses, &mesh.ProfileAccount{}, c.named
		if err := w.learn(t.Context(), f, stageService); err != nil {
			t.Fatal(err)
		}
		r := decide(stageService, f, parse(t, ""))
		switch {
		case c.want == "" && (r == nil || r.name != "service-accreditation"):
			t.Errorf("%s: refused by %v", c.what, r)
		case c.want != "" && (r != nil || f.address != c.want):
			t.Errorf("%s: refused by %v, sent by %s", c.what, r, f.address)
		}
	}
}

// A stranger's profile leads to a few domains at most, and one that cannot be asked gives no verdict.
func TestLookupsOfOneMessage(t *testing.T) {
	asked := 0
	w := newWorker(t, &fakeShard{}, func(context.Context, string) (string, error) { asked++; return "", errors.New("no DNS") })
	f := good()
	f.accredited, f.letter.Message, f.sender.Addresses = false, nil, nil
	for i := range 3 * maxDomains {
		f.sender.Addresses = append(f.sender.Addresses, "a@"+string(rune('a'+i))+".example", "b@"+string(rune('a'+i))+".example")
	}
	if err := w.learn(t.Context(), f, stageService); !errors.Is(err, errUndiscovered) || asked != maxDomains {
		t.Errorf("%v after %d lookups", err, asked)
	}
}

// A fault of ours is tried again for a while, one of the sender's domain never: a stranger who has no DNS must not fill the queue.
func TestGivenBack(t *testing.T) {
	ours := mesh.Errorf("shard.Deliver", mesh.Overloaded, "away")
	for _, c := range []struct {
		fault error
		tries int
		want  bool
	}{
		{ours, 1, false},
		{ours, maxTries, true},
		{errors.Join(ours, fmt.Errorf("%w: %w", errUndiscovered, errBusy)), 1, true},
	} {
		if got := givenBack(c.fault, c.tries); got != c.want {
			t.Errorf("%v at try %d: %v", c.fault, c.tries, got)
		}
	}
}

// The verdict that is told is what lies in the recipient's spool.
func TestVerdictIsWhatIsStored(t *testing.T) {
	for _, c := range []struct {
		what     string
		accepted bool
		result   *shardpb.EntryResult
		fault    error
		want     string
		code     uint32
	}{
		{"accepted", true, &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_ACCEPT}, nil, accepted, 0},
		{"refused", false, &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_REJECT, Code: 19}, nil, "contact-right", 19},
		{"delivered before, refused today", false, &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_ACCEPT}, nil, "accepted-before", 0},
		{"another of that name", true, &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_REJECT, Code: 13}, nil, "duplicate-identifier", 13},
		{"blocked meanwhile", true, &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_REJECT, Code: 17}, nil, "recipient-blocked", 17},
		{"deleted meanwhile", true, nil, mesh.Errorf("shard.Deliver", mesh.UnknownAccount, "gone"), "recipient-gone", 3},
		{"pending", false, nil, mesh.Errorf("shard.Deliver", mesh.AccountPending, "pending"), "contact-right", 19},
	} {
		w := newWorker(t, &fakeShard{result: c.result, fault: c.fault}, nil)
		o := &outcome{verdict: &shardpb.AccessVerdict{Accepted: true, Rule: accepted}}
		if !c.accepted {
			o = refusal("contact-right", mesh.InsufficientPrivilege, parse(t, ""))
		}
		if err := w.record(t.Context(), sealed(t), o); err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if v := o.verdict; v.GetRule() != c.want || v.GetCode() != c.code || v.GetAccepted() != (c.code == 0) {
			t.Errorf("%s: %v", c.what, v)
		}
	}
	w := newWorker(t, &fakeShard{fault: mesh.Errorf("shard.Deliver", mesh.Overloaded, "away")}, nil)
	if err := w.record(t.Context(), sealed(t), &outcome{verdict: &shardpb.AccessVerdict{Accepted: true}}); mesh.KindOf(err) != mesh.Overloaded {
		t.Errorf("a store that is away: %v", err)
	}
}

// Who makes services and keys by himself fills neither the recipients' tables nor the incident spools.
func TestStrangersFillNothing(t *testing.T) {
	s := &fakeShard{result: &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_REJECT}}
	w := newWorker(t, s, nil)
	for what, spoil := range map[string]func(*facts){
		"not signed":          func(f *facts) { f.sender = nil },
		"service of nobody":   func(f *facts) { f.accredited = false },
		"there is no account": func(f *facts) { f.exists = false },
	} {
		f := sealed(t)
		spoil(f)
		if err := w.record(t.Context(), f, refusal("any", mesh.MessageInvalid, parse(t, ""))); err != nil {
			t.Fatal(err)
		}
		if len(s.delivered) > 0 {
			t.Errorf("%s: a verdict is stored", what)
		}
	}
	signature := &rule{name: "signature", incident: true}
	for range 3 * incidentBurst {
		if err := w.incident(t.Context(), sealed(t), signature); err != nil {
			t.Fatal(err)
		}
	}
	if s.reported != incidentBurst {
		t.Errorf("%d incidents of one service, want %d", s.reported, incidentBurst)
	}
	f := sealed(t)
	f.recipient = "abuse@beta.example"
	o := &outcome{verdict: &shardpb.AccessVerdict{Accepted: true, Rule: accepted}}
	if err := w.record(t.Context(), f, o); err != nil || o.verdict.GetRule() != "too-many-reports" {
		t.Errorf("a report by the same service: %v, %v", o.verdict, err)
	}
	f.fromOther, f.delivery = false, &eventpb.Delivery{SenderAccount: bob}
	o = &outcome{verdict: &shardpb.AccessVerdict{Accepted: true, Rule: accepted}}
	if err := w.record(t.Context(), f, o); err != nil || !o.verdict.GetAccepted() {
		t.Errorf("a report by somebody else: %v, %v", o.verdict, err)
	}
}

func TestAllowances(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	a := newAllowances(func() time.Time { return now })
	n := 0
	for i := range 2 * incidentSources {
		if a.take("MSRV-" + string(rune('A'+i))) {
			n++
		}
	}
	if n != incidentBurstAll || len(a.bySource) > incidentSources {
		t.Errorf("%d of many sources at once, %d remembered", n, len(a.bySource))
	}
	now = now.Add(incidentIntervalAll)
	if !a.take("other") || a.take("another") {
		t.Error("after one interval: want one more")
	}
}
