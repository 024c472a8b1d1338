// Package dare implements DARE envelopes and containers (draft-hallambaker-mesh-dare): signed, encrypted
// and chained data whose octets are kept as they were received.
package dare

import (
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// Envelope is a DARE envelope: three elements, kept as octets. Trailer is nil when absent.
// As a JSON value it is a bare array [header, "payload", trailer]; it implements jbcd.Marshaler and jbcd.Unmarshaler.
type Envelope struct {
	Header  []byte // JSON object text, exactly as received or written
	Payload []byte // decoded octets
	Trailer []byte // JSON object text
}

// Header are the members of a header or trailer (trailer members are allowed in both).
type Header struct {
	EnvelopeID      string      `json:"EnvelopeID,omitempty"`
	Enc             string      `json:"enc,omitempty"`
	Dig             string      `json:"dig,omitempty"`
	KID             string      `json:"kid,omitempty"`
	Salt            jbcd.Binary `json:"Salt,omitempty"`
	Signatures      []Signature `json:"signatures,omitempty"`
	Recipients      []Recipient `json:"recipients,omitempty"`
	ContentMetaData jbcd.Binary `json:"ContentMetaData,omitempty"`
	ContainerInfo   *Info       `json:"ContainerInfo,omitempty"`
	Received        *jbcd.Time  `json:"Received,omitempty"`
	ContentLength   *int64      `json:"ContentLength,omitempty"`
	BytesOffset     *int64      `json:"BytesOffset,omitempty"`
	PayloadDigest   jbcd.Binary `json:"PayloadDigest,omitempty"`
	TreeDigest      jbcd.Binary `json:"TreeDigest,omitempty"`
}

// Signature is DareSignature (DATA §1.3).
type Signature struct {
	Alg        string      `json:"alg,omitempty"`
	KID        string      `json:"kid,omitempty"`
	Signature  jbcd.Binary `json:"signature,omitempty"`
	Witness    jbcd.Binary `json:"witness,omitempty"`
	Credential []*Envelope `json:"Credential,omitempty"` // D-29
}

// Recipient is DareRecipient (DATA §1.4).
type Recipient struct {
	KID string          `json:"kid,omitempty"`
	KWD string          `json:"kwd,omitempty"`
	EPK *keys.PublicKey `json:"epk,omitempty"`
	WMK jbcd.Binary     `json:"wmk,omitempty"`
	RKD jbcd.Binary     `json:"rkd,omitempty"`
}

// Info is ContainerInfo (DATA §1.7).
type Info struct {
	DataEncoding  string `json:"DataEncoding,omitempty"`
	ContainerType string `json:"ContainerType,omitempty"`
	Index         *int64 `json:"Index,omitempty"`
}

// ContentMeta is the JSON inside ContentMetaData (DATA §1.6).
type ContentMeta struct {
	UniqueID    string     `json:"UniqueID,omitempty"`
	Labels      []string   `json:"Labels,omitempty"`
	KeyValues   []KeyValue `json:"KeyValues,omitempty"`
	MessageType string     `json:"MessageType,omitempty"`
	CTY         string     `json:"cty,omitempty"`
	Filename    string     `json:"Filename,omitempty"`
	Event       string     `json:"Event,omitempty"`
	Created     *jbcd.Time `json:"Created,omitempty"`
	Modified    *jbcd.Time `json:"Modified,omitempty"`
	Expire      *jbcd.Time `json:"Expire,omitempty"`
	First       *int64     `json:"First,omitempty"`
	Previous    *int64     `json:"Previous,omitempty"`
}

// KeyValue is a name and a text.
type KeyValue struct {
	Key   string `json:"Key,omitempty"`
	Value string `json:"Value,omitempty"`
}

// Parse reads one envelope in JSON (DefaultLimits; header at most 64 KiB).
func Parse(data []byte) (*Envelope, error) { panic("stub") }

// MarshalJBCD writes the bare array, payload base64url unfolded, header and trailer as they are.
func (e *Envelope) MarshalJBCD() ([]byte, error) { panic("stub") }

// UnmarshalJBCD reads the bare array.
func (e *Envelope) UnmarshalJBCD(raw jbcd.Raw) error { panic("stub") }

// ParseHeader decodes the header.
func (e *Envelope) ParseHeader() (*Header, error) { panic("stub") }

// ParseTrailer decodes the trailer (an empty Header when absent).
func (e *Envelope) ParseTrailer() (*Header, error) { panic("stub") }

// ParseMeta decodes header.ContentMetaData (zero when absent).
func (h *Header) ParseMeta() (*ContentMeta, error) { panic("stub") }

// Digest is the PayloadDigest: SHA-2-512 of the payload octets as carried.
func (e *Envelope) Digest() []byte { panic("stub") }

// Signatures returns the signatures of header or trailer.
func (e *Envelope) Signatures() ([]Signature, error) { panic("stub") }

// CheckDigest compares the payload with a written PayloadDigest (header or trailer), if any.
func (e *Envelope) CheckDigest() error { panic("stub") }

// Verify checks that one signature of e is by key and valid over the payload digest.
func (e *Envelope) Verify(key keys.PublicKey) error { panic("stub") }

// Options say how New makes an envelope.
type Options struct {
	Header     Header          // members to write besides those made here (EnvelopeID, …)
	Meta       *ContentMeta    // written as ContentMetaData
	Recipients []keys.PublicKey // encrypt to these (A256GCM, D-46)
	MasterKey  []byte          // or encrypt under this master key (kid = SYMKEYID, no recipients)
	MetaAAD    bool            // aad = octets of ContentMeta (catalog entries, D-57)
	Digest     bool            // write PayloadDigest in the trailer
	Holder     keys.Holder     // signs with
	SignKIDs   []string        // these keys (implies Digest)
	Credential []*Envelope     // Credential member of the first signature (D-29, D-57 b)
}

// New makes an envelope of plain; encrypts, then digests, then signs.
func New(plain []byte, o Options) (*Envelope, error) { panic("stub") }

// Open decrypts the payload with a key that h holds (or returns it when not encrypted). Reads A256GCM and A256CBC, both wrap infos (D-46), aad = ContentMeta octets then empty (D-57).
func (e *Envelope) Open(h keys.Holder) ([]byte, error) { panic("stub") }

// OpenWith decrypts under a master key.
func (e *Envelope) OpenWith(masterKey []byte) ([]byte, error) { panic("stub") }
