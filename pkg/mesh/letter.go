package mesh

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/udf"
)

// MaxMessage is the longest message, counted by MessageSize (draft §7, §9; D-28).
const MaxMessage = 65536

// Bounds of what is looked at before any signature is checked: a trailer has room for a thousand small signatures.
const (
	// maxLetterSignatures: the device's, and a few that others may have added; only one may bring a credential.
	maxLetterSignatures = 8
	// maxSenderAddresses: an account has an address, and one more at each provider that it has moved from.
	maxSenderAddresses = 32
	// maxIdentifier bounds UniqueID and MessageType: they become keys of an index.
	maxIdentifier = 1024
)

// KeyPin is the key in ContentMeta.KeyValues under which an encrypted reply shows its PinUDF (FLOWS §6).
const KeyPin = "mmm:pin"

// Letter is what can be read of a message without any key (PROTOCOL §4.1 step 2). Nothing in it is proven by itself: the
// header is not signed.
type Letter struct {
	ID         string   // UniqueID: the MessageID
	EnvelopeID string   // ENVELOPEID(ID), also when the header has none
	Type       string   // MessageType
	Encrypted  bool     // then Type is a claim of the sender
	Message    *Message // base of the payload, nil when encrypted
	PinUDF     string   // of the payload, or mmm:pin of ContentMeta.KeyValues when encrypted
	Tag        string   // of the payload, equal to Type; empty when encrypted

	named bool // the header has an EnvelopeID
}

// Header is the header as it is stored, that of an envelope or what is left of it: an EnvelopeID that the sender left out is written
// into it (DATA §10).
func (l *Letter) Header(header []byte) []byte {
	if l.named {
		return header
	}
	// It may be there as null or empty, which is absence: twice would make the header unreadable.
	if without, err := jbcd.Without(header, "EnvelopeID"); err == nil {
		header = without
	}
	rest := bytes.TrimLeft(header, " \t\r\n")
	rest = bytes.TrimLeft(bytes.TrimPrefix(rest, []byte("{")), " \t\r\n")
	out := append([]byte(`{"EnvelopeID":"`), l.EnvelopeID...)
	if bytes.HasPrefix(rest, []byte("}")) {
		return append(append(out, '"'), rest...)
	}
	return append(append(out, `",`...), rest...)
}

// ReadLetter reads a message and checks its identifiers: UniqueID and MessageType are there and fit to be keys, a written
// EnvelopeID is that of UniqueID, and of a payload that is not encrypted the tag is MessageType and MessageID is UniqueID.
// A payload that is neither encrypted nor readable is no message. Errors are of kind MessageInvalid.
func ReadLetter(env *dare.Envelope) (*Letter, error) {
	l, err := readLetter(env)
	if err != nil {
		return nil, E("mesh.ReadLetter", MessageInvalid, err)
	}
	return l, nil
}

func readLetter(env *dare.Envelope) (*Letter, error) {
	if env == nil || len(env.Payload) == 0 {
		return nil, errors.New("no envelope, or no payload")
	}
	h, err := env.ParseHeader()
	if err != nil {
		return nil, err
	}
	meta, err := h.ParseMeta()
	if err != nil {
		return nil, err
	}
	if !isIdentifier(meta.UniqueID) || !isIdentifier(meta.MessageType) {
		return nil, errors.New("UniqueID or MessageType is missing or cannot be one")
	}
	l := &Letter{
		ID: meta.UniqueID, EnvelopeID: udf.EnvelopeID(meta.UniqueID), Type: meta.MessageType,
		Encrypted: h.Enc != "" || len(h.Recipients) > 0,
		named:     h.EnvelopeID != "",
	}
	if h.EnvelopeID != "" && h.EnvelopeID != l.EnvelopeID {
		return nil, errors.New("EnvelopeID is not that of UniqueID")
	}
	if l.Encrypted {
		l.PinUDF = pinOf(meta)
		return l, nil
	}
	return l, l.open(env.Payload)
}

