package postgres

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// seeSQL reads in one snapshot what the checks of a verb need: partition, account, the caller's device, and the state of the
// containers. $4 is the ProfileDevice UDF of another device, whose current frame is asked for.
const seeSQL = `SELECT p.state, p.epoch, a.account, a.state, a.epoch, a.profile_udf, a.mesh_udf, a.profile_updated, a.profile_mesh, a.profile_account,
	a.profile_group, a.redirect, d.unique_id, d.device_udf, d.connection_digest, d.frame,
	coalesce(d.rights, CASE WHEN a.creator_kid = $3 AND a.creator_kid <> '' AND NOT EXISTS (SELECT FROM container m
		WHERE m.partition = a.partition AND m.account = a.account AND m.name = 'mmm_Device' AND m.frames > 1) THEN 511 END),
	(SELECT max(o.frame) FROM device o WHERE o.partition = a.partition AND o.account = a.account AND o.device_udf = $4 AND NOT o.removed),
	c.names, c.frames, c.digests
	FROM partition p
	LEFT JOIN account a ON a.partition = p.partition AND a.address = $2
	LEFT JOIN device_auth k ON k.partition = a.partition AND k.account = a.account AND k.kid = $3
	LEFT JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id AND NOT d.removed
	LEFT JOIN LATERAL (SELECT array_agg(c.name ORDER BY c.name) AS names, array_agg(c.frames ORDER BY c.name) AS frames,
		array_agg(substr(c.peaks, greatest(length(c.peaks) - 63, 1)) ORDER BY c.name) AS digests
		FROM container c WHERE c.partition = a.partition AND c.account = a.account) c ON true
	WHERE p.partition = $1`

// seen is a row of seeSQL.
type seen struct {
	partition  *int16 // nil: no row
	epoch      *int64 // of the partition
	number     *int64
	account    shard.Account
	unique     *string
	device     *string
	digest     []byte
	frame      *int64
	rights     *int32
	other      *int64
	containers []shard.ContainerState
}

func seeArgs(partition uint16, address, kid, other string) []any {
	return []any{int16(partition), text(address), text(kid), text(other)}
}

// text makes the name of nothing of what PostgreSQL does not take: clients may name anything.
func text(s string) string {
	if !rule.Name(s) {
		return ""
	}
	return s
}

func scanSeen(row pgx.Row) (*seen, error) {
	var s seen
	var state *int16
	var epoch *int64
	var profile, meshUDF, redirect *string
	var updated *time.Time
	var names []string
	var frames []int64
	var digests [][]byte
	err := row.Scan(&s.partition, &s.epoch, &s.number, &state, &epoch, &profile, &meshUDF, &updated, &s.account.ProfileMesh, &s.account.ProfileAccount,
		&s.account.ProfileGroup, &redirect, &s.unique, &s.device, &s.digest, &s.frame, &s.rights, &s.other, &names, &frames, &digests)
	if none(err) {
		return &s, nil
	}
	if err != nil || s.number == nil {
		return &s, err
	}
	a := &s.account
	a.Number, a.State, a.Epoch = *s.number, shard.AccountState(*state), uint64(*epoch)
	a.ProfileUDF, a.MeshUDF, a.ProfileUpdated, a.Redirect = *profile, *meshUDF, updated.UTC(), *redirect
	for i := range names {
		s.containers = append(s.containers, shard.ContainerState{Container: names[i], Frames: frames[i], Digest: orNil(digests[i])})
	}
	return &s, nil
}

func (s *Store) see(ctx context.Context, op string, partition uint16, address, kid, other string) (*seen, error) {
	v, err := scanSeen(s.pool.QueryRow(ctx, seeSQL, seeArgs(partition, address, kid, other)...))
	if err != nil {
		return nil, wrap(op, err)
	}
	if !v.here() {
		return nil, s.stale(ctx, op, partition)
	}
	return v, nil
}

// here says whether the partition is in this database.
func (v *seen) here() bool {
	return v.partition != nil && shard.PartitionState(*v.partition) != shard.PartitionMoved
}

// stale is the refusal of a partition that is not here, for the verbs that do not ask a function. It takes a trip of its own.
func (s *Store) stale(ctx context.Context, op string, partition uint16) error {
	var epoch string
	if err := s.pool.QueryRow(ctx, `SELECT mesh_epoch($1)`, int16(partition)).Scan(&epoch); err != nil {
		return wrap(op, err)
	}
	return refuse(op, "MS999", epoch)
}

