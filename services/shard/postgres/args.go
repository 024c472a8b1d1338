package postgres

import (
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
}

// room is memory for several arrays of one type: most requests have one entry, and two dozen arrays.
type room[T any] []T

// take cuts off an empty array with room for n.
func (r *room[T]) take(n int) []T {
	a := (*r)[:0:n]
	*r = (*r)[n:]
	return a
}

func makeArrays(updates []shard.ContainerUpdate, self []shard.Entry) *arrays {
	faults := rule.Faults(updates, self)
	m, n := len(updates)+min(len(self), 1), len(faults) // Self may come in more pieces; then append makes room
	texts, bytes, shorts := make(room[string], m+3*n), make(room[[]byte], m+4*n), make(room[int16], m+n)
	ints, bools := make(room[int32], m+n), make(room[bool], 2*m+n)
	a := &arrays{
		container: texts.take(m), how: shorts.take(m), index: make([]*int64, 0, m), digest: bytes.take(m),
		zero: bools.take(m), skip: bools.take(m), count: ints.take(m),
		fault: ints.take(n), envelope: texts.take(n), unique: texts.take(n), event: shorts.take(n), typ: texts.take(n), written: bools.take(n),
		payloads: bytes.take(n), digests: bytes.take(n), headers: bytes.take(n), trailers: bytes.take(n),
		device: []int32{}, udf: []string{}, auth: []string{}, mesh: []string{}, sign: []string{}, curve: []string{},
		key: [][]byte{}, connected: [][]byte{}, rights: []int32{},
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
	}
}

// list gives the arguments in the order of the functions' parameters, from u_container on.
func (a *arrays) list() []any {
	return []any{
		a.container, a.how, pgtype.FlatArray[*int64](a.index), octets(a.digest), a.zero, a.skip, a.count,
		a.fault, a.envelope, a.unique, a.event, a.typ, a.written, octets(a.digests), octets(a.headers), octets(a.trailers), octets(a.payloads),
		a.device, a.udf, a.auth, a.mesh, a.sign, a.curve, octets(a.key), octets(a.connected), a.rights,
	}
}

// single says whether the request has one entry, which is stored and says nothing of a device: most Uploads.
func (a *arrays) single() bool {
	return len(a.container) == 1 && len(a.envelope) == 1 && !a.skip[0] && len(a.device) == 0
}

// one gives the arguments of applyOneSQL from $10 on.
func (a *arrays) one() []any {
	return []any{
		a.container[0], a.how[0], a.index[0], a.digest[0], a.zero[0],
		a.envelope[0], a.unique[0], a.event[0], a.typ[0], a.written[0], a.digests[0], a.headers[0], a.trailers[0], a.payloads[0],
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
