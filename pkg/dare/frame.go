package dare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// A frame of a container file (ALGORITHMS §2): tag F4–F7, length of the body, body, then tag and length once more,
// all octets in reverse order, so that a file reads backward too. The body is up to three records, tag F0–F3, length
// and octets: header, payload, trailer. The low two bits of a tag say that the length has 1, 2, 4 or 8 octets, big
// endian; the shortest form is the only one, so that the same envelopes make the same file.
const (
	tagData   = 0x88 // JSON-B data, the only or last chunk
	tagRecord = 0xF0
	tagFrame  = 0xF4

	maxHead = 9 // tag and the longest length
)

var (
	errShort = errors.New("frame goes beyond the end")
	errTag   = errors.New("not the tag of a frame or record")
	errForm  = errors.New("length is not in its shortest form")
	errTail  = errors.New("frame does not end as it begins")
)

// appendHead writes a tag and a length.
func appendHead(out []byte, tag byte, length uint64) []byte {
	switch {
	case length <= 0xFF:
		return append(out, tag, byte(length))
	case length <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(out, tag+1), uint16(length))
	case length <= 0xFFFF_FFFF:
		return binary.BigEndian.AppendUint32(append(out, tag+2), uint32(length))
	}
	return binary.BigEndian.AppendUint64(append(out, tag+3), length)
}

// readHead reads a tag and a length; n is how many octets they take.
func readHead(b []byte, tag byte) (n int, length uint64, err error) {
	if len(b) == 0 {
		return 0, 0, errShort
	}
	if b[0]&^3 != tag {
		return 0, 0, errTag
	}
	size := 1 << (b[0] & 3)
	if len(b) < 1+size {
		return 0, 0, errShort
	}
	for _, c := range b[1 : 1+size] {
		length = length<<8 | uint64(c)
	}
	if size > 1 && bits.Len64(length) <= 4*size {
		return 0, 0, errForm
	}
	return 1 + size, length, nil
}

// isTail says whether tail is head in reverse order.
func isTail(tail, head []byte) bool {
	for i := range head {
		if tail[len(tail)-1-i] != head[i] {
			return false
		}
	}
	return len(tail) == len(head)
}

// appendFrame writes e as a frame. There is always a payload record, and a trailer record when e has a trailer.
func appendFrame(out []byte, e *Envelope) []byte {
	header := e.Header
	if len(header) == 0 {
		header = []byte("{}")
	}
	if len(e.Trailer) == 0 {
		return appendRecords(out, header, e.Payload)
	}
	return appendRecords(out, header, e.Payload, e.Trailer)
}

// appendRecords writes a frame of these records.
func appendRecords(out []byte, records ...[]byte) []byte {
	var length uint64
	for _, r := range records {
		length += uint64(len(appendHead(make([]byte, 0, maxHead), tagRecord, uint64(len(r)))) + len(r))
	}
	head := appendHead(make([]byte, 0, maxHead), tagFrame, length)
	out = slices.Grow(out, 2*len(head)+int(length))
	out = append(out, head...)
	for _, r := range records {
		out = append(appendHead(out, tagRecord, uint64(len(r))), r...)
	}
	slices.Reverse(head)
	return append(out, head...)
}

// splitFrame splits the frame at the start of b into its records, which share its memory; n is its length.
func splitFrame(b []byte) (records [][]byte, n int, err error) {
	head, length, err := readHead(b, tagFrame)
	if err != nil {
		return nil, 0, err
	}
	if len(b) < 2*head || length > uint64(len(b)-2*head) {
		return nil, 0, errShort
	}
	end := head + int(length)
	if !isTail(b[end:end+head], b[:head]) {
		return nil, 0, errTail
	}
	for body := b[head:end]; len(body) > 0; {
		rh, rl, err := readHead(body, tagRecord)
		if err != nil {
			return nil, 0, err
		}
		if rl > uint64(len(body)-rh) {
			return nil, 0, errShort
		}
		if len(records) == 3 {
			return nil, 0, errors.New("more than three records")
		}
		records = append(records, body[rh:rh+int(rl)])
		body = body[rh+int(rl):]
	}
	return records, end + head, nil
}

// parseFrame reads the frame that b is. The envelope shares its memory. An empty trailer record is no trailer.
func parseFrame(b []byte) (*Envelope, error) {
	records, n, err := splitFrame(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case n != len(b):
		return nil, fmt.Errorf("%w: octets after the frame", ErrMalformed)
	case len(records) == 0:
		return nil, fmt.Errorf("%w: frame without header", ErrMalformed)
	}
	e := &Envelope{Header: records[0]}
	if err := checkObject("header", e.Header); err != nil {
		return nil, err
	}
	if len(records) > 1 {
		e.Payload = records[1]
	}
	if len(records) > 2 && len(records[2]) > 0 {
		e.Trailer = records[2]
		if err := checkObject("trailer", e.Trailer); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// checkObject checks what MarshalJBCD passes on as it is.
func checkObject(what string, text []byte) error {
	if len(text) == 0 || text[0] != '{' || text[len(text)-1] != '}' {
		return fmt.Errorf("%w: %s is not an object", ErrMalformed, what)
	}
	if len(text) > MaxHeader {
		return fmt.Errorf("%w: %s over %d octets", ErrMalformed, what, MaxHeader)
	}
	if err := jbcd.Valid(text, headerLimits); err != nil {
		return fmt.Errorf("dare: %s: %w", what, err)
	}
	return nil
}