// open reads the payload of a message that is not encrypted.
func (l *Letter) open(payload []byte) error {
	if len(payload) > MaxMessage {
		return errors.New("too long")
	}
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		return err
	}
	var m struct {
		Message
		PinUDF string `json:"PinUDF,omitempty"`
	}
	if err := jbcd.Unmarshal(body, &m); err != nil {
		return err
	}
	if tag != l.Type {
		return errors.New("the payload is no MessageType")
	}
	if m.MessageID != l.ID {
		return errors.New("MessageID is not UniqueID")
	}
	l.Tag, l.Message, l.PinUDF = tag, &m.Message, m.PinUDF
	return nil
}

// pinOf is the PinUDF that an encrypted message shows, empty when it is none.
func pinOf(meta *dare.ContentMeta) string {
	for _, kv := range meta.KeyValues {
		if kv.Key == KeyPin && isIdentifier(kv.Value) {
			return kv.Value
		}
	}
	return ""
}

// isIdentifier says whether a text can be a key: there, short, and of characters that show.
func isIdentifier(s string) bool {
	return s != "" && len(s) <= maxIdentifier && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// MessageSize is the length of a message: octets of its envelope in compact JSON, whatever it came in, so that every
// service on its way counts alike (D-28).
func MessageSize(env *dare.Envelope) int {
	header := compactSize(env.Header)
	if header == 0 {
		header = len(`{}`)
	}
	n := len(`[,""]`) + header + base64.RawURLEncoding.EncodedLen(len(env.Payload))
	if len(env.Trailer) > 0 {
		n += len(`,`) + compactSize(env.Trailer)
	}
	return n
}

// compactSize is the length of a JSON text without the white space outside its strings.
func compactSize(text []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
			n += 2
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		n++
	}
	return n
}

// Sender is who has signed a message, as its credential proves it (D-29).
type Sender struct {
	Profile *ProfileAccount
	// UDF of Profile, canonical. Empty when Profile is signed by its mesh alone: such a profile may hold anybody's public
	// key (VerifyProfileAccount), so its UDF is no identity; MeshUDF is.
	UDF string
	// MeshUDF is that of Profile's mesh, canonical; empty when the credential brought no ProfileMesh.
	MeshUDF string
	// Addresses are those of Profile, canonical, in its order: claims of the account. Who transmits the message vouches
	// for those of its own domain.
	Addresses  []string
	SignKID    string             // of Connection's KeySignature, canonical
	DeviceUDF  string             // SubjectUDF of Connection, canonical: the account names the device; may be empty
	Connection *ConnectionAccount // signed by an online key of Profile
}

// VerifyMessage verifies the one signature of a message that has a Credential: it is over the payload, by KeySignature of
// the ConnectionAccount in the Credential, which is signed by the ProfileAccount beside it, which is signed by itself or by
// the ProfileMesh that comes third (D-29, D-12). When the payload is readable and names a Sender, that is an address of
// the ProfileAccount. Whether device and profile are those of today, and whose the addresses are, others know.
//
// It costs at most six signatures, however many there are in the message. Errors are of kind MessageInvalid.
func VerifyMessage(env *dare.Envelope) (*Sender, error) {
	s, err := verifyMessage(env)
	if err != nil {
		return nil, E("mesh.VerifyMessage", MessageInvalid, err)
	}
	return s, nil
}

func verifyMessage(env *dare.Envelope) (*Sender, error) {
	if env == nil {
		return nil, errors.New("no envelope")
	}
	signature, err := credentialed(env)
	if err != nil {
		return nil, err
	}
	s, err := verifyCredential(signature.Credential)
	if err != nil {
		return nil, err
	}
	if udf.Canonical(signature.KID) != s.SignKID {
		return nil, errors.New("the signature is not by KeySignature of its credential")
	}
	if err := env.Verify(*s.Connection.KeySignature.PublicParameters); err != nil {
		return nil, err
	}
	return s, s.checkNamed(env)
}

