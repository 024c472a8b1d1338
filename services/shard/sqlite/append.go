package sqlite

import (
	"bytes"
	"context"
	"crypto/sha512"
	"database/sql"
	"errors"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// how says what an append checks.
type how uint8

const (
	byEvent   how = iota // an update: state machine of catalogs, frame 0, duplicates of spools
	anyIndex             // Self: entries of a spool, the client's index means nothing
	anyEvent             // the service's own entry of mmms_Account
	frameZero            // no entries: only frame 0, if the container is absent
	arrival              // a message of another account: duplicates are looked for by sender, not here
)

// appender writes into one container.
type appender struct {
	tx                 *sql.Tx
	partition          uint16
	account, container int64
	name               string
	spool, again       bool // again: a duplicate in the spool is stored again
	peaks              *dare.Peaks
	received           int64
	insert, event      *sql.Stmt
}

// append stores an update whose entries have no faults: the index of each entry, or ok false and nothing stored when it is in
// conflict.
func (s *Store) append(ctx context.Context, tx *sql.Tx, partition uint16, account int64, u *shard.ContainerUpdate, h how) (indices []int64, ok bool, err error) {
	c := appender{tx: tx, partition: partition, account: account, name: u.Container, spool: rule.Spool(u.Container), again: h == arrival, received: s.now().Unix()}
	var frames int64
	var octets []byte
	err = tx.QueryRowContext(ctx, `SELECT container, frames, peaks FROM container WHERE partition = ? AND account = ? AND name = ?`,
		partition, account, u.Container).Scan(&c.container, &frames, &octets)
	absent := errors.Is(err, sql.ErrNoRows)
	if err != nil && !absent {
		return nil, false, err
	}
	if c.peaks, err = dare.ParsePeaks(frames, octets); err != nil {
		return nil, false, mesh.E("shard.append", mesh.Internal, err)
	}
	if u.Index != nil && *u.Index != frames || len(u.Digest) > 0 && !bytes.Equal(u.Digest, c.peaks.Digest()) {
		return nil, false, nil
	}
	entries := u.Entries
	if len(entries) == 0 && (h != frameZero || !absent) {
		return nil, true, nil
	}
	zero := h == byEvent && rule.Zero(entries)
	if zero && !absent {
		same, err := c.sameZero(ctx, &entries[0])
		if err != nil || !same {
			return nil, false, err
		}
		indices, entries, zero = []int64{0}, entries[1:], false
	}
	if h == byEvent && !c.spool {
		catalog := entries
		if zero {
			catalog = entries[1:]
		}
		if ok, err := c.lives(ctx, catalog); err != nil || !ok {
			return nil, false, err
		}
	}

	if absent {
		var have int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM container WHERE partition = ? AND account = ?`, partition, account).Scan(&have); err != nil {
			return nil, false, err
		}
		if have >= shard.MaxContainers {
			return nil, false, mesh.Errorf("shard.append", mesh.QuotaExceeded, "%d containers", have)
		}
		if err := tx.QueryRowContext(ctx, `INSERT INTO container (partition, account, container, name, frames, peaks)
			SELECT ?1, ?2, coalesce(max(container), 0) + 1, ?3, 0, x'' FROM container WHERE partition = ?1 AND account = ?2
			RETURNING container`, partition, account, u.Container).Scan(&c.container); err != nil {
			return nil, false, err
		}
	}
	if c.insert, err = tx.PrepareContext(ctx, `INSERT INTO frame (partition, account, container, idx, envelope_id, unique_id, event, message_type,
		received, own, payload_len, payload_digest, digest_written, tree_digest, header, trailer, payload)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`); err != nil {
		return nil, false, err
	}
	defer func() { _ = c.insert.Close() }()
	if absent && !zero {
		empty := sha512.Sum512(nil)
		if _, err := c.put(ctx, &shard.Entry{Header: []byte(shard.FrameZero), PayloadDigest: empty[:]}, true); err != nil {
			return nil, false, err
		}
	}
	for i := range entries {
		e := entries[i]
		if zero && i == 0 { // frame 0 is no entry of a catalog
			e.Event, e.UniqueID = shard.NoEvent, ""
		}
		index, err := c.add(ctx, &e)
		if err != nil {
			return nil, false, err
		}
		indices = append(indices, index)
	}
	octets, err = c.peaks.MarshalBinary()
	if err != nil {
		return nil, false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE container SET frames = ?, peaks = ? WHERE partition = ? AND account = ? AND container = ?`,
		c.peaks.Frames, octets, partition, account, c.container)
	return indices, true, err
}

// sameZero compares with the stored frame 0 (PROTOCOL D-24).
func (c *appender) sameZero(ctx context.Context, e *shard.Entry) (bool, error) {
	var header, trailer, digest []byte
	err := c.tx.QueryRowContext(ctx, `SELECT header, trailer, payload_digest FROM frame WHERE partition = ? AND account = ? AND container = ? AND idx = 0`,
		c.partition, c.account, c.container).Scan(&header, &trailer, &digest)
	return bytes.Equal(header, e.Header) && bytes.Equal(trailer, e.Trailer) && bytes.Equal(digest, e.PayloadDigest), err
}

// lives runs the state machine of a catalog over entries without storing them.
func (c *appender) lives(ctx context.Context, entries []shard.Entry) (bool, error) {
	var err error
	if c.event, err = c.tx.PrepareContext(ctx, `SELECT event FROM frame_current WHERE partition = ? AND account = ? AND container = ? AND unique_id = ?`); err != nil {
		return false, err
	}
	defer func() { _ = c.event.Close() }()
	alive := make(map[string]bool, len(entries))
	for i := range entries {
		e := &entries[i]
		lives, known := alive[e.UniqueID]
		if !known {
			var event shard.Event
			err := c.event.QueryRowContext(ctx, c.partition, c.account, c.container, e.UniqueID).Scan(&event)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return false, err
			}
			lives = err == nil && event != shard.Delete
		}
		if e.Event == shard.New && lives || e.Event == shard.Delete && !lives {
			return false, nil
		}
		alive[e.UniqueID] = e.Event != shard.Delete
	}
	return true, nil
}

