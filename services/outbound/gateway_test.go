package outbound

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// letterOf is a delivery of a message that a gateway can read.
func letterOf(t *testing.T, to string) *eventpb.Delivery {
	t.Helper()
	id := udf.NewNonce()
	payload := must(jbcd.Tag(mesh.TagMessageText, mesh.MessageText{Message: mesh.Message{MessageID: id, Sender: "alice@" + home, Recipient: to}}))
	e := must(dare.New(payload, dare.Options{
		Header: dare.Header{EnvelopeID: udf.EnvelopeID(id)},
		Meta:   &dare.ContentMeta{UniqueID: id, MessageType: mesh.TagMessageText},
	}))
	d := delivery(to)
	d.Envelope = must(e.MarshalJBCD())
	return d
}

// The gateway of another provider as it is: Service mode, tickets, Host and path; its inbound worker alone is the test's, and accepts,
// refuses and is silent.
func TestGateway(t *testing.T) {
	l := newLine(t)
	there := must(mesh.NewProvider("there.example", time.Now(), 2)).Gateway
	server := l.dial(rpc.Gateway)
	inbound := l.dial(rpc.Inbound)
	nobody := rpc.NewRouter(must(shardmap.NewStatic(shardmap.Even(1, "127.0.0.1:1"))), func(target string) (*grpc.ClientConn, error) {
		return rpc.Dial(target, rpc.Shard, rpc.Options{Identity: must(l.ca.Identity(rpc.Gateway, time.Now()))})
	})
	t.Cleanup(func() { _ = nobody.Close() })
	ring := must(make1.NewRing([]make1.RingEntry{make1.NewRingEntry(time.Now().Add(-time.Hour))}))
	g := must(gateway.New(gateway.Config{
		Domains: []gateway.Domain{{
			Name: "there.example", ProfileService: there.EnvelopedProfileService, ProfileHost: there.EnvelopedProfileHost,
			Keys:   keys.NewRing(append(there.Authentication, there.Signature)...),
			Signer: there.Signature.KID(), Ring: func() *make1.Ring { return ring }, Policy: gateway.Open,
		}},
		Router: nobody, Telemetry: l.config.Telemetry, Queue: server, Waiter: must(server.Waiter(t.Context())),
	}))
	certPEM, keyPEM, err := l.ca.IssueServer([]string{"mmm.there.example"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	front := g.TLSServer(&tls.Config{Certificates: []tls.Certificate{must(tls.X509KeyPair(certPEM, keyPEM))}})
	lis := must(net.Listen("tcp", "127.0.0.1:0"))
	go func() { _ = front.Serve(lis) }()
	t.Cleanup(func() { _ = front.Shutdown(context.Background()) })
	l.name("there.example", lis.Addr())

	var mine atomic.Int32 // deliveries whose transmitting service is the worker's
	udf := l.config.Keys[0].Service.UDF()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- inbound.Consume(ctx, queue.Inbound, 8, func(_ context.Context, m *queue.Message) {
			if mesh.SameUDF(m.Delivery.GetServiceUdf(), udf) && m.Delivery.GetSenderAccount() == "" {
				mine.Add(1)
			}
			for _, to := range m.Delivery.GetTo() {
				v := &eventpb.Verdict{DeliveryId: to.GetDeliveryId(), Accepted: to.GetAddress() == "bob@there.example", Code: 17}
				if to.GetAddress() != "late@there.example" {
					_ = inbound.SendVerdict(m.Delivery.GetWaiter(), v)
				}
			}
			_ = m.Ack()
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct{ to, want string }{
		{"bob@there.example", "delivered"},
		{"carol@there.example", "failed 17 MeshRecipientBlockedSender"},
		{"bob@there.example", "delivered"},
		{"late@there.example", "retry"}, // D-54: 503 after 3 s
		{"bob@there.example", "delivered"},
	} {
		d := letterOf(t, test.to)
		l.publish(d)
		id := d.GetTo()[0].GetDeliveryId()
		eventually(t, func() bool { return len(l.outcomes()[id]) > 0 })
		if got := l.outcomes()[id]; len(got) != 1 || got[0] != test.want {
			t.Errorf("%s: %v, want %s\n%s", test.to, got, test.want, l.logged())
		}
	}
	if mine.Load() != 5 {
		t.Errorf("%d of 5 came from the service of %s", mine.Load(), home)
	}
}