// credentialed returns the signature that has a Credential, before any key is looked at. Two would be two senders.
func credentialed(env *dare.Envelope) (*dare.Signature, error) {
	list, err := env.Signatures()
	if err != nil {
		return nil, err
	}
	if len(list) > maxLetterSignatures {
		return nil, errors.New("too many signatures")
	}
	var one *dare.Signature
	for i := range list {
		switch {
		case len(list[i].Credential) == 0:
			continue
		case one != nil:
			return nil, errors.New("two signatures with a credential")
		}
		one = &list[i]
	}
	switch {
	case one == nil:
		return nil, errors.New("no signature with a credential")
	case len(one.Credential) < 2 || len(one.Credential) > 3:
		return nil, errors.New("the credential is not ConnectionAccount, ProfileAccount and perhaps ProfileMesh")
	case slices.Contains(one.Credential, nil):
		return nil, errors.New("no envelope in the credential")
	}
	return one, nil
}

// verifyCredential verifies [ConnectionAccount, ProfileAccount] or [ConnectionAccount, ProfileAccount, ProfileMesh].
func verifyCredential(credential []*dare.Envelope) (*Sender, error) {
	s := new(Sender)
	var owner *ProfileMesh
	var err error
	if len(credential) == 3 {
		if owner, err = VerifyProfileMesh(credential[2]); err != nil {
			return nil, err
		}
		s.MeshUDF = owner.UDF()
	}
	if s.Profile, err = VerifyProfileAccount(credential[1], owner); err != nil {
		return nil, err
	}
	if owner == nil || credential[1].Verify(*s.Profile.KeyOfflineSignature.PublicParameters) == nil {
		s.UDF = s.Profile.UDF()
	}
	if s.Connection, err = VerifyConnectionAccount(credential[0], s.Profile); err != nil {
		return nil, err
	}
	s.SignKID, s.DeviceUDF = s.Connection.KeySignature.KID(), udf.Canonical(s.Connection.SubjectUDF)
	s.Addresses, err = s.Profile.addresses()
	return s, err
}

// addresses are the canonical AccountAddresses, each once. One that is none, or names another profile in its strong form,
// refuses the profile: nobody could be sure which one its owner meant.
func (p *ProfileAccount) addresses() ([]string, error) {
	if len(p.AccountAddresses) == 0 || len(p.AccountAddresses) > maxSenderAddresses {
		return nil, errors.New("a profile of no address, or too many")
	}
	var list []string
	for _, text := range p.AccountAddresses {
		a, err := ParseAddress(text)
		if err != nil {
			return nil, err
		}
		if a.SINUDF != "" && !SameUDF(a.SINUDF, p.UDF()) {
			return nil, errors.New("a strong address of another profile")
		}
		if !slices.Contains(list, a.String()) {
			list = append(list, a.String())
		}
	}
	return list, nil
}

// Named returns the canonical form of an address that a message names as its Sender, when it is one of the sender's.
func (s *Sender) Named(address string) (string, bool) {
	a, err := ParseAddress(address)
	if err != nil || a.SINUDF != "" && !SameUDF(a.SINUDF, s.Profile.UDF()) {
		return "", false
	}
	return a.String(), slices.Contains(s.Addresses, a.String())
}

// checkNamed checks the Sender in the payload, where there is one to be read. A payload that is no message names nobody:
// whether it is one is ReadLetter's.
func (s *Sender) checkNamed(env *dare.Envelope) error {
	h, err := env.ParseHeader()
	if err != nil {
		return err
	}
	if h.Enc != "" || len(h.Recipients) > 0 {
		return nil
	}
	_, body, err := jbcd.Tagged(env.Payload)
	if err != nil {
		return fmt.Errorf("the payload: %w", err)
	}
	var m Message
	if err := jbcd.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("the payload: %w", err)
	}
	if _, ok := s.Named(m.Sender); m.Sender != "" && !ok {
		return errors.New("Sender is no address of the ProfileAccount")
	}
	return nil
}
