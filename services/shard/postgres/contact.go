package postgres

import (
	"context"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

// standingSQL reads in one snapshot what a recipient ($2) says of a sender with address $3 and profile $4, and the newest frame of
// mmm_Local with EnvelopeID $5. OFFSET 0: each lookup is by its whole key.
const standingSQL = `SELECT p.state, a.state, a.redirect, k.n, k.rights, k.pinned, coalesce(i.frames, 0), f.idx, ` + frameColumns + `, NULL::bytea
	FROM partition p
	LEFT JOIN account a ON a.partition = p.partition AND a.address = $2
	LEFT JOIN LATERAL (SELECT c.frames FROM container c
		WHERE c.partition = a.partition AND c.account = a.account AND c.name = 'mmm_Inbound' OFFSET 0) i ON true
	LEFT JOIN LATERAL (SELECT count(*) AS n, coalesce(bit_or(m.rights), 0) AS rights, coalesce(min(m.pinned), '') AS pinned FROM (
		SELECT c.rights, CASE WHEN c.profile_udf NOT IN ('', $4) THEN c.profile_udf END AS pinned FROM contact_address x
			CROSS JOIN LATERAL (SELECT c.rights, c.profile_udf FROM contact c
				WHERE c.partition = x.partition AND c.account = x.account AND c.unique_id = x.unique_id OFFSET 0) c
			WHERE x.partition = a.partition AND x.account = a.account AND x.address = $3
		UNION ALL
		SELECT c.rights, NULL FROM contact c
			WHERE c.partition = a.partition AND c.account = a.account AND c.profile_udf = $4 AND c.profile_udf <> '') m) k ON true
	LEFT JOIN LATERAL (SELECT c.partition, c.account, c.container FROM container c
		WHERE c.partition = a.partition AND c.account = a.account AND c.name = 'mmm_Local' OFFSET 0) l ON true
	LEFT JOIN LATERAL (SELECT * FROM frame f
		WHERE f.partition = l.partition AND f.account = l.account AND f.container = l.container AND f.event = 0
		AND f.envelope_id = $5 AND f.envelope_id <> '' ORDER BY f.idx DESC LIMIT 1) f ON true
	WHERE p.partition = $1`

// Standing tells what a recipient says of a sender (shard.Store).
func (s *Store) Standing(ctx context.Context, q shard.StandingQuery) (*shard.Standing, error) {
	const op = "shard.Standing"
	var partition int16
	var state *int16
	var redirect *string
	var contacts int64
	var rights int32
	var index *int64
	var f found
	var standing shard.Standing
	err := f.scan(s.pool.QueryRow(ctx, standingSQL, int16(q.Partition), text(q.Recipient), text(q.SenderAddress), text(q.SenderUDF), text(q.PIN)),
		&partition, &state, &redirect, &contacts, &rights, &standing.PinnedUDF, &standing.Inbound, &index)
	switch {
	case none(err) || err == nil && shard.PartitionState(partition) == shard.PartitionMoved:
		return nil, s.stale(ctx, op, q.Partition)
	case err != nil:
		return nil, wrap(op, err)
	case state == nil || shard.AccountState(*state) == shard.Deleted:
		return nil, mesh.E(op, mesh.UnknownAccount, nil)
	}
	standing.State, standing.Redirect, standing.Contact, standing.Rights = shard.AccountState(*state), *redirect, contacts > 0, shard.ContactRight(rights)
	if standing.Rights&shard.Block != 0 {
		standing.Rights = shard.Block
	}
	if index != nil {
		f.Index = *index
		pin := f.frame()
		standing.PIN = &pin
	}
	return &standing, nil
}
