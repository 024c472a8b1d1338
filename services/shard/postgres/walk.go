package postgres

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/services/shard"
)

// Walker reads a database as it lies, for meshctl fsck. It shares no statement with the Store and can run beside it.
type Walker struct{ conn *pgx.Conn }

// OpenWalker connects to the database of url.
func OpenWalker(ctx context.Context, url string) (*Walker, error) {
	config, err := connConfig(url)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &Walker{conn}, nil
}

// Close ends the connection.
func (w *Walker) Close() error { return w.conn.Close(context.Background()) }

// Walk calls visit for every container, by partition, account and number, with its frames by index, all in one snapshot.
// The slices of a frame are valid until the next. It stops at the first error.
func (w *Walker) Walk(ctx context.Context, visit func(shard.RawContainer, iter.Seq2[shard.RawFrame, error]) error) error {
	tx, err := w.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	rows, err := tx.Query(ctx, `SELECT DISTINCT partition FROM container ORDER BY partition`)
	if err != nil {
		return err
	}
	partitions, err := pgx.CollectRows(rows, pgx.RowTo[int16])
	if err != nil {
		return err
	}
	for _, p := range partitions { // the containers of one are few enough to be held in memory
		all, err := walkContainers(ctx, tx, p)
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := visit(c, func(yield func(shard.RawFrame, error) bool) { walkFrames(ctx, tx, &c, yield) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func walkContainers(ctx context.Context, tx pgx.Tx, partition int16) ([]shard.RawContainer, error) {
	rows, err := tx.Query(ctx, `SELECT c.account, coalesce(a.address, ''), coalesce(a.state, 0), c.container, c.name, c.frames, c.peaks
		FROM container c LEFT JOIN account a ON a.partition = c.partition AND a.account = c.account
		WHERE c.partition = $1 ORDER BY c.account, c.container`, partition)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (shard.RawContainer, error) {
		c := shard.RawContainer{Partition: uint16(partition)}
		var state int16
		err := row.Scan(&c.Account, &c.Address, &state, &c.Number, &c.Name, &c.Frames, &c.Peaks)
		c.State = shard.AccountState(state)
		return c, err
	})
}

func walkFrames(ctx context.Context, tx pgx.Tx, c *shard.RawContainer, yield func(shard.RawFrame, error) bool) {
	rows, err := tx.Query(ctx, `SELECT idx, envelope_id, unique_id, event, message_type, received, own, payload_len, payload_digest,
		digest_written, tree_digest, header, trailer, payload FROM frame WHERE partition = $1 AND account = $2 AND container = $3 ORDER BY idx`,
		int16(c.Partition), c.Account, c.Number)
	if err != nil {
		yield(shard.RawFrame{}, err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var f shard.RawFrame
		var event int16
		err := rows.Scan(&f.Index, &f.EnvelopeID, &f.UniqueID, &event, &f.MessageType, &f.Received, &f.Own, &f.PayloadLength,
			&f.PayloadDigest, &f.DigestWritten, &f.TreeDigest, &f.Header, &f.Trailer, &f.Payload)
		f.Event, f.Received = shard.Event(event), f.Received.UTC()
		if !yield(f, err) || err != nil {
			return
		}
	}
	if err := rows.Err(); err != nil {
		yield(shard.RawFrame{}, err)
	}
}
