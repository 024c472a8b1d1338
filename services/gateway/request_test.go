package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// Covers C-010, C-051, C-062, C-063, C-155 as far as they need no shard.
func TestExchangeThenTicket(t *testing.T) {
	g := newLonely(t, nil)
	d := newStranger(t)
	r := g.ask(t, d, `{"Hello":{"ID":"AAAAAAAAAAAAAAAAAAAAAA"}}`, new(mesh.MeshHelloResponse))
	r.is(t, "Hello in device mode", 201, 0)
	if r.ticket == nil || len(r.ID) != 16 {
		t.Fatalf("no ticket, or ID %x", []byte(r.ID))
	}
	if life := r.ticket.NotOnOrAfter.Sub(g.clock); life != time.Hour {
		t.Errorf("ticket lives %s", life)
	}
	g.askTicket(t, r.ticket, `{"Hello":{}}`, new(mesh.MeshHelloResponse)).is(t, "Hello by ticket", 201, 0)

	g.clock = g.clock.Add(time.Hour)
	late := g.askTicket(t, r.ticket, `{"Hello":{}}`, nil)
	late.is(t, "expired ticket", 401, 9)
	if !late.received {
		t.Error("a sealed refusal without Received")
	}
}

// Everything of the table by a device that nobody knows: C-052, C-057, C-059, C-060; unbuilt transactions answer 400/24
// only to those who may ask.
func TestDeviceMode(t *testing.T) {
	g := newLonely(t, nil)
	d := newStranger(t)
	hello := g.ask(t, d, `{"Hello":{}}`, new(mesh.MeshHelloResponse))
	for _, r := range rules() {
		payload := fmt.Sprintf(`{%q:{"ID":"AAAAAAAAAAAAAAAAAAAAAA"}}`, r.name)
		check := func(what string, got *reply, may verdict) {
			t.Helper()
			switch {
			case got.how != "sealed":
				t.Errorf("%s: a %s", what, got.how)
			case may != yes:
				got.is(t, what, 401, 8)
			case r.name == mesh.TagHello:
				got.is(t, what, 201, 0)
			case r.name == mesh.TagCreateAccount:
				got.is(t, what, 400, 4) // no address
			default:
				got.is(t, what, 400, 24)
			}
			if len(got.ID) != 16 {
				t.Errorf("%s: ID is not echoed", what)
			}
		}
		check(r.name+" in device mode", g.ask(t, d, payload, new(anyResponse)), r.may[byDevice])
		check(r.name+" by device ticket", g.askTicket(t, hello.ticket, payload, new(anyResponse)), r.may[byDeviceTicket])
	}
}

// anyResponse reads any response as its base.
type anyResponse = mesh.MeshHelloResponse

// Service mode is proven by a host that chains to its service; then it may Hello and, once built, Post.
func TestServiceMode(t *testing.T) {
	g := newLonely(t, nil)
	other, err := mesh.NewProvider("beta.example", g.clock, 1)
	if err != nil {
		t.Fatal(err)
	}
	key := other.Outbound.Authentication
	ask := func(payload string, envelopes ...*dare.Envelope) *reply {
		t.Helper()
		e, p, err := g.client(key).Exchange(make1.Credential{Mode: make1.Service, Envelopes: envelopes}, []byte(payload), g.clock)
		if err != nil {
			t.Fatal(err)
		}
		return send(t, g.Handler(), e, p, new(anyResponse))
	}
	host, service := other.Outbound.EnvelopedProfileHost, other.Outbound.EnvelopedProfileService
	r := ask(`{"Hello":{}}`, host, service)
	r.is(t, "Hello", 201, 0)
	if r.ticket == nil {
		t.Fatal("no ticket")
	}
	ask(`{"Post":{}}`, host, service).is(t, "Post", 400, 24)
	g.askTicket(t, r.ticket, `{"Post":{}}`, nil).is(t, "Post by ticket", 400, 24)
	for _, name := range []string{"Status", "Download", "Upload", "CreateAccount", "DeleteAccount", "Claim"} {
		ask(`{"`+name+`":{}}`, host, service).is(t, name, 401, 8)
		g.askTicket(t, r.ticket, `{"`+name+`":{}}`, nil).is(t, name+" by ticket", 401, 8)
	}
	ask(`{"Hello":{}}`, host, g.provider.Gateway.EnvelopedProfileService).is(t, "host of another service", 401, 7)
	ask(`{"Hello":{}}`, host).is(t, "no ProfileService", 401, 7)
	ask(`{"Hello":{}}`, g.provider.Gateway.EnvelopedProfileHost, g.provider.Gateway.EnvelopedProfileService).is(t, "another's host", 401, 7)
}

