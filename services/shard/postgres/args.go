package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// How an update is stored; the numbers are mesh_append's.
const (
	howUpdate = 0
	howSelf   = 1
)

// arrays are the updates of a request as the functions take them: one array per column, entries of all updates one after
// the other.
type arrays struct {
	container []string
	how       []int16
	index     []*int64
	digest    [][]byte
	zero      []bool
	skip      []bool
	count     []int32

	fault     []int32
	envelope  []string
	unique    []string
	event     []int16
	typ       []string
	written   []bool
	payloads  [][]byte
	digests   [][]byte
	headers   [][]byte
	trailers  [][]byte
	device    []int32
	udf       []string
	auth      []string
	mesh      []string
	sign      []string
	curve     []string
	key       [][]byte
	connected [][]byte
	rights    []int32

	contact   []int32
	pin       []string
	grants    []int32
	end       []int32 // of each contact's addresses
	addresses []string
}

// pool is memory for several arrays of one type: most requests have one entry, and two dozen arrays.
type pool[T any] []T

// take cuts off an empty array with room for n.
func (r *pool[T]) take(n int) []T {
	a := (*r)[:0:n]
	*r = (*r)[n:]
	return a
}

func makeArrays(updates []shard.ContainerUpdate, self []shard.Entry) *arrays {
	faults := rule.Faults(updates, self)
	m, n := len(updates)+min(len(self), 1), len(faults) // Self may come in more pieces; then append makes room
	texts, bytes, shorts := make(pool[string], m+3*n), make(pool[[]byte], m+4*n), make(pool[int16], m+n)
	ints, bools := make(pool[int32], m+n), make(pool[bool], 2*m+n)
	a := &arrays{
		container: texts.take(m), how: shorts.take(m), index: make([]*int64, 0, m), digest: bytes.take(m),
		zero: bools.take(m), skip: bools.take(m), count: ints.take(m),
		fault: ints.take(n), envelope: texts.take(n), unique: texts.take(n), event: shorts.take(n), typ: texts.take(n), written: bools.take(n),
		payloads: bytes.take(n), digests: bytes.take(n), headers: bytes.take(n), trailers: bytes.take(n),
		device: []int32{}, udf: []string{}, auth: []string{}, mesh: []string{}, sign: []string{}, curve: []string{},
		key: [][]byte{}, connected: [][]byte{}, rights: []int32{},
		contact: []int32{}, pin: []string{}, grants: []int32{}, end: []int32{}, addresses: []string{},
	}
	for i := range updates {
		u := &updates[i]
		zero := rule.Zero(u.Entries)
		a.add(howUpdate, u.Container, u.Entries, faults[:len(u.Entries)], zero)
		last := len(a.index) - 1
		a.index[last], a.digest[last] = u.Index, orNil(u.Digest)
		faults = faults[len(u.Entries):]
	}
	// Entries of Self stand each for itself: those without faults are stored, in as few pieces as they come.
	for len(self) > 0 {
		n := 1
		for n < len(self) && (faults[n] == 0) == (faults[0] == 0) {
			n++
		}
		a.add(howSelf, rule.Inbound, self[:n], faults[:n], false)
		self, faults = self[n:], faults[n:]
	}
	return a
}