// enter does the checks of a reading verb up to the device. Check stands for an act, which a blocked account may not do.
func (v *seen) enter(op string, c *shard.Caller, act bool) (shard.Right, error) {
	switch a := &v.account; {
	case v.number == nil, a.State == shard.Deleted:
		return 0, mesh.E(op, mesh.UnknownAccount, nil)
	case a.State == shard.Pending:
		return 0, mesh.E(op, mesh.AccountPending, nil)
	case a.Redirect != "":
		return 0, mesh.E(op, mesh.Redirect, errors.New(a.Redirect))
	case a.State == shard.Blocked && act:
		return 0, mesh.Errorf(op, mesh.NotAuthorized, "blocked")
	case c.ProfileUDF != "" && c.ProfileUDF != a.ProfileUDF:
		return 0, mesh.Errorf(op, mesh.NotAuthorized, "another profile")
	case c.Epoch != 0 && c.Epoch != a.Epoch:
		return 0, mesh.Errorf(op, mesh.TicketExpired, "epoch %d, now %d", c.Epoch, a.Epoch)
	case v.rights == nil:
		return 0, mesh.Errorf(op, mesh.NotAuthorized, "not a device of the account")
	}
	return shard.Right(*v.rights), nil
}

// Resolve returns an account entry (shard.Store).
func (s *Store) Resolve(ctx context.Context, partition uint16, address string) (*shard.Account, error) {
	const op = "shard.Resolve"
	v, err := s.see(ctx, op, partition, address, "", "")
	if err != nil {
		return nil, err
	}
	if v.number == nil {
		return nil, mesh.E(op, mesh.UnknownAccount, nil)
	}
	return &v.account, nil
}

// Where describes what is stored of an address (shard.Store).
func (s *Store) Where(ctx context.Context, partition uint16, address string) (*shard.Location, error) {
	const op = "shard.Where"
	v, err := s.see(ctx, op, partition, address, "", "")
	if err != nil {
		return nil, err
	}
	if v.number == nil {
		return nil, mesh.E(op, mesh.UnknownAccount, nil)
	}
	return &shard.Location{Number: v.account.Number, State: v.account.State, Epoch: uint64(*v.epoch), Containers: v.containers}, nil
}

// Check asks for a right (shard.Store).
func (s *Store) Check(ctx context.Context, q shard.CheckQuery) error {
	const op = "shard.Check"
	v, err := s.see(ctx, op, q.Partition, q.Account, q.Caller.AuthKID, "")
	if err != nil {
		return err
	}
	rights, err := v.enter(op, &q.Caller, true)
	if err == nil && rights&q.Right != q.Right {
		err = mesh.Errorf(op, mesh.NotAuthorized, "rights %#x, needs %#x", rights, q.Right)
	}
	return err
}

// frameColumns are scanned by found.scan, which wants the payload after them.
const frameColumns = `f.header, f.trailer, f.payload_digest, f.digest_written, f.tree_digest, f.received, f.own, f.payload_len, f.envelope_id`

// Status reads the state of containers (shard.Store). The device entry is fetched by its index in a second trip, and seldom:
// frames never change, so the snapshot is still one.
func (s *Store) Status(ctx context.Context, q shard.StatusQuery) (*shard.StatusResult, error) {
	const op = "shard.Status"
	v, err := s.see(ctx, op, q.Partition, q.Account, q.Caller.AuthKID, q.DeviceUDF)
	if err != nil {
		return nil, err
	}
	rights, err := v.enter(op, &q.Caller, false)
	if err != nil {
		return nil, err
	}
	result := &shard.StatusResult{Account: v.account, Containers: rule.Visible(v.containers, &q, rights)}
	frame := v.frame
	if q.DeviceUDF != "" && (v.device == nil || q.DeviceUDF != *v.device) {
		if rights&shard.Admin == 0 {
			return nil, mesh.Errorf(op, mesh.NotAuthorized, "entry of another device")
		}
		frame = v.other
	} else if len(q.ConnectionDigest) == 0 || string(q.ConnectionDigest) == string(v.digest) {
		frame = nil
	}
	if frame == nil {
		return result, nil
	}
	row := s.pool.QueryRow(ctx, `SELECT f.idx, `+frameColumns+`, f.payload FROM container c
		JOIN frame f ON f.partition = c.partition AND f.account = c.account AND f.container = c.container
		WHERE c.partition = $1 AND c.account = $2 AND c.name = $3 AND f.idx = $4`, int16(q.Partition), v.account.Number, rule.Device, *frame)
	var f found
	err = f.scan(row, &f.Index)
	if err == nil {
		entry := f.frame()
		result.DeviceEntry = &entry
	}
	if err != nil && !none(err) {
		return nil, wrap(op, err)
	}
	return result, nil
}

// found is a frame whose columns may all be NULL.
type found struct {
	shard.Frame
	written, own *bool
	received     *time.Time
	length       *int64
	id           *string
}

