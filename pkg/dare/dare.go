// Package dare implements DARE envelopes and containers (draft-hallambaker-mesh-dare): signed, encrypted
// and chained data whose octets are kept as they were received.
//
// What a signature proves: the payload octets as carried, nothing else. Header, ContentMetaData, recipients and
// order prove nothing by themselves; a catalog entry of ours binds its ContentMetaData as additional data of the
// payload's encryption (Options.MetaAAD). Encryption with A256GCM is authentic towards those who know the master
// key; A256CBC, read for old material only, is not.
//
// Where the draft's text and the published vectors differ the vectors decide: docs/divergences.md.
package dare

import (
	"github.com/mathmesh/meshd/pkg/jbcd"
)

// Envelope is a DARE envelope: three elements, kept as octets. Trailer is nil when absent.
// Payload is empty when there is none. As a JSON value it is a bare array [header, "payload", trailer]; it implements jbcd.Marshaler and jbcd.Unmarshaler.
type Envelope struct {
	Header  []byte // JSON object text, exactly as received or written
	Payload []byte // decoded octets
	Trailer []byte // JSON object text
}

// Header are the members of a header or trailer (trailer members are allowed in both).
type Header struct {
	EnvelopeID      string        `json:"EnvelopeID,omitempty"`
	Enc             string        `json:"enc,omitempty"`
	Dig             string        `json:"dig,omitempty"`
	KID             string        `json:"kid,omitempty"`
	Salt            jbcd.Binary   `json:"Salt,omitempty"`
	Signatures      []Signature   `json:"signatures,omitempty"`
	Recipients      []Recipient   `json:"recipients,omitempty"`
	Annotations     []jbcd.Binary `json:"Annotations,omitempty"`
	ContentMetaData jbcd.Binary   `json:"ContentMetaData,omitempty"`
	ContainerInfo   *Info         `json:"ContainerInfo,omitempty"`
	Received        *jbcd.Time    `json:"Received,omitempty"`
	ContentLength   *int64        `json:"ContentLength,omitempty"`
	BytesOffset     *int64        `json:"BytesOffset,omitempty"`
	PayloadDigest   jbcd.Binary   `json:"PayloadDigest,omitempty"`
	TreeDigest      jbcd.Binary   `json:"TreeDigest,omitempty"`
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
	KID string      `json:"kid,omitempty"`
	KWD string      `json:"kwd,omitempty"`
	EPK jbcd.Raw    `json:"epk,omitempty"` // TStruct Key, see Ephemeral
	WMK jbcd.Binary `json:"wmk,omitempty"`
	RKD jbcd.Binary `json:"rkd,omitempty"`
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
