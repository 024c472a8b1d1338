package make1

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/vectors"
)

// hexOctets is a member of auth_vectors.json in hexadecimal.
type hexOctets []byte

func (h *hexOctets) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	b, err := hex.DecodeString(s)
	*h = b
	return err
}

// message is what the six messages of auth_vectors.json have in common.
type message struct {
	Salt       hexOctets `json:"salt"`
	Header     string    `json:"header"`
	Plaintext  string    `json:"plaintext"`
	Ciphertext hexOctets `json:"ciphertext"`
}

func (m message) envelope() *dare.Envelope {
	return &dare.Envelope{Header: []byte(m.Header), Payload: bytes.Clone(m.Ciphertext)}
}

type authVectors struct {
	Suite  string               `json:"suite"`
	Domain string               `json:"domain"`
	Seeds  map[string]hexOctets `json:"private_seeds"`
	U      map[string]hexOctets `json:"public_u"`
	KeyUDF map[string]string    `json:"keyudf"`
	ES     hexOctets            `json:"es"`
	SS     hexOctets            `json:"ss"`
	EE     hexOctets            `json:"ee"`
	SE     hexOctets            `json:"se"`
	CK0    hexOctets            `json:"ck0"`

	ExchangeRequest struct {
		message
		Credential string    `json:"credential"`
		RKD        hexOctets `json:"rkd"`
		TH         hexOctets `json:"th"`
	} `json:"exchange_request"`
	ExchangeResponse struct {
		message
		TicketSecret hexOctets `json:"ticket_secret"`
		TicketInfo   string    `json:"ticket_info"`
		RKD          hexOctets `json:"rkd"`
	} `json:"exchange_response"`
	TicketRequest struct {
		message
		KID string    `json:"kid"`
		C2S hexOctets `json:"c2s"`
		TH  hexOctets `json:"th"`
	} `json:"ticket_request"`
	TicketResponse struct {
		message
		S2C hexOctets `json:"s2c"`
	} `json:"ticket_response"`
	ExchangeError message `json:"exchange_error"`
	TicketError   message `json:"ticket_error"`
}