// Covers C-051, C-064, AUTH §3.5: what is refused how.
func TestRefusals(t *testing.T) {
	g := newLonely(t, nil)
	d := newStranger(t)
	const hello = `{"Hello":{}}`
	sealed := func(what string, r *reply, extended int64) {
		t.Helper()
		r.is(t, what, 401, extended)
		if r.how != "sealed" || !r.received {
			t.Errorf("%s: %s, Received %t; want a sealed refusal that tells the time", what, r.how, r.received)
		}
	}
	exchange := func(c *make1.Client, cred make1.Credential, at time.Time) (*dare.Envelope, *make1.Pending) {
		t.Helper()
		e, p, err := c.Exchange(cred, []byte(hello), at)
		if err != nil {
			t.Fatal(err)
		}
		return e, p
	}
	for _, off := range []time.Duration{-121 * time.Second, 121 * time.Second, -time.Since(time.Unix(0, 0))} {
		e, p := exchange(g.client(d.key), d.credential(), g.clock.Add(off))
		sealed("exchange of "+off.String(), send(t, g.Handler(), e, p, nil), 11)
	}
	for _, off := range []time.Duration{-119 * time.Second, 119 * time.Second} {
		e, p := exchange(g.client(d.key), d.credential(), g.clock.Add(off))
		send(t, g.Handler(), e, p, new(anyResponse)).is(t, "exchange of "+off.String(), 201, 0)
	}

	// A replay; but garbage with the same Salt, sent ahead, blocks nobody.
	e, p := exchange(g.client(d.key), d.credential(), g.clock)
	bad := &dare.Envelope{Header: e.Header, Payload: append([]byte(nil), e.Payload...)}
	bad.Payload[0] ^= 1
	if body, err := bad.MarshalJBCD(); err != nil {
		t.Fatal(err)
	} else if w := post(g.Handler(), body, nil); w.Code != 401 {
		t.Errorf("garbage: HTTP %d", w.Code)
	}
	first := send(t, g.Handler(), e, p, new(anyResponse))
	first.is(t, "after garbage", 201, 0)
	sealed("replayed exchange", send(t, g.Handler(), e, p, nil), 11)
	e, p, err := first.ticket.Seal([]byte(hello), g.clock)
	if err != nil {
		t.Fatal(err)
	}
	send(t, g.Handler(), e, p, new(anyResponse)).is(t, "ticket request", 201, 0)
	sealed("replayed ticket request", send(t, g.Handler(), e, p, nil), 11)
	e, p, err = first.ticket.Seal([]byte(hello), g.clock.Add(-5*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	sealed("old ticket request", send(t, g.Handler(), e, p, nil), 11)

	// Somebody else's credential, nobody's, and keys that are not those of the service.
	thief := newStranger(t)
	e, p = exchange(g.client(thief.key), d.credential(), g.clock)
	sealed("another's profile", send(t, g.Handler(), e, p, nil), 7)
	e, p = exchange(g.client(d.key), make1.Credential{Mode: make1.Device}, g.clock)
	sealed("no envelopes", send(t, g.Handler(), e, p, nil), 7)
	e, p = exchange(g.client(d.key), make1.Credential{Mode: make1.Profile, Account: "nobody", Envelopes: d.credential().Envelopes}, g.clock)
	sealed("no address", send(t, g.Handler(), e, p, nil), 7)
	stray, err := keys.Generate(keys.X448)
	if err != nil {
		t.Fatal(err)
	}
	c := g.client(d.key)
	c.S = stray.Public()
	e, p = exchange(c, d.credential(), g.clock)
	if r := send(t, g.Handler(), e, p, nil); r.how != "hint" {
		t.Errorf("unknown S: %s", r.how)
	} else {
		r.is(t, "unknown S", 401, 10)
	}
	c = g.client(d.key)
	c.Domain = "beta.example"
	e, p = exchange(c, d.credential(), g.clock)
	body, err := e.MarshalJBCD()
	if err != nil {
		t.Fatal(err)
	}
	if w := post(g.Handler(), body, nil); w.Code != 401 {
		t.Errorf("for another domain: HTTP %d", w.Code)
	}
	_ = p
}

// A profile whose shard is away is neither accepted nor refused for good.
func TestShardAway(t *testing.T) {
	g := newLonely(t, nil)
	d := newStranger(t)
	e, p, err := g.client(d.key).Exchange(make1.Credential{Mode: make1.Profile, Account: "alice@" + domainName, Envelopes: d.credential().Envelopes},
		[]byte(`{"Status":{}}`), g.clock)
	if err != nil {
		t.Fatal(err)
	}
	r := send(t, g.Handler(), e, p, nil)
	r.is(t, "shard away", 503, 31)
	if r.how != "sealed" || r.http.Header().Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", r.how, r.http.Header().Get("Retry-After"))
	}
}

// Covers C-132: 429/31 with Retry-After, and it recovers.
func TestExchangeRate(t *testing.T) {
	g := newLonely(t, func(c *Config) { c.Limits = Limits{} })
	d := newStranger(t)
	for i := range defaultExchangeBurst {
		if r := g.ask(t, d, `{"Hello":{}}`, new(anyResponse)); r.Status != 201 {
			t.Fatalf("exchange %d: %d/%d", i, r.Status, r.StatusExtended)
		}
	}
	r := g.ask(t, d, `{"Hello":{}}`, nil)
	r.is(t, "one too many", 429, 31)
	if r.how != "hint" || r.http.Header().Get("Retry-After") != "1" {
		t.Errorf("%s, Retry-After %q", r.how, r.http.Header().Get("Retry-After"))
	}
	g.clock = g.clock.Add(100 * time.Millisecond)
	g.ask(t, d, `{"Hello":{}}`, new(anyResponse)).is(t, "a tenth of a second later", 201, 0)
	g.ask(t, d, `{"Hello":{}}`, nil).is(t, "and again one too many", 429, 31)
}

// Covers C-080: malformed requests in a valid envelope get a sealed 400.
func TestMalformedPayload(t *testing.T) {
	g := newLonely(t, nil)
	d := newStranger(t)
	for payload, extended := range map[string]int64{
		`hello`: 0, `{"Status":{},"Hello":{}}`: 0, `[]`: 0, `{}`: 0, `{"Hello":[]}`: 0, `{"Hello":"x"}`: 0, `{"Hello":{"ID":7}}`: 0,
		`{"Hello":{"ID":"AA","ID":"AA"}}`: 0, `{"Frobnicate":{}}`: 24, `{"Hello":{"ID":"` + strings.Repeat("A", 100) + `"}}`: 6,
		`{"Hello":{"x":"` + strings.Repeat("x", small) + `"}}`: 12,
	} {
		r := g.ask(t, d, payload, new(anyResponse))
		r.is(t, payload[:min(len(payload), 60)], 400, extended)
		if r.how != "sealed" || r.ticket == nil {
			t.Errorf("%.60s: %s, ticket %t; want an exchange response", payload, r.how, r.ticket != nil)
		}
	}
}

// Bodies and their memory are used again: what a shard was asked stays as it was, whatever comes after it.
func TestUploadOutlivesItsBody(t *testing.T) {
	u := newUploader(t)
	u.uploads = new([]*shardpb.UploadRequest)
	upload := func(content string) {
		t.Helper()
		e, p, err := u.ticket.Seal(u.upload(t, content), u.clock)
		if err != nil {
			t.Fatal(err)
		}
		send(t, u.Handler(), e, p, new(mesh.UploadResponse)).is(t, "Upload", 201, 0)
	}
	var want []proto.Message
	for i := range 20 {
		upload(strings.Repeat(string(rune('a'+i)), 1<<10))
		want = append(want, proto.Clone((*u.uploads)[i]))
	}
	for i, r := range *u.uploads {
		if !proto.Equal(r, want[i]) {
			t.Errorf("Upload %d has changed", i)
		}
	}
}
