package gateway

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// How an envelope is stored and served (PROTOCOL D-24): the members that belong to the service or to the transfer are
// taken out of header and trailer before storing and put in last when the frame is served; everything else, the payload
// above all, stays octet by octet what the device sent and signed.

const (
	// maxName bounds identifiers: they become keys of an index, and 1 KiB is many times the longest of ours.
	maxName = 1024
	// spliceRoom is left in header and trailer for what is put in when a frame is served: two digests of 86 characters,
	// or container information, a time, a length, with their names.
	spliceRoom = 512
)

// takeApart makes the stored form of an envelope. What is wrong with the entry alone becomes its Reject code. The error,
// for the whole request, is that of two-phase upload, which this build does not have (D-23).
func takeApart(e *dare.Envelope, spool bool) (*shardpb.Entry, error) {
	const op = "gateway.takeApart"
	entry := &shardpb.Entry{Header: e.Header, Payload: e.Payload, Trailer: e.Trailer}
	h, err := readStored(e)
	switch {
	case err != nil:
		return reject(entry, mesh.MessageInvalid), nil
	case !digested(h.Dig) || !digested(h.trailer.Dig): // the tree is of SHA-512, and readers take no other digest
		return reject(entry, mesh.MessageInvalid), nil
	case redacted(h, e):
		return nil, mesh.Errorf(op, mesh.UnknownOperation, "two-phase upload")
	case len(e.Header) > dare.MaxHeader-spliceRoom || len(e.Trailer) > dare.MaxHeader-spliceRoom:
		return reject(entry, mesh.RequestSize), nil
	case spool && mesh.MessageSize(e) > mesh.MaxMessage:
		return reject(entry, mesh.RequestSize), nil
	}
	digest := sha512.Sum512(e.Payload)
	entry.PayloadDigest = digest[:]
	for _, written := range []jbcd.Binary{h.PayloadDigest, h.trailer.PayloadDigest} {
		if len(written) == 0 {
			continue
		}
		if !bytes.Equal(written, digest[:]) {
			return reject(entry, mesh.MessageInvalid), nil
		}
		entry.DigestWritten = true
	}
	entry.Header, err = without(e.Header, "ContainerInfo", "Received", "ContentLength", "BytesOffset")
	if err == nil && entry.DigestWritten {
		entry.Trailer, err = without(e.Trailer, "TreeDigest")
	} else if err == nil {
		entry.Trailer, err = without(e.Trailer, "TreeDigest", "PayloadDigest") // null: the digest is put in when served
	}
	if err != nil {
		return reject(entry, mesh.MessageInvalid), nil
	}
	if h.ContainerInfo != nil {
		entry.Index = h.ContainerInfo.Index
	}
	if !identify(entry, h, spool) {
		return reject(entry, mesh.MessageInvalid), nil
	}
	return entry, nil
}

// digested says whether a `dig`, if any, is one of the two names of SHA-2-512.
func digested(dig string) bool { return dig == "" || dig == "SHA2" || dig == "S512" }

// reject marks an entry; the shard needs its place in the request, not its octets.
func reject(e *shardpb.Entry, kind mesh.Kind) *shardpb.Entry {
	return &shardpb.Entry{EnvelopeId: e.EnvelopeId, Reject: uint32(kind.Code().Extended)}
}

// identify fills in the columns by which a frame is found, and says whether they can be.
func identify(entry *shardpb.Entry, h *stored, spool bool) bool {
	if entry.Index != nil && *entry.Index == 0 { // begins the container
		return (h.ContainerInfo.DataEncoding == "" || h.ContainerInfo.DataEncoding == "JSON") &&
			(h.ContainerInfo.ContainerType == "" || h.ContainerInfo.ContainerType == "Merkle")
	}
	for _, name := range []string{h.EnvelopeID, h.meta.UniqueID, h.meta.MessageType} {
		if len(name) > maxName || strings.ContainsRune(name, 0) { // no database stores a NUL in a text
			return false
		}
	}
	entry.EnvelopeId, entry.UniqueId, entry.MessageType = h.EnvelopeID, h.meta.UniqueID, h.meta.MessageType
	if spool {
		return identifyMessage(entry)
	}
	switch h.meta.Event {
	case "New", "Update", "Delete":
	default:
		return false
	}
	entry.Event = h.meta.Event
	if entry.EnvelopeId == "" {
		entry.EnvelopeId = entry.UniqueId
	}
	return entry.UniqueId != ""
}

// identifyMessage: the EnvelopeID of a message is made from its MessageID, which is the UniqueID (DATA §10).
func identifyMessage(entry *shardpb.Entry) bool {
	if entry.UniqueId == "" {
		return entry.EnvelopeId != ""
	}
	want := udf.EnvelopeID(entry.UniqueId)
	if entry.EnvelopeId == "" {
		entry.EnvelopeId = want
	}
	return entry.EnvelopeId == want
}

