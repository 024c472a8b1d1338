package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

// The queue file holds the local changes that the service does not have yet: a magic, then records of
//
//	4 octets length of body | 4 octets CRC-32C of body | body, a tagged JSON object
//
// appended and synced before the call that made them returns. The change itself is a sealed frame: nothing that
// the account keeps secret stands open in the file. A tail that does not check out is what a crash left of a call
// that never returned; it is cut off.
const queueMagic = "meshqueue 1\n"

// queueRecordMax bounds a record on reading: an entry of 4 MiB in base64, its header and trailer.
const queueRecordMax = 8 << 20

// op is a local change of one entry: a sealed frame that waits for its place in the container.
type op struct {
	Seq       int64          `json:"Seq"`
	Container string         `json:"Container"`
	UniqueID  string         `json:"UniqueID"`
	Envelope  *dare.Envelope `json:"Envelope"`
	Over      jbcd.Binary    `json:"Over,omitempty"` // payload digest of the op of this entry that was on its way when this one was made
}

// ref names an entry.
type ref struct{ container, uniqueID string }

func (o *op) ref() ref { return ref{o.Container, o.UniqueID} }

// sent is an Upload that may have reached the service: the request can be built again to the octet from it.
type sent struct {
	ID         jbcd.Binary  `json:"ID"`
	Containers []sentUpdate `json:"Containers"`
}

// sentUpdate is one ContainerUpdate of a sent request.
type sentUpdate struct {
	Container string      `json:"Container"`
	Index     int64       `json:"Index"`
	Digest    jbcd.Binary `json:"Digest,omitempty"`
	Seqs      []int64     `json:"Seqs"` // of the ops, in order; with Index 0, after frame 0
}

type settled struct {
	Seqs []int64       `json:"Seqs,omitempty"`
	IDs  []jbcd.Binary `json:"IDs,omitempty"`
}

// queue is the durable queue of local changes. Of one entry it holds the last change, and besides that one that
// is on its way. Not for concurrent use.
type queue struct {
	path   string
	file   *os.File
	size   int64 // of the good part of the file
	next   int64
	ops    map[int64]*op
	latest map[ref]int64
	sent   []*sent
}

// openQueue reads the queue file, or makes it. What was torn off is kept beside it, for whoever wants to know.
func openQueue(path string) (*queue, error) {
	q := &queue{path: path, next: 1, ops: map[int64]*op{}, latest: map[ref]int64{}}
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	good := 0
	if bytes.HasPrefix(content, []byte(queueMagic)) {
		good = len(queueMagic)
		for {
			body, n := nextRecord(content[good:])
			if body == nil {
				break
			}
			if err := q.replay(body); err != nil {
				return nil, fmt.Errorf("%s: record at %d: %w", path, good, err)
			}
			good += n
		}
	} else if len(content) >= len(queueMagic) {
		return nil, fmt.Errorf("%s: not a queue file of this version", path)
	}
	if torn := content[good:]; len(torn) > 0 && good > 0 {
		if err := replaceFile(path+".torn", torn); err != nil {
			return nil, err
		}
	}
	return q, q.rewrite()
}

// nextRecord returns the first record of data and its whole length; nil at the end, whole or torn.
func nextRecord(data []byte) (body []byte, n int) {
	if len(data) < 8 {
		return nil, 0
	}
	length := binary.BigEndian.Uint32(data)
	if length == 0 || length > queueRecordMax || int(length) > len(data)-8 {
		return nil, 0
	}
	body = data[8 : 8+length]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(data[4:]) {
		return nil, 0
	}
	return body, 8 + int(length)
}

