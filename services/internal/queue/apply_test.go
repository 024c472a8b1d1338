package queue_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

func TestApply(t *testing.T) {
	b := newBed(t)
	admin := b.dial(t, rpc.Meshctl)
	apply := func(want string) {
		t.Helper()
		changes, err := admin.Apply(limit(t), 1)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range changes {
			if !strings.HasPrefix(c.Did, want) {
				t.Errorf("%s: %s, want %s", c.Name, c.Did, want)
			}
			names = append(names, c.Name)
		}
		if !slices.Equal(names, []string{"INBOUND", "INBOUND/inbound", "OUTBOUND", "OUTBOUND/outbound", "DEAD"}) {
			t.Errorf("applied %v", names)
		}
	}
	apply("created")
	apply("unchanged")
	if _, err := admin.Apply(limit(t), 2); err == nil {
		t.Error("two replicas")
	}
	if _, err := admin.Apply(limit(t), 3); err == nil {
		t.Error("three replicas on one server")
	}

	// What was changed by hand is brought back, what is in it stays.
	publish(t, b.dial(t, rpc.Shard), queue.Inbound, "m")
	js := admin.JetStream()
	stream, err := js.Stream(limit(t), "INBOUND")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxAge = 10 * time.Minute
	config.Metadata = map[string]string{queue.StampKey: "then"}
	if _, err := js.UpdateStream(limit(t), config); err != nil {
		t.Fatal(err)
	}
	changes, err := admin.Apply(limit(t), 1)
	if err != nil || changes[0].Did != "updated: max_age is 600000000000, want 3600000000000" || changes[1].Did != "unchanged" {
		t.Errorf("%+v, %v", changes, err)
	}
	if stream, err = js.Stream(limit(t), "INBOUND"); err != nil {
		t.Fatal(err)
	}
	if info := stream.CachedInfo(); info.State.Msgs != 1 || info.Config.Metadata[queue.StampKey] != "then" {
		t.Errorf("after Apply: %d messages, metadata %v", info.State.Msgs, info.Config.Metadata)
	}
	apply("unchanged")
}