// stored is what the service reads of an envelope's header and trailer. Everything else in them is the client's.
type stored struct {
	EnvelopeID      string      `json:"EnvelopeID,omitempty"`
	ContentMetaData jbcd.Binary `json:"ContentMetaData,omitempty"`
	ContainerInfo   *dare.Info  `json:"ContainerInfo,omitempty"`
	ContentLength   *int64      `json:"ContentLength,omitempty"`
	BytesOffset     jbcd.Raw    `json:"BytesOffset,omitempty"`
	PayloadDigest   jbcd.Binary `json:"PayloadDigest,omitempty"`
	Dig             string      `json:"dig,omitempty"`

	trailer storedTrailer
	meta    storedMeta
}

type storedTrailer struct {
	PayloadDigest jbcd.Binary `json:"PayloadDigest,omitempty"`
	Dig           string      `json:"dig,omitempty"`
}

type storedMeta struct {
	UniqueID    string `json:"UniqueID,omitempty"`
	MessageType string `json:"MessageType,omitempty"`
	Event       string `json:"Event,omitempty"`
}

func readStored(e *dare.Envelope) (*stored, error) {
	h := new(stored)
	if err := jbcd.Unmarshal(e.Header, h); err != nil {
		return nil, err
	}
	if len(e.Trailer) > 0 {
		if err := jbcd.Unmarshal(e.Trailer, &h.trailer); err != nil {
			return nil, err
		}
	}
	if len(h.ContentMetaData) > 0 {
		if err := jbcd.Unmarshal(h.ContentMetaData, &h.meta); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// without is jbcd.Without for texts that mostly have none of the members: then the text stays, uncopied. A member may be
// there as null, or with an escape in its name.
func without(text []byte, names ...string) ([]byte, error) {
	found := bytes.IndexByte(text, '\\') >= 0
	for _, name := range names {
		found = found || bytes.Contains(text, []byte(name))
	}
	if !found || len(text) == 0 {
		return text, nil
	}
	return jbcd.Without(text, names...)
}

// parts are those of an entry that a Download wants (D-20).
type parts struct{ header, payload, trailer bool }

// wholeEntry is what a Download without part selection wants.
func wholeEntry() parts { return parts{true, true, true} }

// partsOf reads the part selection: nothing true is everything.
func partsOf(c *mesh.ConstraintsData) parts {
	if c == nil {
		return wholeEntry()
	}
	is := func(b *bool) bool { return b != nil && *b }
	p := parts{is(c.Header), is(c.Payload), is(c.Trailer)}
	if p == (parts{}) {
		return wholeEntry()
	}
	return p
}

// putTogether makes the envelope that is served of a frame.
func putTogether(f *shardpb.Frame, want parts) (*dare.Envelope, error) {
	e := new(dare.Envelope)
	if want.payload {
		e.Payload = f.GetPayload()
	}
	base := f.GetHeader()
	if !want.header {
		// A header that was not asked for still says which frame it is.
		id, err := jbcd.Marshal(f.GetEnvelopeId())
		if err != nil {
			return nil, mesh.E("gateway.putTogether", mesh.Internal, err)
		}
		base = append(append([]byte(`{"EnvelopeID":`), id...), '}')
	}
	var members [256]byte
	m := append(members[:0], `"ContainerInfo":{`...)
	if f.GetIndex() == 0 {
		m = append(m, `"DataEncoding":"JSON","ContainerType":"Merkle",`...)
	}
	m = append(m, `"Index":`...)
	m = strconv.AppendInt(m, f.GetIndex(), 10)
	m = append(m, '}')
	if r := f.GetReceived(); r != nil && want.header {
		m = append(m, `,"Received":"`...)
		m = r.AsTime().UTC().AppendFormat(m, time.RFC3339)
		m = append(m, '"')
	}
	if int64(len(e.Payload)) != f.GetPayloadLength() {
		m = append(m, `,"ContentLength":`...)
		m = strconv.AppendInt(m, f.GetPayloadLength(), 10)
	}
	e.Header = splice(base, m)
	if !want.trailer {
		return e, nil
	}
	var digests [256]byte
	m = digests[:0]
	if !f.GetDigestWritten() {
		m = appendBinary(m, "PayloadDigest", f.GetPayloadDigest())
		m = append(m, ',')
	}
	m = appendBinary(m, "TreeDigest", f.GetTreeDigest())
	e.Trailer = splice(f.GetTrailer(), m)
	return e, nil
}

func appendBinary(out []byte, name string, octets []byte) []byte {
	out = append(out, '"')
	out = append(out, name...)
	out = append(out, `":"`...)
	out = base64.RawURLEncoding.AppendEncode(out, octets)
	return append(out, '"')
}

// splice puts members after the last of object, which was checked when it came in and is `{…}` without white space
// around it. What is no longer an object, because somebody changed the database, goes out as it is: the client finds it.
func splice(object, members []byte) []byte {
	if len(object) == 0 {
		object = []byte("{}")
	}
	end := bytes.LastIndexByte(object, '}')
	if end <= 0 {
		end = len(object)
	}
	last := end // after the last member
	for last > 1 && isSpace(object[last-1]) {
		last--
	}
	out := make([]byte, 0, len(object)+1+len(members))
	out = append(out, object[:last]...)
	if last > 1 {
		out = append(out, ',')
	}
	out = append(out, members...)
	return append(out, object[last:]...)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