func (a *arrays) add(how int16, container string, entries []shard.Entry, faults []uint16, zero bool) {
	skip := false
	for _, f := range faults {
		skip = skip || f != 0
	}
	spool := rule.Spool(container)
	a.container, a.how = append(a.container, container), append(a.how, how)
	a.index, a.digest = append(a.index, nil), append(a.digest, nil)
	a.zero, a.skip = append(a.zero, zero), append(a.skip, skip)
	a.count = append(a.count, int32(len(entries)))
	for i := range entries {
		e := entries[i]
		a.fault = append(a.fault, int32(faults[i]))
		if skip { // nothing of it is stored, and it may hold what is no text
			e = shard.Entry{}
		}
		if spool || zero && i == 0 {
			e.Event = shard.NoEvent
		}
		if zero && i == 0 {
			e.UniqueID = ""
		}
		a.envelope, a.unique = append(a.envelope, e.EnvelopeID), append(a.unique, e.UniqueID)
		a.event, a.typ = append(a.event, int16(e.Event)), append(a.typ, e.MessageType)
		a.written, a.payloads = append(a.written, e.DigestWritten), append(a.payloads, notNil(e.Payload))
		a.digests, a.headers = append(a.digests, notNil(e.PayloadDigest)), append(a.headers, notNil(e.Header))
		a.trailers = append(a.trailers, orNil(e.Trailer))
		if d := e.Device; d != nil && container == rule.Device {
			a.device = append(a.device, int32(len(a.fault)))
			a.udf, a.auth, a.mesh = append(a.udf, d.DeviceUDF), append(a.auth, d.AuthKID), append(a.mesh, d.MeshAuthKID)
			a.sign, a.curve, a.key = append(a.sign, d.SignKID), append(a.curve, d.SignCurve), append(a.key, notNil(d.SignKey))
			a.connected, a.rights = append(a.connected, orNil(d.ConnectionDigest)), append(a.rights, int32(d.Rights))
		}
		if c := e.Contact; c != nil && container == rule.Contact {
			a.contact, a.pin, a.grants = append(a.contact, int32(len(a.fault))), append(a.pin, c.ProfileUDF), append(a.grants, int32(c.Rights))
			a.addresses = append(a.addresses, rule.Addresses(c)...)
			a.end = append(a.end, int32(len(a.addresses)))
		}
	}
}

// list gives the arguments in the order of the functions' parameters, from u_container on.
func (a *arrays) list() []any {
	return []any{
		a.container, a.how, pgtype.FlatArray[*int64](a.index), octets(a.digest), a.zero, a.skip, a.count,
		a.fault, a.envelope, a.unique, a.event, a.typ, a.written, octets(a.digests), octets(a.headers), octets(a.trailers), octets(a.payloads),
		a.device, a.udf, a.auth, a.mesh, a.sign, a.curve, octets(a.key), octets(a.connected), a.rights,
		a.contact, a.pin, a.grants, a.end, a.addresses,
	}
}

// single is a request with one entry, which is stored and says nothing of a device or contact, as the parameters of applyOneSQL name it:
// most Uploads.
type single struct {
	container string
	how       int16
	index     *int64
	digest    []byte
	zero      bool
	entry     shard.Entry
}

func makeSingle(a *shard.Application) (one single, ok bool) {
	switch {
	case len(a.Updates) == 1 && len(a.Self) == 0 && len(a.Updates[0].Entries) == 1:
		u := &a.Updates[0]
		one = single{container: u.Container, how: howUpdate, index: u.Index, digest: orNil(u.Digest), zero: rule.Zero(u.Entries), entry: u.Entries[0]}
	case len(a.Updates) == 0 && len(a.Self) == 1:
		one = single{container: rule.Inbound, how: howSelf, entry: a.Self[0]}
	default:
		return one, false
	}
	e := &one.entry
	if rule.Faults(a.Updates, a.Self)[0] != 0 || e.Device != nil && one.container == rule.Device || e.Contact != nil && one.container == rule.Contact {
		return one, false
	}
	if one.zero || rule.Spool(one.container) {
		e.Event = shard.NoEvent
	}
	if one.zero {
		e.UniqueID = ""
	}
	return one, true
}

// list gives the arguments of applyOneSQL from $10 on.
func (s *single) list() []any {
	e := &s.entry
	return []any{
		s.container, s.how, s.index, s.digest, s.zero, e.EnvelopeID, e.UniqueID, int16(e.Event), e.MessageType, e.DigestWritten,
		notNil(e.PayloadDigest), notNil(e.Header), orNil(e.Trailer), notNil(e.Payload),
	}
}

// octets are an array that pgx writes without reflection, as it does for slices of the common types.
type octets = pgtype.FlatArray[[]byte]

// orNil makes none of an empty value.
func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// notNil makes an empty value of none: nil would be NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// binaryFormat is the format of every argument and every column.
var binaryFormat = []int16{pgtype.BinaryFormatCode}