// scan scans what comes before the frame's columns, these, and the payload.
func (f *found) scan(row pgx.Row, before ...any) error {
	return row.Scan(append(before, &f.Header, &f.Trailer, &f.PayloadDigest, &f.written, &f.TreeDigest, &f.received, &f.own,
		&f.length, &f.id, &f.Payload)...)
}

// frame gives a frame that is there.
func (f *found) frame() shard.Frame {
	f.DigestWritten, f.PayloadLength, f.EnvelopeID = *f.written, *f.length, *f.id
	if !*f.own {
		f.Received = f.received.UTC()
	}
	return f.Frame
}

// readSQL selects frames over all selections, in their order, counts entries and octets as it goes, and gives those within the
// limits ($9 entries, $10 octets) with their contents; of each selection also the first frame that was left out, without.
// $11: payloads are wanted; $12: octets of the payload to skip, NULL when no range is asked for; $14: octets of headers and trailers.
const readSQL = `WITH who AS (
	SELECT a.account, coalesce(d.rights, CASE WHEN a.creator_kid = $3 AND a.creator_kid <> '' AND NOT EXISTS (SELECT FROM container m
		WHERE m.partition = a.partition AND m.account = a.account AND m.name = 'mmm_Device' AND m.frames > 1) THEN 511 END) AS rights
	FROM account a
	LEFT JOIN device_auth k ON k.partition = a.partition AND k.account = a.account AND k.kid = $3
	LEFT JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id AND NOT d.removed
	WHERE a.partition = $1 AND a.address = $2
), chosen AS (
	SELECT s.n, who.account, c.container, f.idx, f.payload_len, f.head
	FROM who
	CROSS JOIN unnest($4::text[], $5::integer[], $6::bigint[], $7::bigint[], $8::timestamptz[], $13::timestamptz[]) WITH ORDINALITY
		AS s(name, rights, low, high, not_before, before, n)
	JOIN container c ON c.partition = $1 AND c.account = who.account AND c.name = s.name AND who.rights & s.rights = s.rights
	CROSS JOIN LATERAL (SELECT f.idx, f.payload_len, octet_length(f.header) + coalesce(octet_length(f.trailer), 0) AS head FROM frame f
		WHERE f.partition = $1 AND f.account = who.account AND f.container = c.container AND f.idx BETWEEN s.low AND s.high
		AND f.received >= s.not_before AND f.received < s.before ORDER BY f.idx LIMIT $9::bigint + 1) f
), counted AS (
	SELECT x.*, x.nth <= $9 AND (x.nth = 1 OR x.heads <= $14::bigint AND (NOT $11 OR $12::bigint IS NOT NULL OR x.octets <= $10::bigint)) AS taken FROM (
		SELECT chosen.*, row_number() OVER w AS nth, sum(payload_len) OVER w AS octets, sum(head) OVER w AS heads FROM chosen WINDOW w AS (ORDER BY n, idx)) x
), bounded AS (
	SELECT counted.*, min(idx) FILTER (WHERE NOT taken) OVER (PARTITION BY n) AS next FROM counted
)
SELECT b.n, b.idx, b.taken, ` + frameColumns + `,
	CASE WHEN $11 THEN substr(f.payload, coalesce($12::bigint, 0)::integer + 1, CASE WHEN b.nth = 1 THEN $10::bigint::integer ELSE 2147483647 END) END
	FROM bounded b
	LEFT JOIN frame f ON b.taken AND f.partition = $1 AND f.account = b.account AND f.container = b.container AND f.idx = b.idx
	WHERE b.taken OR b.idx = b.next
	ORDER BY b.n, b.idx`