// Every difference that is planted is named.
func TestCheckNamesDifferences(t *testing.T) {
	b := newBed(t)
	admin := b.dial(t, rpc.Meshctl)
	js := admin.JetStream()
	check := func() []string {
		t.Helper()
		r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 1})
		if err != nil {
			t.Fatal(err)
		}
		if r.Stamped {
			t.Error("stamped without a look at the servers")
		}
		return r.Differences
	}
	want := func(what string, got []string, parts ...string) {
		t.Helper()
		if len(got) != len(parts) {
			t.Errorf("%s: %d differences, want %d: %q", what, len(got), len(parts), got)
			return
		}
		for i, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("%s: %q, want %q in it", what, got[i], part)
			}
		}
	}
	want("nothing there", check(), "stream INBOUND is absent", "stream OUTBOUND is absent", "stream DEAD is absent")
	apply := func() {
		t.Helper()
		if _, err := admin.Apply(limit(t), 1); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	want("as applied", check())

	for member, change := range map[string]func(*jetstream.StreamConfig){
		"max_age":          func(c *jetstream.StreamConfig) { c.MaxAge = 0 },
		"max_bytes":        func(c *jetstream.StreamConfig) { c.MaxBytes = -1 },
		"max_msg_size":     func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 10 },
		"max_msgs":         func(c *jetstream.StreamConfig) { c.MaxMsgs = 7 },
		"discard":          func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"duplicate_window": func(c *jetstream.StreamConfig) { c.Duplicates = time.Second },
		"subjects":         func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "mesh.other") },
		"no_ack":           func(c *jetstream.StreamConfig) { c.NoAck = true },
		"deny_purge":       func(c *jetstream.StreamConfig) { c.DenyPurge = true }, // cannot be taken back: the last one with this stream
		"republish":        func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Source: ">", Destination: "spy.>"} },
		"allow_direct":     func(c *jetstream.StreamConfig) { c.AllowDirect = true },
	} {
		stream, err := js.Stream(limit(t), "OUTBOUND")
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		change(&config)
		if _, err := js.UpdateStream(limit(t), config); err != nil {
			t.Fatalf("%s: %v", member, err)
		}
		want(member, check(), "stream OUTBOUND: "+member+" is ")
		if member == "deny_purge" {
			if err := js.DeleteStream(limit(t), "OUTBOUND"); err != nil {
				t.Fatal(err)
			}
		}
		apply()
	}
	for member, change := range map[string]func(*jetstream.ConsumerConfig){
		"ack_wait":        func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second },
		"max_deliver":     func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 3 },
		"max_ack_pending": func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 },
		"sample_freq":     func(c *jetstream.ConsumerConfig) { c.SampleFrequency = "100" },
	} {
		consumer, err := js.Consumer(limit(t), "INBOUND", "inbound")
		if err != nil {
			t.Fatal(err)
		}
		config := consumer.CachedInfo().Config
		change(&config)
		if _, err := js.UpdateConsumer(limit(t), "INBOUND", config); err != nil {
			t.Fatalf("%s: %v", member, err)
		}
		want(member, check(), "consumer INBOUND/inbound: "+member+" is ")
		apply()
	}

	if _, err := js.CreateConsumer(limit(t), "DEAD", jetstream.ConsumerConfig{Durable: "spy", AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(limit(t), "OUTBOUND", "outbound"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(limit(t), jetstream.StreamConfig{Name: "SPY", Subjects: []string{"mesh.verdict.*"}}); err != nil {
		t.Fatal(err)
	}
	want("strangers", check(), "consumer OUTBOUND/outbound is absent", "stream DEAD has a consumer spy", "stream SPY is none of ours")
}

// In production a role is not ready before somebody has looked at the servers.
func TestStamp(t *testing.T) {
	b := newBed(t)
	admin := b.dial(t, rpc.Meshctl)
	var conns []*queue.Conn
	for _, role := range rpc.Roles() {
		o := b.options(t, role)
		o.Production = true
		conns = append(conns, dial(t, o))
	}
	ready := func(want string) {
		t.Helper()
		for i, role := range rpc.Roles() {
			err := conns[i].Ready()
			if role == rpc.Meshctl { // it needs no streams
				if err != nil {
					t.Errorf("meshctl: %v", err)
				}
				continue
			}
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v, want %q", role, err, want)
			}
		}
	}
	ready("not found")
	if _, err := admin.Apply(limit(t), 1); err != nil {
		t.Fatal(err)
	}
	ready("streams check")
	if r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 1}); err != nil || r.Stamped {
		t.Errorf("without monitoring: %+v, %v", r, err)
	}
	ready("streams check")
	r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 1, Monitoring: []string{b.server.Monitoring()}})
	if err != nil || !r.Stamped || len(r.Differences) != 0 || len(r.Servers) != 1 || !r.Servers[0].SyncAlways {
		t.Fatalf("%+v, %v", r, err)
	}
	ready("")
	// The stamp lives with the stream, and through Apply.
	if changes, err := admin.Apply(limit(t), 1); err != nil || changes[0].Did != "unchanged" {
		t.Errorf("%+v, %v", changes, err)
	}
	o := b.options(t, rpc.Outbound)
	o.Production = true
	if err := dial(t, o).Ready(); err != nil {
		t.Error(err)
	}
	if r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 1}); err != nil || !strings.Contains(r.Streams[0].Checked, "sync_interval=always") {
		t.Errorf("the stamp is not told: %+v, %v", r, err)
	}
}

