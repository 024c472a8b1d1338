package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

const postArgs = 8 + 14 + 9

// frames are entries of spools as the functions of messages take them, one array per column.
type frames struct {
	envelope, unique, typ               []string
	written                             []bool
	digests, headers, trailers, payload [][]byte
}

// newFrames has room for n. Arrays without entries are none that is NULL.
func newFrames(n int) *frames {
	texts, bytes := make(pool[string], 3*n), make(pool[[]byte], 4*n)
	return &frames{
		envelope: texts.take(n), unique: texts.take(n), typ: texts.take(n), written: make([]bool, 0, n),
		digests: bytes.take(n), headers: bytes.take(n), trailers: bytes.take(n), payload: bytes.take(n),
	}
}

// add takes an entry in; of one with a fault nothing, for it may hold what is no text.
func (f *frames) add(e *shard.Entry, fault uint16) {
	if fault != 0 {
		e = new(shard.Entry)
	}
	f.envelope, f.unique, f.typ = append(f.envelope, e.EnvelopeID), append(f.unique, e.UniqueID), append(f.typ, e.MessageType)
	f.written, f.digests = append(f.written, e.DigestWritten), append(f.digests, notNil(e.PayloadDigest))
	f.headers, f.trailers, f.payload = append(f.headers, notNil(e.Header)), append(f.trailers, orNil(e.Trailer)), append(f.payload, notNil(e.Payload))
}

func (f *frames) list() []any {
	return []any{f.envelope, f.unique, f.typ, f.written, octets(f.digests), octets(f.headers), octets(f.trailers), octets(f.payload)}
}

// frame is one entry of a spool as the functions' e_… parameters.
func frame(e *shard.Entry) []any {
	return []any{e.EnvelopeID, e.UniqueID, e.MessageType, e.DigestWritten, notNil(e.PayloadDigest), notNil(e.Header), orNil(e.Trailer), notNil(e.Payload)}
}

// postStatement is the one statement that Post sends, with its arguments.
func postStatement(p *shard.Posting) (sql string, args []any) {
	c := &p.Caller
	args = make([]any, 0, postArgs)
	args = append(args, int16(p.Partition), text(p.Account), text(c.ProfileUDF), int64(c.Epoch), text(c.AuthKID), rule.DedupKey(c), notNil(c.RequestDigest), p.Waiter)
	n := len(p.Letters)
	letters := newFrames(n)
	faults, signers, counts := make([]int32, 0, n), make([]string, 0, n), make([]int32, 0, n)
	refused, addresses, domains := []int32{}, []string{}, []string{}
	for i := range p.Letters {
		l := &p.Letters[i]
		fault := rule.Fault(&l.Entry)
		letters.add(&l.Entry, fault)
		faults, signers, counts = append(faults, int32(fault)), append(signers, text(l.SignKID)), append(counts, int32(len(l.Recipients)))
		for _, r := range l.Recipients {
			if r.Reject != 0 { // it may be no text
				r.Address, r.Domain = "", ""
			}
			refused, addresses, domains = append(refused, int32(r.Reject)), append(addresses, r.Address), append(domains, r.Domain)
		}
	}
	args = append(args, faults, signers, counts)
	args = append(args, letters.list()...)
	args = append(args, refused, addresses, domains)
	self, own := newFrames(len(p.Self)), make([]int32, 0, len(p.Self))
	for i := range p.Self {
		fault := rule.Fault(&p.Self[i])
		self.add(&p.Self[i], fault)
		own = append(own, int32(fault))
	}
	args = append(args, own)
	return call("o_fault, o_detail, o_fate, o_id, o_settled, o_accepted, o_code, o_rule, o_policy", "mesh_post", postArgs), append(args, self.list()...)
}

// Post accepts messages of a device (shard.Store).
func (s *Store) Post(ctx context.Context, p shard.Posting) ([]shard.Posted, error) {
	const op = "shard.Post"
	if err := rule.CheckPosting(&p); err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	key := accountKey{p.Partition, p.Account}
	if err := s.busy.enter(ctx, key); err != nil {
		return nil, wrap(op, err)
	}
	defer s.busy.leave(key)
	statement, args := postStatement(&p)
	rows, err := s.pool.Query(ctx, statement, args...)
	if err != nil {
		return nil, wrap(op, err)
	}
	posted, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (shard.Posted, error) { return scanPosted(op, row) })
	return posted, wrap(op, err)
}

func scanPosted(op string, row pgx.CollectableRow) (p shard.Posted, err error) {
	var fault, detail, by, policy *string
	var fate *int64
	var id pgtype.UUID
	var settled, accepted *bool
	var code *int32
	if err := row.Scan(&fault, &detail, &fate, &id, &settled, &accepted, &code, &by, &policy); err != nil {
		return p, err
	}
	if fault != nil {
		if detail == nil {
			detail = new(string)
		}
		return p, refuse(op, *fault, *detail)
	}
	if *fate < 0 {
		p.Outcome, p.Code = shard.Reject, uint16(-1-*fate)
		return p, nil
	}
	p.Outcome, p.Index = shard.Accept, *fate
	if id.Valid {
		p.Row, p.Settled = id.Bytes, *settled
	}
	if p.Settled {
		p.Verdict = shard.Verdict{Accepted: *accepted, Code: uint16(*code), Rule: *by, Policy: *policy}
	}
	return p, nil
}