// Read returns frames by selectors (shard.Store): one round trip, one snapshot.
func (s *Store) Read(ctx context.Context, q shard.ReadQuery) ([]shard.Selected, error) {
	const op = "shard.Read"
	b := new(pgx.Batch)
	b.Queue(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
	b.Queue(seeSQL, seeArgs(q.Partition, q.Account, q.Caller.AuthKID, "")...)
	b.Queue(readSQL, readArgs(&q)...)
	b.Queue(`COMMIT`)
	results := make([]shard.Selected, len(q.Select))
	here := true
	answers := s.pool.SendBatch(ctx, b)
	err := func() error {
		if _, err := answers.Exec(); err != nil {
			return err
		}
		v, err := scanSeen(answers.QueryRow())
		if err != nil {
			return err
		}
		if here = v.here(); !here {
			return nil
		}
		rights, err := v.enter(op, &q.Caller, false)
		if err != nil {
			return err
		}
		for i := range q.Select {
			rule.Present(&results[i], &q.Select[i], v.containers, rights)
		}
		rows, err := answers.Query()
		if err != nil {
			return err
		}
		selected, err := scanSelected(rows, results)
		if err == nil && q.Offset != nil && selected != 1 {
			err = mesh.Errorf(op, mesh.ProfileInvalid, "a byte range of %d frames or more", selected)
		}
		return err
	}()
	if err := errors.Join(err, answers.Close()); err != nil {
		return nil, wrap(op, err)
	}
	if !here {
		return nil, s.stale(ctx, op, q.Partition)
	}
	return results, nil
}

func readArgs(q *shard.ReadQuery) []any {
	names, rights := []string{}, []int32{}
	low, high := []int64{}, []int64{}
	from, to := []time.Time{}, []time.Time{}
	for i := range q.Select {
		sel := &q.Select[i]
		lo, hi, nb, bf := int64(0), int64(math.MaxInt64), sel.NotBefore.UTC(), sel.Before.UTC()
		if sel.Min != nil {
			lo = *sel.Min
		}
		if sel.Max != nil {
			hi = *sel.Max
		}
		if sel.Before.IsZero() {
			bf = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		}
		names, rights = append(names, text(sel.Container)), append(rights, int32(sel.Right))
		low, high, from, to = append(low, lo), append(high, hi), append(from, nb), append(to, bf)
	}
	var skip *int64
	if q.Offset != nil {
		n := min(max(*q.Offset, 0), math.MaxInt32-1)
		skip = &n
	}
	return []any{
		int16(q.Partition), text(q.Account), text(q.Caller.AuthKID), names, rights, low, high, from,
		max(q.MaxEntries, 0), min(max(q.MaxBytes, 0), math.MaxInt32), q.Payload, skip, to, int64(shard.MaxHeads),
	}
}

// scanSelected puts the frames into their selections, and says how many frames the rows stand for.
func scanSelected(rows pgx.Rows, results []shard.Selected) (selected int64, err error) {
	defer rows.Close()
	for rows.Next() {
		selected++
		var n int64
		var taken bool
		var f found
		if err := f.scan(rows, &n, &f.Index, &taken); err != nil {
			return 0, err
		}
		if r := &results[n-1]; taken {
			r.Entries = append(r.Entries, f.frame())
		} else {
			r.More, r.Next = true, f.Index
		}
	}
	return selected, rows.Err()
}

// Signer returns a signature key (shard.Store).
func (s *Store) Signer(ctx context.Context, partition uint16, address, kid string) (*shard.SignerKey, error) {
	const op = "shard.Signer"
	var state int16
	var curve *string
	var current *bool
	var k shard.SignerKey
	err := s.pool.QueryRow(ctx, `SELECT p.state, k.curve, k.key, NOT d.removed FROM partition p
		LEFT JOIN account a ON a.partition = p.partition AND a.address = $2
		LEFT JOIN device_sign k ON k.partition = a.partition AND k.account = a.account AND k.kid = $3
		LEFT JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id
		WHERE p.partition = $1`, int16(partition), text(address), text(kid)).Scan(&state, &curve, &k.Key, &current)
	switch {
	case none(err) || err == nil && shard.PartitionState(state) == shard.PartitionMoved:
		return nil, s.stale(ctx, op, partition)
	case err != nil:
		return nil, wrap(op, err)
	case curve == nil:
		return nil, nil
	}
	k.Curve, k.Current = *curve, current != nil && *current
	return &k, nil
}

// Epoch is the newest epoch that a partition has seen (shard.Store).
func (s *Store) Epoch(ctx context.Context) (uint64, error) {
	var epoch int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce(max(epoch), 0) FROM partition`).Scan(&epoch)
	return uint64(epoch), wrap("shard.Epoch", err)
}

// Partitions lists the partitions of this database, ascending (shard.Store).
func (s *Store) Partitions(ctx context.Context) ([]shard.Partition, error) {
	const op = "shard.Partitions"
	rows, err := s.pool.Query(ctx, `SELECT p.partition, p.state, p.epoch, coalesce(a.n, 0) FROM partition p
		LEFT JOIN (SELECT partition, count(*) AS n FROM account WHERE state <> 4 GROUP BY partition) a USING (partition) ORDER BY p.partition`)
	if err != nil {
		return nil, wrap(op, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (shard.Partition, error) {
		var number, state int16
		var epoch int64
		var p shard.Partition
		err := row.Scan(&number, &state, &epoch, &p.Accounts)
		p.Number, p.State, p.Epoch = uint16(number), shard.PartitionState(state), uint64(epoch)
		return p, err
	})
	return all, wrap(op, err)
}