// add appends an entry, unless it is a duplicate in a spool, and returns its index.
func (c *appender) add(ctx context.Context, e *shard.Entry) (int64, error) {
	if c.spool && !c.again && e.EnvelopeID != "" {
		// The index is named: for ORDER BY idx the planner would rather walk the primary key, the whole spool for each entry.
		var index int64
		err := c.tx.QueryRowContext(ctx, `SELECT idx FROM frame INDEXED BY frame_envelope WHERE partition = ? AND account = ? AND container = ? AND envelope_id = ?
			AND event = 0 AND payload_digest = ? ORDER BY idx LIMIT 1`, c.partition, c.account, c.container, e.EnvelopeID, e.PayloadDigest).Scan(&index)
		if !errors.Is(err, sql.ErrNoRows) {
			return index, err
		}
	}
	index, err := c.put(ctx, e, false)
	if err != nil || c.spool || e.UniqueID == "" {
		return index, err
	}
	if _, err := c.tx.ExecContext(ctx, `INSERT INTO frame_current (partition, account, container, unique_id, idx, event) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET idx = excluded.idx, event = excluded.event`,
		c.partition, c.account, c.container, e.UniqueID, index, e.Event); err != nil {
		return 0, err
	}
	switch c.name {
	case rule.Device:
		err = c.device(ctx, e, index)
	case rule.Contact:
		err = c.contact(ctx, e)
	}
	return index, err
}

func (c *appender) put(ctx context.Context, e *shard.Entry, own bool) (int64, error) {
	index, event, unique := c.peaks.Frames, e.Event, e.UniqueID
	if c.spool {
		event = shard.NoEvent
	}
	tree := c.peaks.Append(e.PayloadDigest)
	_, err := c.insert.ExecContext(ctx, c.partition, c.account, c.container, index, e.EnvelopeID, unique, event, e.MessageType,
		c.received, own, len(e.Payload), e.PayloadDigest, e.DigestWritten, tree[:], notNil(e.Header), orNil(e.Trailer), notNil(e.Payload))
	return index, err
}

// notNil makes an empty value of none: the driver stores nil as NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// orNil makes none of an empty value.
func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// device carries an entry of mmm_Device into the device table.
func (c *appender) device(ctx context.Context, e *shard.Entry, index int64) error {
	if e.Event == shard.Delete {
		if _, err := c.tx.ExecContext(ctx, `DELETE FROM device_auth WHERE partition = ? AND account = ? AND unique_id = ?`,
			c.partition, c.account, e.UniqueID); err != nil {
			return err
		}
		_, err := c.tx.ExecContext(ctx, `UPDATE device SET removed = 1, rights = 0, frame = ? WHERE partition = ? AND account = ? AND unique_id = ?`,
			index, c.partition, c.account, e.UniqueID)
		return err
	}
	d := e.Device
	if d == nil {
		d = new(shard.DeviceChange)
		if _, err := c.tx.ExecContext(ctx, `DELETE FROM device_auth WHERE partition = ? AND account = ? AND unique_id = ?`,
			c.partition, c.account, e.UniqueID); err != nil {
			return err
		}
	}
	if _, err := c.tx.ExecContext(ctx, `INSERT INTO device (partition, account, unique_id, device_udf, rights, connection_digest, frame, removed)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET device_udf = excluded.device_udf, rights = excluded.rights,
		connection_digest = excluded.connection_digest, frame = excluded.frame, removed = 0`,
		c.partition, c.account, e.UniqueID, d.DeviceUDF, d.Rights, d.ConnectionDigest, index); err != nil {
		return err
	}
	for _, kid := range []string{d.AuthKID, d.MeshAuthKID} {
		if kid == "" {
			continue
		}
		if _, err := c.tx.ExecContext(ctx, `INSERT INTO device_auth (partition, account, kid, unique_id) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET unique_id = excluded.unique_id`, c.partition, c.account, kid, e.UniqueID); err != nil {
			return err
		}
	}
	if d.SignKID == "" {
		return nil
	}
	_, err := c.tx.ExecContext(ctx, `INSERT INTO device_sign (partition, account, kid, unique_id, curve, key) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET unique_id = excluded.unique_id`, c.partition, c.account, d.SignKID, e.UniqueID, d.SignCurve, notNil(d.SignKey))
	return err
}