func appendRecord(out []byte, tag string, v any) ([]byte, error) {
	body, err := jbcd.Tag(tag, v)
	if err != nil {
		return nil, err
	}
	if len(body) > queueRecordMax {
		return nil, errors.New("change too large for the queue")
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(out, body...), nil
}

func (q *queue) replay(body []byte) error {
	tag, value, err := jbcd.Tagged(body)
	if err != nil {
		return err
	}
	switch tag {
	case "Put":
		o := new(op)
		if err := jbcd.Unmarshal(value, o); err != nil {
			return err
		}
		if o.Envelope == nil {
			return errors.New("change without envelope")
		}
		q.apply(o)
	case "Sent":
		s := new(sent)
		if err := jbcd.Unmarshal(value, s); err != nil {
			return err
		}
		q.sent = append(q.sent, s)
	case "Settled":
		var s settled
		if err := jbcd.Unmarshal(value, &s); err != nil {
			return err
		}
		q.settle(s)
	default:
		return fmt.Errorf("record %q of a later version", tag)
	}
	return nil
}

// apply takes an op into the state: it supersedes an earlier one of its entry, unless that is on its way.
func (q *queue) apply(o *op) {
	if before, ok := q.latest[o.ref()]; ok && !q.inFlight(before) {
		delete(q.ops, before)
	}
	q.ops[o.Seq] = o
	q.latest[o.ref()] = o.Seq
	q.next = max(q.next, o.Seq+1)
}

func (q *queue) settle(s settled) {
	for _, seq := range s.Seqs {
		if o, ok := q.ops[seq]; ok {
			delete(q.ops, seq)
			if q.latest[o.ref()] == seq {
				delete(q.latest, o.ref())
			}
		}
	}
	q.sent = slices.DeleteFunc(q.sent, func(r *sent) bool {
		return slices.ContainsFunc(s.IDs, func(id jbcd.Binary) bool { return bytes.Equal(id, r.ID) })
	})
	if len(s.IDs) == 0 {
		return
	}
	// An op that was kept only because it was on its way is superseded now: sent beside the one that took its place, both
	// would continue the same frame.
	for seq, o := range q.ops {
		if q.latest[o.ref()] != seq && !q.inFlight(seq) {
			delete(q.ops, seq)
		}
	}
}

func (q *queue) inFlight(seq int64) bool {
	for _, s := range q.sent {
		for _, u := range s.Containers {
			if slices.Contains(u.Seqs, seq) {
				return true
			}
		}
	}
	return false
}

// put adds changes, durably: one write, one sync. Their Seqs are given here, in order.
func (q *queue) put(ops ...*op) error {
	var out []byte
	next := q.next
	for _, o := range ops {
		o.Seq = next
		next++
		var err error
		if out, err = appendRecord(out, "Put", o); err != nil {
			return err
		}
	}
	if err := q.write(out); err != nil {
		return err
	}
	for _, o := range ops {
		q.apply(o)
	}
	return nil
}

// send notes, durably, that a request is about to go out.
func (q *queue) send(s *sent) error {
	out, err := appendRecord(nil, "Sent", s)
	if err != nil {
		return err
	}
	if err := q.write(out); err != nil {
		return err
	}
	q.sent = append(q.sent, s)
	return nil
}

// done forgets ops and requests. A crash before it is durable is harmless: they are recognised again.
func (q *queue) done(seqs []int64, ids ...jbcd.Binary) error {
	if len(seqs) == 0 && len(ids) == 0 {
		return nil
	}
	s := settled{Seqs: seqs, IDs: ids}
	out, err := appendRecord(nil, "Settled", s)
	if err != nil {
		return err
	}
	if err := q.write(out); err != nil {
		return err
	}
	q.settle(s)
	if len(q.ops) == 0 && len(q.sent) == 0 {
		return q.truncate(int64(len(queueMagic)))
	}
	return nil
}

// write appends to the file and syncs it. After a failure the file is cut back, so that what follows is readable.
func (q *queue) write(out []byte) error {
	if _, err := q.file.WriteAt(out, q.size); err != nil {
		return errors.Join(err, q.truncate(q.size))
	}
	if err := q.file.Sync(); err != nil {
		return errors.Join(err, q.truncate(q.size))
	}
	q.size += int64(len(out))
	return nil
}

func (q *queue) truncate(size int64) error {
	if err := q.file.Truncate(size); err != nil {
		return err
	}
	q.size = size
	return q.file.Sync()
}

// rewrite writes the file anew with what is alive.
func (q *queue) rewrite() error {
	out := []byte(queueMagic)
	var err error
	for _, s := range q.sent { // first: what is on its way is not superseded
		if out, err = appendRecord(out, "Sent", s); err != nil {
			return err
		}
	}
	for _, o := range q.pending("") {
		if out, err = appendRecord(out, "Put", o); err != nil {
			return err
		}
	}
	if err := replaceFile(q.path, out); err != nil {
		return err
	}
	if q.file, err = os.OpenFile(q.path, os.O_RDWR, fileMode); err != nil {
		return err
	}
	q.size, err = q.file.Seek(0, io.SeekEnd)
	return err
}

// pending returns the ops of a container ("": of all), oldest first.
func (q *queue) pending(container string) []*op {
	var all []*op
	for _, o := range q.ops {
		if container == "" || o.Container == container {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *op) int { return int(a.Seq - b.Seq) })
	return all
}

// of returns the last change of an entry, nil when there is none.
func (q *queue) of(r ref) *op {
	if seq, ok := q.latest[r]; ok {
		return q.ops[seq]
	}
	return nil
}

func (q *queue) close() error { return q.file.Close() }
