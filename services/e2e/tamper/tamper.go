// Package tamper changes octets in the database of a shard, as a provider or a thief of its disk could, for tests and the
// demo that show that a client notices. It is no part of the service.
package tamper

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "modernc.org/sqlite"             // driver "sqlite"
)

// Database is an open database of a shard.
type Database struct {
	db     *sql.DB
	driver string
}

// Open opens a database: a PostgreSQL URL, or the path of an embedded database's file.
func Open(where string) (*Database, error) {
	driver, dsn := "sqlite", "file:"+where+"?_pragma=busy_timeout(5000)"
	if strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "host=") {
		driver, dsn = "pgx", where
	}
	db, err := sql.Open(driver, dsn)
	return &Database{db, driver}, err
}

// Close closes it.
func (d *Database) Close() error { return d.db.Close() }

// query writes $n placeholders for either driver.
func (d *Database) query(q string) string {
	if d.driver == "sqlite" {
		return strings.ReplaceAll(q, "$", "?")
	}
	return q
}

// frame names a row.
type frame struct{ partition, account, container, idx int64 }

// content is what a swap moves: everything but the place and the tree digest.
type content struct {
	header, trailer, payload, digest []byte
	length                           int64
	envelopeID, uniqueID             string
}

const where = ` WHERE partition = $1 AND account = $2 AND container = $3 AND idx = $4`

// find returns the row of a frame; ok is false when this database does not hold the account.
func (d *Database) find(address, container string, index int64) (f frame, ok bool, err error) {
	f.idx = index
	err = d.db.QueryRow(d.query(`SELECT c.partition, c.account, c.container FROM container c JOIN account a ON a.partition = c.partition AND a.account = c.account
		WHERE a.address = $1 AND c.name = $2 AND c.frames > $3`), address, container, index).Scan(&f.partition, &f.account, &f.container)
	if err == sql.ErrNoRows {
		return f, false, nil
	}
	return f, err == nil, err
}

func (d *Database) read(f frame) (c content, err error) {
	err = d.db.QueryRow(d.query(`SELECT header, trailer, payload, payload_digest, payload_len, envelope_id, unique_id FROM frame`+where), f.partition, f.account, f.container, f.idx).
		Scan(&c.header, &c.trailer, &c.payload, &c.digest, &c.length, &c.envelopeID, &c.uniqueID)
	return c, err
}

func (d *Database) write(f frame, c content) error {
	var header any = c.header
	if d.driver == "pgx" { // a text column there
		header = string(c.header)
	}
	r, err := d.db.Exec(d.query(`UPDATE frame SET header = $5, trailer = $6, payload = $7, payload_digest = $8, payload_len = $9, envelope_id = $10, unique_id = $11`+where),
		f.partition, f.account, f.container, f.idx, header, c.trailer, c.payload, c.digest, c.length, c.envelopeID, c.uniqueID)
	if err != nil {
		return err
	}
	if n, _ := r.RowsAffected(); n != 1 {
		return fmt.Errorf("%d rows changed, want 1", n)
	}
	return nil
}

// What can be changed.
const (
	Payload = "payload" // one octet of the stored payload
	Header  = "header"  // one octet of the header: a letter of the UniqueID in its ContentMetaData
	Order   = "order"   // this frame and the next change places
)

// Change changes one thing in a frame of a container; undo puts it back. ok is false when the database does not hold the
// account.
func (d *Database) Change(what, address, container string, index int64) (undo func() error, ok bool, err error) {
	f, ok, err := d.find(address, container, index)
	if err != nil || !ok {
		return nil, ok, err
	}
	old, err := d.read(f)
	if err != nil {
		return nil, true, err
	}
	changed := old
	switch what {
	case Payload:
		changed.payload = bytes.Clone(old.payload)
		changed.payload[len(changed.payload)/2] ^= 1
	case Header:
		if changed.header, err = changeMeta(old.header); err != nil {
			return nil, true, err
		}
	case Order:
		next := f
		next.idx++
		other, err := d.read(next)
		if err != nil {
			return nil, true, err
		}
		if err := d.write(f, other); err != nil {
			return nil, true, err
		}
		if err := d.write(next, old); err != nil {
			return nil, true, err
		}
		return func() error {
			if err := d.write(f, old); err != nil {
				return err
			}
			return d.write(next, other)
		}, true, nil
	default:
		return nil, true, fmt.Errorf("cannot change %q", what)
	}
	if err := d.write(f, changed); err != nil {
		return nil, true, err
	}
	return func() error { return d.write(f, old) }, true, nil
}

// changeMeta changes one letter of the UniqueID inside a header's ContentMetaData; the header still parses.
func changeMeta(header []byte) ([]byte, error) {
	const member = `"ContentMetaData":"`
	at := bytes.Index(header, []byte(member))
	if at < 0 {
		return nil, errors.New("the header has no ContentMetaData")
	}
	at += len(member)
	end := at + bytes.IndexByte(header[at:], '"')
	meta, err := base64.RawURLEncoding.DecodeString(string(header[at:end]))
	if err != nil {
		return nil, err
	}
	const unique = `"UniqueID":"`
	letter := bytes.Index(meta, []byte(unique)) + len(unique) + 2
	if letter < len(unique)+2 || letter >= len(meta) {
		return nil, errors.New("the ContentMeta has no UniqueID")
	}
	if meta[letter] == 'A' {
		meta[letter] = 'B'
	} else {
		meta[letter] = 'A'
	}
	return slices.Concat(header[:at], []byte(base64.RawURLEncoding.EncodeToString(meta)), header[end:]), nil
}

// Search reads every frame of the database and returns the first word that stands in one, in the clear or in base64;
// empty when there is none.
func (d *Database) Search(words []string) (string, error) {
	rows, err := d.db.Query(`SELECT header, trailer, payload FROM frame`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var parts [3][]byte
		if err := rows.Scan(&parts[0], &parts[1], &parts[2]); err != nil {
			return "", err
		}
		for _, part := range parts {
			for _, w := range words {
				if bytes.Contains(part, []byte(w)) || containsEncoded(part, w) {
					return w, nil
				}
			}
		}
	}
	return "", rows.Err()
}

// containsEncoded says whether base64url in text holds the word, at any of the three alignments.
func containsEncoded(text []byte, word string) bool {
	for shift := range 3 {
		encoded := base64.RawURLEncoding.EncodeToString(append(make([]byte, shift), word...))
		// The first and last characters depend on the neighbours.
		if inner := encoded[shift+1 : len(encoded)-2]; bytes.Contains(text, []byte(inner)) {
			return true
		}
	}
	return false
}