// What servers say of themselves is held against what must be.
func TestCheckServers(t *testing.T) {
	b := newBed(t)
	admin := b.dial(t, rpc.Meshctl)
	if _, err := admin.Apply(limit(t), 1); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(b.server.Monitoring() + "/varz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var good map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&good); err != nil {
		t.Fatal(err)
	}
	inJetStream := func(part, member string, value any) func(map[string]any) {
		return func(v map[string]any) { v["jetstream"].(map[string]any)[part].(map[string]any)[member] = value }
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"good":            {func(map[string]any) {}, ""},
		"syncs later":     {inJetStream("config", "sync_always", false), "sync_interval is not always"},
		"small disk":      {inJetStream("config", "max_storage", 1<<20), "max_file_store is 1048576"},
		"no JetStream":    {func(v map[string]any) { v["jetstream"] = map[string]any{} }, "has no JetStream"},
		"no TLS":          {func(v map[string]any) { delete(v, "tls_required") }, "does not ask every client"},
		"no certificates": {func(v map[string]any) { delete(v, "tls_verify") }, "does not ask every client"},
		"no users":        {func(v map[string]any) { delete(v, "auth_required") }, "does not ask every client"},
		"small payload":   {func(v map[string]any) { v["max_payload"] = 1000 }, "max_payload is 1000"},
		"another server":  {func(v map[string]any) { v["server_id"] = "other" }, "is not among those of the monitoring"},
		"more servers": {
			func(v map[string]any) { v["jetstream"].(map[string]any)["meta"] = map[string]any{"cluster_size": 3} },
			"the cluster has 3 servers, the monitoring of 1 was given",
		},
	} {
		data, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		var page map[string]any
		if err := json.Unmarshal(data, &page); err != nil {
			t.Fatal(err)
		}
		c.change(page)
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(page) }))
		r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 1, Monitoring: []string{web.URL}})
		web.Close()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.want == "" != r.Stamped || !strings.Contains(strings.Join(r.Differences, "\n"), c.want) {
			t.Errorf("%s: stamped %v, %q; want %q", name, r.Stamped, r.Differences, c.want)
		}
	}
	// What is no monitoring is an error, not a difference.
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	defer web.Close()
	for _, address := range []string{web.URL, "http://127.0.0.1:1", "127.0.0.1:8222", "http://", "ftp://127.0.0.1"} {
		if r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 1, Monitoring: []string{address}}); err == nil {
			t.Errorf("%s: %+v", address, r)
		}
	}
}

// Reply subjects are chosen by who asks, and the server says things to them that the role itself may not: its API does not listen
// there, and what gets into another stream that way is not handled.
func TestReplySubjects(t *testing.T) {
	b := newBed(t)
	admin := b.dial(t, rpc.Meshctl)
	if _, err := admin.Apply(limit(t), 1); err != nil {
		t.Fatal(err)
	}
	shard := b.dial(t, rpc.Shard)
	publish(t, shard, queue.Outbound, "o1", "o2", "o3")
	publish(t, shard, queue.Inbound, "i1")
	gateway := b.raw(t, rpc.Gateway)
	forged, err := proto.Marshal(delivery("forged"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{
		"$JS.API.STREAM.PURGE.OUTBOUND", "$JS.API.STREAM.DELETE.OUTBOUND", "$JS.API.CONSUMER.DELETE.OUTBOUND.outbound", "mesh.outbound",
	} {
		for range 5 { // the answers have sequence numbers, up to which a purge would go
			if err := gateway.PublishRequest("mesh.inbound", reply, forged); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := gateway.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "published", func() bool { return b.messages(t, queue.Inbound) == 21 })
	// Another role has INBOUND handed to OUTBOUND.
	inbound := b.raw(t, rpc.Inbound)
	if err := inbound.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.INBOUND.inbound", "mesh.outbound", []byte(`{"batch":21,"expires":1000000000}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "handed over", func() bool { return b.messages(t, queue.Outbound) >= 3+5+20 })

	handled := make(chan string, 100)
	stop := consume(t, b.dial(t, rpc.Outbound), queue.Outbound, 4, func(_ context.Context, m *queue.Message) {
		handled <- m.ID
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "all of OUTBOUND is dealt with", func() bool { return b.messages(t, queue.Outbound) == 0 })
	stop()
	close(handled)
	got := slices.Sorted(maps.Keys(maps.Collect(func(yield func(string, bool) bool) {
		for id := range handled {
			if !yield(id, true) {
				return
			}
		}
	})))
	if !slices.Equal(got, []string{"o1", "o2", "o3"}) {
		t.Errorf("handled %q, want what the shard published", got)
	}
	if n := b.messages(t, queue.Dead); n != 5+20 {
		t.Errorf("%d given up, want 25", n)
	}
}
