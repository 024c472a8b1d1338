package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"time"

	"github.com/mathmesh/meshd/services/shard"
)

// Walker reads a database file as it lies, for meshctl fsck. It shares no statement with the Store and can run beside it.
type Walker struct{ db *sql.DB }

// OpenWalker opens the database file at path for reading.
func OpenWalker(path string) (*Walker, error) {
	db, err := open(path, "mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(true)")
	if err != nil {
		return nil, err
	}
	return &Walker{db}, nil
}

// Close closes the file.
func (w *Walker) Close() error { return w.db.Close() }

// Walk calls visit for every container, by partition, account and number, with its frames by index, all in one snapshot.
// The slices of a frame are valid until the next. It stops at the first error.
func (w *Walker) Walk(ctx context.Context, visit func(shard.RawContainer, iter.Seq2[shard.RawFrame, error]) error) error {
	tx, err := w.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	all, err := walkContainers(ctx, tx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := visit(c, func(yield func(shard.RawFrame, error) bool) { walkFrames(ctx, tx, &c, yield) }); err != nil {
			return err
		}
	}
	return nil
}

func walkContainers(ctx context.Context, tx *sql.Tx) (all []shard.RawContainer, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT c.partition, c.account, coalesce(a.address, ''), coalesce(a.state, 0), c.container, c.name, c.frames, c.peaks
		FROM container c LEFT JOIN account a ON a.partition = c.partition AND a.account = c.account
		ORDER BY c.partition, c.account, c.container`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c shard.RawContainer
		if err := rows.Scan(&c.Partition, &c.Account, &c.Address, &c.State, &c.Number, &c.Name, &c.Frames, &c.Peaks); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

func walkFrames(ctx context.Context, tx *sql.Tx, c *shard.RawContainer, yield func(shard.RawFrame, error) bool) {
	rows, err := tx.QueryContext(ctx, `SELECT idx, envelope_id, unique_id, event, message_type, received, own, payload_len, payload_digest,
		digest_written, tree_digest, header, trailer, payload FROM frame WHERE partition = ? AND account = ? AND container = ? ORDER BY idx`,
		c.Partition, c.Account, c.Number)
	if err != nil {
		yield(shard.RawFrame{}, err)
		return
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var f shard.RawFrame
		var received int64
		err := rows.Scan(&f.Index, &f.EnvelopeID, &f.UniqueID, &f.Event, &f.MessageType, &received, &f.Own, &f.PayloadLength,
			&f.PayloadDigest, &f.DigestWritten, &f.TreeDigest, &f.Header, &f.Trailer, &f.Payload)
		f.Received = time.Unix(received, 0).UTC()
		if !yield(f, err) || err != nil {
			return
		}
	}
	if err := rows.Err(); err != nil {
		yield(shard.RawFrame{}, err)
	}
}
