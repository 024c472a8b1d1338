package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// Post accepts messages of a device (shard.Store).
func (s *Store) Post(ctx context.Context, p shard.Posting) ([]shard.Posted, error) {
	const op = "shard.Post"
	if err := rule.CheckPosting(&p); err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	var posted []shard.Posted
	err := s.write(ctx, op, func(tx *sql.Tx) error {
		a, device, err := enter(ctx, tx, op, p.Partition, p.Account, &p.Caller, writes)
		switch {
		case err != nil:
			return err
		case device.rights&shard.Message == 0:
			return mesh.Errorf(op, mesh.NotAuthorized, "rights %#x, needs %#x", device.rights, shard.Message)
		}
		post := poster{store: s, tx: tx, p: &p, account: a.Number}
		outcome, done, err := s.recall(ctx, tx, op, p.Partition, &p.Caller)
		if err != nil {
			return err
		}
		if done {
			posted, err = post.again(ctx, outcome)
			return err
		}
		if posted, err = post.all(ctx); err != nil {
			return err
		}
		results := make([]shard.Result, len(posted))
		for i := range posted {
			results[i] = posted[i].Result
		}
		return s.remember(ctx, tx, p.Partition, &p.Caller, rule.Pack(results))
	})
	if err != nil {
		return nil, err
	}
	return posted, nil
}

// poster carries out one Post.
type poster struct {
	store   *Store
	tx      *sql.Tx
	p       *shard.Posting
	account int64
}

// all stores the messages, then Self.
func (o *poster) all(ctx context.Context) ([]shard.Posted, error) {
	codes := rule.Refusals(o.p)
	posted := make([]shard.Posted, len(codes))
	for i, code := range codes {
		posted[i].Result = shard.Result{Outcome: shard.Reject, Code: code}
	}
	next := 0
	for i := range o.p.Letters {
		l := &o.p.Letters[i]
		fates := posted[next : next+len(l.Recipients)]
		next += len(l.Recipients)
		if err := o.letter(ctx, l, fates); err != nil {
			return nil, err
		}
	}
	for i := range o.p.Self {
		if codes[next+i] != 0 {
			continue
		}
		indices, _, err := o.store.append(ctx, o.tx, o.p.Partition, o.account, &shard.ContainerUpdate{Container: rule.Local, Entries: o.p.Self[i : i+1]}, anyIndex)
		if err != nil {
			return nil, err
		}
		posted[next+i].Result = shard.Result{Outcome: shard.Accept, Index: indices[0]}
	}
	return posted, nil
}

// letter stores one message for the recipients who are not refused (code 0), and tells the fate of each.
func (o *poster) letter(ctx context.Context, l *shard.Letter, fates []shard.Posted) error {
	left := 0
	for i := range fates {
		if fates[i].Code == 0 {
			left++
		}
	}
	if left == 0 && (len(fates) == 0 || rule.Fault(&l.Entry) != 0) {
		return nil
	}
	ok, err := o.mayStand(ctx, l)
	if err != nil {
		return err
	}
	if !ok {
		for i := range fates {
			fates[i].Code = rule.MessageInvalid
		}
		return nil
	}
	if left == 0 {
		return nil
	}
	indices, _, err := o.store.append(ctx, o.tx, o.p.Partition, o.account, &shard.ContainerUpdate{Container: rule.Outbound, Entries: []shard.Entry{l.Entry}}, anyIndex)
	if err != nil {
		return err
	}
	for i := range fates {
		if fates[i].Code != 0 {
			continue
		}
		fates[i].Result = shard.Result{Outcome: shard.Accept, Index: indices[0]}
		if err := o.row(ctx, &fates[i], &l.Recipients[i]); err != nil {
			return err
		}
	}
	return nil
}

// mayStand says whether a current device has signed the message, and no other one has its EnvelopeID.
func (o *poster) mayStand(ctx context.Context, l *shard.Letter) (bool, error) {
	var signed bool
	err := o.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM device_sign k JOIN device d USING (partition, account, unique_id)
		WHERE k.partition = ? AND k.account = ? AND k.kid = ? AND NOT d.removed)`, o.p.Partition, o.account, l.SignKID).Scan(&signed)
	if err != nil || !signed || l.Entry.EnvelopeID == "" {
		return signed, err
	}
	var digest []byte
	err = o.tx.QueryRowContext(ctx, `SELECT f.payload_digest FROM container c JOIN frame f USING (partition, account, container)
		WHERE c.partition = ? AND c.account = ? AND c.name = ? AND f.envelope_id = ? AND f.event = 0
		ORDER BY f.payload_digest = ? DESC LIMIT 1`, o.p.Partition, o.account, rule.Outbound, l.Entry.EnvelopeID, l.Entry.PayloadDigest).Scan(&digest)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return bytes.Equal(digest, l.Entry.PayloadDigest), err
}

// row finds or makes the outbox row of a message for a recipient.
func (o *poster) row(ctx context.Context, posted *shard.Posted, r *shard.Addressee) error {
	found, err := o.find(ctx, posted, r)
	if err != nil || found {
		return err
	}
	posted.Row = newOutboxID()
	now := o.store.now().Unix()
	_, err = o.tx.ExecContext(ctx, `INSERT INTO outbox (partition, account, id, frame, recipient, domain, state, attempts, waiter, created, next_attempt)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)`, o.p.Partition, o.account, posted.Row[:], posted.Index, r.Address, r.Domain, shard.Due, o.p.Waiter, now, now)
	return err
}

// find fills in the row of a message for a recipient as it is now.
func (o *poster) find(ctx context.Context, posted *shard.Posted, r *shard.Addressee) (bool, error) {
	var id []byte
	var state shard.OutboxState
	v := &posted.Verdict
	err := o.tx.QueryRowContext(ctx, `SELECT id, state, accepted, code, rule, policy FROM outbox
		WHERE partition = ? AND account = ? AND frame = ? AND recipient = ?`, o.p.Partition, o.account, posted.Index, r.Address).Scan(
		&id, &state, &v.Accepted, &v.Code, &v.Rule, &v.Policy)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	posted.Row, posted.Settled = shard.OutboxID(id), state > shard.Published
	return true, err
}

// again is the stored outcome of a request, with the rows as they are now.
func (o *poster) again(ctx context.Context, outcome []int64) ([]shard.Posted, error) {
	results, err := rule.Unpack(outcome)
	if err != nil {
		return nil, err
	}
	posted := make([]shard.Posted, len(results))
	for i := range results {
		posted[i].Result = results[i]
	}
	next := 0
	for i := range o.p.Letters {
		for j := range o.p.Letters[i].Recipients {
			if next == len(posted) {
				return nil, mesh.Errorf("shard.Post", mesh.Internal, "a stored outcome of %d results", len(posted))
			}
			if posted[next].Outcome == shard.Accept {
				if _, err := o.find(ctx, &posted[next], &o.p.Letters[i].Recipients[j]); err != nil {
					return nil, err
				}
			}
			next++
		}
	}
	return posted, nil
}

// newOutboxID makes a random UUID (RFC 9562, version 4).
func newOutboxID() shard.OutboxID {
	var id shard.OutboxID
	_, _ = rand.Read(id[:]) // it never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}