// wire is the arguments of a statement as they are sent. Octets are those of the caller.
type wire struct {
	values [][]byte
	small  []byte // numbers and texts
}

// wires are used again: an Upload has two dozen arguments.
var wires = sync.Pool{New: func() any { return &wire{values: make([][]byte, 0, applyArgs), small: make([]byte, 0, 1<<10)} }}

// encode takes the types that the parameters have in PostgreSQL: it is told none, and takes no other for them.
func (w *wire) encode(args []any) error {
	w.clear()
	for i, arg := range args {
		from := len(w.small)
		switch v := arg.(type) {
		case []byte: // nil is NULL
			w.values = append(w.values, v)
			continue
		case *int64:
			if v == nil {
				w.values = append(w.values, nil)
				continue
			}
			w.small = binary.BigEndian.AppendUint64(w.small, uint64(*v))
		case string:
			w.small = append(w.small, v...)
		case int16:
			w.small = binary.BigEndian.AppendUint16(w.small, uint16(v))
		case int32:
			w.small = binary.BigEndian.AppendUint32(w.small, uint32(v))
		case int64:
			w.small = binary.BigEndian.AppendUint64(w.small, uint64(v))
		case bool:
			w.small = append(w.small, 0)
			if v {
				w.small[from] = 1
			}
		default:
			return fmt.Errorf("argument %d is a %T", i+1, arg)
		}
		w.values = append(w.values, w.small[from:])
	}
	return nil
}

// clear forgets the arguments, which are another's.
func (w *wire) clear() {
	clear(w.values)
	w.values, w.small = w.values[:0], w.small[:0]
}

// size is at least that of the messages of one execution.
func (w *wire) size() int {
	const rest = 128 // names, formats, headers, Execute and Sync
	n := rest
	for _, v := range w.values {
		n += 4 + len(v)
	}
	return n
}

// room is a message of no octets that makes room for those to come, which pgproto3 would find piece by piece.
type room int

// Frontend says who sends it (pgproto3.FrontendMessage).
func (room) Frontend() {}

// Decode is of no use (pgproto3.Message).
func (room) Decode([]byte) error { return errors.ErrUnsupported }

// Encode makes the room (pgproto3.Message).
func (n room) Encode(dst []byte) ([]byte, error) { return slices.Grow(dst, int(n)), nil }

// decode reads o_fault, o_detail and o_outcome. The values are gone with the next message.
func (a *answer) decode(values [][]byte) error {
	if len(values) != 3 {
		return fmt.Errorf("answer of %d columns", len(values))
	}
	if v := values[0]; v != nil {
		a.fault = new(string(v))
	}
	if v := values[1]; v != nil {
		a.detail = new(string(v))
	}
	var err error
	a.outcome, err = bigints(values[2])
	return err
}

// bigints reads a bigint[] without NULL; NULL is nil.
func bigints(v []byte) ([]int64, error) {
	const (
		head    = 12    // dimensions, whether there are NULLs, type
		span    = 8     // of the dimension: length, lower bound
		element = 4 + 8 // length, number
	)
	if v == nil {
		return nil, nil
	}
	if len(v) == head && binary.BigEndian.Uint32(v) == 0 {
		return []int64{}, nil
	}
	if len(v) < head+span || binary.BigEndian.Uint32(v) != 1 || binary.BigEndian.Uint32(v[8:]) != pgtype.Int8OID {
		return nil, fmt.Errorf("outcome of %d octets", len(v))
	}
	n := binary.BigEndian.Uint32(v[head:])
	if v = v[head+span:]; uint64(len(v)) != uint64(n)*element {
		return nil, fmt.Errorf("outcome of %d numbers in %d octets", n, len(v))
	}
	numbers := make([]int64, n)
	for i := range numbers {
		if binary.BigEndian.Uint32(v[i*element:]) != 8 {
			return nil, errors.New("outcome with NULL")
		}
		numbers[i] = int64(binary.BigEndian.Uint64(v[i*element+4:]))
	}
	return numbers, nil
}