func loadVectors(t testing.TB) *authVectors {
	t.Helper()
	raw, err := vectors.Raw("auth_vectors")
	if err != nil {
		t.Fatal(err)
	}
	v := new(authVectors)
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// vectorHolder holds the keys of the vectors under the names of the vectors, which are computed with sign octet 0.
type vectorHolder map[string]*keys.PrivateKey

func (h vectorHolder) Public(kid string) (keys.PublicKey, bool) {
	k, ok := h[kid]
	if !ok {
		return keys.PublicKey{}, false
	}
	return unsigned(k.Public()), true
}

func (h vectorHolder) Sign(kid string, message []byte) ([]byte, error) { return h[kid].Sign(message) }

func (h vectorHolder) Agree(kid string, peer keys.PublicKey) ([]byte, error) {
	return h[kid].Agree(peer)
}

// unsigned is k with sign octet 0.
func unsigned(k keys.PublicKey) keys.PublicKey {
	return keys.PublicKey{Curve: keys.X448, Octets: append(bytes.Clone(k.Octets[:uLen]), 0)}
}

func (v *authVectors) key(t testing.TB, name string) *keys.PrivateKey {
	t.Helper()
	k, err := keys.FromSecret(keys.X448, v.Seeds[name])
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Public().Octets[:uLen]; !bytes.Equal(got, v.U[name]) {
		t.Fatalf("public u of %s: %x, want %x", name, got, v.U[name])
	}
	return k
}

// vectorRun is the conversation of the vectors, both sides, every message as it came out.
type vectorRun struct {
	v       *authVectors
	service vectorHolder
	client  *Client

	request  *dare.Envelope
	pending  *Pending
	exchange *Exchange
	response *dare.Envelope
	refused  *dare.Envelope

	ticket        *Ticket
	ticketRequest *dare.Envelope
	ticketPending *Pending
	ticketOpened  *TicketRequest
	ticketAnswer  *dare.Envelope
	ticketRefused *dare.Envelope
}

// The times of the vectors: request and sealed refusals.
var (
	vectorNow           = time.UnixMilli(1595862394000)
	vectorReceived      = time.Date(2020, 7, 27, 15, 6, 34, 0, time.UTC)
	vectorTicketRefused = time.Date(2020, 7, 27, 15, 6, 40, 0, time.UTC)
	vectorEnd           = time.Date(2020, 7, 27, 16, 6, 34, 0, time.UTC)
)

func runVectors(t testing.TB) *vectorRun {
	t.Helper()
	v := loadVectors(t)
	s, c, e, f := v.key(t, "S"), v.key(t, "C"), v.key(t, "E"), v.key(t, "F")
	r := &vectorRun{
		v:       v,
		service: vectorHolder{v.KeyUDF["S"]: s},
		client: &Client{
			Domain: v.Domain, S: unsigned(s.Public()), AuthKID: v.KeyUDF["C"],
			Holder: vectorHolder{v.KeyUDF["C"]: c},
		},
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	r.request, r.pending, err = r.client.exchange(e, v.ExchangeRequest.Salt, []byte(v.ExchangeRequest.Credential), []byte(v.ExchangeRequest.Plaintext))
	must(err)
	r.exchange, err = OpenExchange(v.ExchangeRequest.envelope(), v.Domain, known(r.service), vectorNow)
	must(err)
	must(r.exchange.Authenticate(unsigned(c.Public())))

	opaque := v.TicketRequest.Salt[saltLen:]
	r.response, err = r.exchange.answer(f, v.ExchangeResponse.Salt, []byte(v.ExchangeResponse.Plaintext),
		func(secret []byte) ([]byte, time.Time, error) { return opaque, vectorEnd, nil })
	must(err)
	r.refused, err = r.exchange.refuse(v.ExchangeError.Salt, []byte(v.ExchangeError.Plaintext), vectorReceived)
	must(err)

	a, err := r.pending.Open(v.ExchangeResponse.envelope())
	must(err)
	r.ticket = a.Ticket
	r.ticketRequest, r.ticketPending, err = r.ticket.seal(v.TicketRequest.Salt[:saltLen:saltLen], []byte(v.TicketRequest.Plaintext))
	must(err)

	// The ticket of the vectors is no real one: what it would hold is given.
	_, h, err := classify(v.TicketRequest.envelope())
	must(err)
	content := &TicketContent{Secret: v.ExchangeResponse.TicketSecret}
	r.ticketOpened = newTicketRequest(v.TicketRequest.envelope(), h, content, newChannel(v.CK0, content.Secret))
	must(r.ticketOpened.open(v.TicketRequest.envelope(), h))
	r.ticketAnswer, err = r.ticketOpened.answer(v.TicketResponse.Salt, []byte(v.TicketResponse.Plaintext), time.Time{})
	must(err)
	r.ticketRefused, err = r.ticketOpened.answer(v.TicketError.Salt, []byte(v.TicketError.Plaintext), vectorTicketRefused)
	must(err)
	return r
}

// C-051: every value of auth_vectors.json by producing.
func TestVectorsProduced(t *testing.T) {
	r := runVectors(t)
	v := r.v
	for _, m := range []struct {
		name string
		got  *dare.Envelope
		want message
	}{
		{"exchange request", r.request, v.ExchangeRequest.message},
		{"exchange response", r.response, v.ExchangeResponse.message},
		{"exchange error", r.refused, v.ExchangeError},
		{"ticket request", r.ticketRequest, v.TicketRequest.message},
		{"ticket response", r.ticketAnswer, v.TicketResponse.message},
		{"ticket error", r.ticketRefused, v.TicketError},
	} {
		if string(m.got.Header) != m.want.Header {
			t.Errorf("%s: header\n%s\nwant\n%s", m.name, m.got.Header, m.want.Header)
		}
		if !bytes.Equal(m.got.Payload, m.want.Ciphertext) {
			t.Errorf("%s: payload\n%x\nwant\n%x", m.name, m.got.Payload, m.want.Ciphertext)
		}
		if m.got.Trailer != nil {
			t.Errorf("%s: trailer %s", m.name, m.got.Trailer)
		}
	}
	ee, err := agree(v.key(t, "E").Agree, unsigned(v.key(t, "F").Public()))
	if err != nil {
		t.Fatal(err)
	}
	se, err := agree(held(r.client.Holder, r.client.AuthKID), unsigned(v.key(t, "F").Public()))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		name      string
		got, want []byte
	}{
		{"suite", []byte(Suite), []byte(v.Suite)},
		{"ck0, client", r.pending.secrets.ck0, v.CK0},
		{"ck0, service", r.exchange.secrets.ck0, v.CK0},
		{"es, client", r.pending.secrets.es, v.ES},
		{"es, service", r.exchange.secrets.es, v.ES},
		{"ss, client", r.pending.secrets.ss, v.SS},
		{"ss, service", r.exchange.secrets.ss, v.SS},
		{"ee", ee, v.EE},
		{"se", se, v.SE},
		{"th, client", r.pending.secrets.th, v.ExchangeRequest.TH},
		{"th, service", r.exchange.secrets.th, v.ExchangeRequest.TH},
		{"rkd of the request", r.exchange.rkd, v.ExchangeRequest.RKD},
		{"ticket secret, client", r.ticket.secret, v.ExchangeResponse.TicketSecret},
		{"c2s", r.ticket.channel.c2s, v.TicketRequest.C2S},
		{"s2c", r.ticket.channel.s2c, v.TicketResponse.S2C},
		{"kid of the ticket", []byte(r.ticket.channel.kid), []byte(v.TicketRequest.KID)},
		{"th of the ticket request", r.ticketPending.secrets.th, v.TicketRequest.TH},
		{"kid of S", []byte(r.pending.serviceKID), []byte(v.KeyUDF["S"])},
	} {
		if !bytes.Equal(m.got, m.want) {
			t.Errorf("%s: %x, want %x", m.name, m.got, m.want)
		}
	}
}

// C-051: every message of auth_vectors.json by opening.
func TestVectorsOpened(t *testing.T) {
	r := runVectors(t)
	v := r.v
	if got := r.exchange.Payload; string(got) != v.ExchangeRequest.Plaintext {
		t.Errorf("exchange request: %s", got)
	}
	if c := r.exchange.Credential; c.Mode != Device || c.Account != "alice@example.com" || len(c.Envelopes) != 0 {
		t.Errorf("credential: %+v", c)
	}
	if !r.exchange.Time.Equal(vectorNow) || r.exchange.ServiceKID != v.KeyUDF["S"] {
		t.Errorf("exchange request: time %s, service key %s", r.exchange.Time, r.exchange.ServiceKID)
	}
	if got := r.ticketOpened.Payload; string(got) != v.TicketRequest.Plaintext {
		t.Errorf("ticket request: %s", got)
	}
	for _, m := range []struct {
		name     string
		pending  *Pending
		message  message
		received time.Time
		refused  bool
	}{
		{"exchange response", r.pending, v.ExchangeResponse.message, time.Time{}, false},
		{"exchange error", r.pending, v.ExchangeError, vectorReceived, true},
		{"ticket response", r.ticketPending, v.TicketResponse.message, time.Time{}, false},
		{"ticket error", r.ticketPending, v.TicketError, vectorTicketRefused, false},
	} {
		a, err := m.pending.Open(m.message.envelope())
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if string(a.Payload) != m.message.Plaintext || a.Refused != m.refused {
			t.Errorf("%s: %+v", m.name, a)
		}
		if (a.Received == nil) != m.received.IsZero() || a.Received != nil && !a.Received.Equal(m.received) {
			t.Errorf("%s: Received %v, want %v", m.name, a.Received, m.received)
		}
	}
	k := r.ticket
	if !bytes.Equal(k.opaque, v.TicketRequest.Salt[saltLen:]) || !k.NotOnOrAfter.Equal(vectorEnd) ||
		k.Domain != v.Domain || k.ServiceKID != v.KeyUDF["S"] || !k.Issued.Equal(time.UnixMilli(1595862394050)) {
		t.Errorf("ticket: %x of %s at %s, issued %s, end %s", k.opaque, k.ServiceKID, k.Domain, k.Issued, k.NotOnOrAfter)
	}
}
