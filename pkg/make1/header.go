package make1

import (
	"encoding/base64"
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	encGCM    = "A256GCM"
	maxHeader = 64 << 10 // that of dare.Parse, here again for envelopes that were made otherwise
	maxTicket = 2 << 10  // twice what DARE advises for a Salt; the largest of ours stays below 1.2 KiB
)

// header holds the members that MAKE-1 reads. Others are allowed: the octets are authenticated as a whole.
type header struct {
	Enc        string      `json:"enc,omitempty"`
	KID        string      `json:"kid,omitempty"`
	Salt       jbcd.Binary `json:"Salt,omitempty"`
	Recipients []recipient `json:"recipients,omitempty"`
	Received   *jbcd.Time  `json:"Received,omitempty"`
}

type recipient struct {
	KID string      `json:"kid,omitempty"`
	KWD string      `json:"kwd,omitempty"`
	EPK jbcd.Raw    `json:"epk,omitempty"` // read only once the suite is known
	WMK jbcd.Raw    `json:"wmk,omitempty"`
	RKD jbcd.Binary `json:"rkd,omitempty"`
}

func readHeader(e *dare.Envelope) (*header, error) {
	if e == nil || len(e.Header) > maxHeader {
		return nil, errors.New("header absent or too long")
	}
	h := new(header)
	if err := jbcd.Unmarshal(e.Header, h); err != nil {
		return nil, err
	}
	return h, nil
}

// plain says whether h belongs to an envelope that is not sealed.
func (h *header) plain() bool { return h.Enc == "" && h.KID == "" && len(h.Recipients) == 0 }

// exchangeRecipient checks the shape that requests and responses of an exchange share (AUTH §3.4) and returns
// the recipient with its key and that key's u.
func (h *header) exchangeRecipient(e *dare.Envelope) (r *recipient, epk keys.PublicKey, u []byte, err error) {
	switch {
	case e.Trailer != nil:
		err = errors.New("third element")
	case h.Enc != encGCM:
		err = errors.New("enc is not A256GCM")
	case h.KID != "":
		err = errors.New("kid beside recipients")
	case len(h.Salt) != saltLen:
		err = errors.New("exchange with a Salt of other than 24 octets")
	case len(h.Recipients) != 1:
		err = errors.New("not exactly one recipient")
	case h.Recipients[0].KWD != Suite:
		err = errors.New("unknown suite")
	case h.Recipients[0].WMK != nil:
		err = errors.New("wmk in an exchange")
	}
	if err != nil {
		return nil, epk, nil, err
	}
	r = &h.Recipients[0]
	if err := epk.UnmarshalJBCD(r.EPK); err != nil {
		return nil, epk, nil, err
	}
	if u, err = coordinate(epk); err != nil {
		return nil, epk, nil, err
	}
	return r, epk, u, nil
}

// RequestKind is what Classify finds (AUTH §3.4).
type RequestKind uint8

// The kinds of requests. A null request may only be a Hello; that is the gateway's to check.
const (
	KindNull RequestKind = iota
	KindExchange
	KindTicket
)

// Incoming is a request of which nothing but the header was read, and that once.
type Incoming struct {
	Kind RequestKind

	envelope *dare.Envelope
	header   *header
}

// Read recognises the kind by the header alone; anything malformed is an error of kind mesh.NotAuthenticated. A null
// request may have a third element (the draft's Hello has one).
func Read(e *dare.Envelope) (*Incoming, error) {
	kind, h, err := classify(e)
	if err != nil {
		return nil, mesh.E("make1.Read", mesh.NotAuthenticated, err)
	}
	return &Incoming{Kind: kind, envelope: e, header: h}, nil
}

// Classify is Read for who asks for the kind only.
func Classify(e *dare.Envelope) (RequestKind, error) {
	r, err := Read(e)
	if err != nil {
		return KindNull, err
	}
	return r.Kind, nil
}

func classify(e *dare.Envelope) (RequestKind, *header, error) {
	h, err := readHeader(e)
	switch {
	case err != nil:
		return KindNull, nil, err
	case len(h.Recipients) > 0:
		if _, _, _, err := h.exchangeRecipient(e); err != nil {
			return KindNull, nil, err
		}
		return KindExchange, h, nil
	case h.KID != "" && len(h.Salt) > saltLen:
		switch {
		case e.Trailer != nil:
			return KindNull, nil, errors.New("third element")
		case h.Enc != encGCM:
			return KindNull, nil, errors.New("enc is not A256GCM")
		}
		return KindTicket, h, nil
	case h.plain():
		return KindNull, h, nil
	}
	return KindNull, nil, errors.New("sealed, but neither exchange nor ticket")
}

// The headers are written by hand: each has one form, and what is not base64url is ours.

// exchangeHeader writes the header of an exchange request (kid names S) or response (no kid: it would name
// the client to every listener). The sign octet of the key is 0: only u counts.
func exchangeHeader(salt []byte, kid string, u, rkd []byte) []byte {
	b := append([]byte(nil), `{"enc":"`+encGCM+`","Salt":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, salt)
	b = append(b, `","recipients":[{`...)
	if kid != "" {
		b = append(b, `"kid":"`+kid+`",`...)
	}
	b = append(b, `"kwd":"`+Suite+`","epk":{"PublicKeyECDH":{"crv":"X448","Public":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, cat(u, []byte{0}))
	b = append(b, `"}}`...)
	if rkd != nil {
		b = append(b, `,"rkd":"`...)
		b = base64.RawURLEncoding.AppendEncode(b, rkd)
		b = append(b, '"')
	}
	return append(b, `}]}`...)
}

// headerRoom is what sealedHeader writes beside kid and Salt.
const headerRoom = len(`{"enc":"","kid":"","Salt":"","Received":"2006-01-02T15:04:05Z"}`) + len(encGCM)

// sealedHeader writes the header of everything else that is sealed: ticket request, ticket response (kid names
// the ticket secret) and refusal under K_err (no kid). A zero time is not written.
func sealedHeader(kid string, salt []byte, received time.Time) []byte {
	b := append(make([]byte, 0, headerRoom+len(kid)+base64.RawURLEncoding.EncodedLen(len(salt))), `{"enc":"`+encGCM+`",`...)
	if kid != "" {
		b = append(b, `"kid":"`+kid+`",`...)
	}
	b = append(b, `"Salt":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, salt)
	if !received.IsZero() {
		b = append(b, `","Received":"`...)
		b = received.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
	}
	return append(b, `"}`...)
}
