package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// contact carries an entry of mmm_Contact into the contact tables.
func (c *appender) contact(ctx context.Context, e *shard.Entry) error {
	for _, table := range []string{"contact", "contact_address"} {
		if _, err := c.tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE partition = ? AND account = ? AND unique_id = ?`,
			c.partition, c.account, e.UniqueID); err != nil {
			return err
		}
	}
	if e.Event == shard.Delete || e.Contact == nil {
		return nil
	}
	if _, err := c.tx.ExecContext(ctx, `INSERT INTO contact (partition, account, unique_id, profile_udf, rights) VALUES (?, ?, ?, ?, ?)`,
		c.partition, c.account, e.UniqueID, e.Contact.ProfileUDF, e.Contact.Rights); err != nil {
		return err
	}
	for _, address := range rule.Addresses(e.Contact) {
		if _, err := c.tx.ExecContext(ctx, `INSERT INTO contact_address (partition, account, unique_id, address) VALUES (?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, c.partition, c.account, e.UniqueID, address); err != nil {
			return err
		}
	}
	return nil
}

// Standing is what a recipient says of a sender (shard.Store).
func (s *Store) Standing(ctx context.Context, q shard.StandingQuery) (*shard.Standing, error) {
	const op = "shard.Standing"
	standing := new(shard.Standing)
	err := s.read(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, q.Partition, false); err != nil {
			return err
		}
		a, err := find(ctx, tx, q.Partition, q.Recipient)
		switch {
		case err != nil:
			return err
		case a == nil, a.State == shard.Deleted:
			return mesh.E(op, mesh.UnknownAccount, nil)
		}
		standing.State, standing.Redirect = a.State, a.Redirect
		err = tx.QueryRowContext(ctx, `SELECT frames FROM container WHERE partition = ? AND account = ? AND name = ?`,
			q.Partition, a.Number, rule.Inbound).Scan(&standing.Inbound)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := contacts(ctx, tx, standing, &q, a.Number); err != nil || q.PIN == "" {
			return err
		}
		frames, err := query(ctx, tx, `SELECT `+frameColumns+`, NULL FROM container c JOIN frame f INDEXED BY frame_envelope USING (partition, account, container)
			WHERE f.partition = ? AND f.account = ? AND c.name = ? AND f.envelope_id = ? AND f.event = 0 ORDER BY f.idx DESC LIMIT 1`,
			q.Partition, a.Number, rule.Local, q.PIN)
		if err == nil && len(frames) > 0 {
			standing.PIN = &frames[0]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return standing, nil
}

// contacts adds up the contacts that count.
func contacts(ctx context.Context, tx *sql.Tx, standing *shard.Standing, q *shard.StandingQuery, account int64) (err error) {
	// Indexes are named where the planner would rather walk a primary key: all contacts of the account, the whole spool.
	rows, err := tx.QueryContext(ctx, `SELECT c.profile_udf, c.rights
			FROM contact_address a JOIN contact c USING (partition, account, unique_id)
			WHERE a.partition = ?1 AND a.account = ?2 AND a.address = ?3
		UNION ALL
		SELECT profile_udf, rights FROM contact INDEXED BY contact_pin WHERE partition = ?1 AND account = ?2 AND profile_udf = ?4 AND ?4 <> ''`,
		q.Partition, account, q.SenderAddress, q.SenderUDF)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var pin string
		var rights shard.ContactRight
		if err := rows.Scan(&pin, &rights); err != nil {
			return err
		}
		standing.Contact = true
		standing.Rights |= rights
		if pin != "" && pin != q.SenderUDF { // so it was found by its address
			standing.PinnedUDF = pin
		}
	}
	if standing.Rights&shard.Block != 0 {
		standing.Rights = shard.Block
	}
	return rows.Err()
}
