package make1

import (
	"bytes"
	"cmp"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Everything sealed under a ring: 4-octet key id ‖ 24-octet random nonce ‖ XChaCha20-Poly1305 ciphertext.
const ringOverhead = kidLen + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// The two uses of a ring are kept apart by aad and by type octet.
const (
	ticketAAD  = "mmm-make1 ticket\x00"
	pageKeyAAD = "mmm-pagekey\x00"
)

// pruneAfter is how much longer than the life of what it sealed a key is kept: a gateway that re-reads the ring
// late may seal with the old key for a while.
const pruneAfter = 10 * time.Minute

// maxRing bounds a ring file: hourly rotation with the longest ticket life of 24 h keeps 26 entries.
const maxRing = 1000

// RingEntry is one key of the ring file.
type RingEntry struct {
	ID        jbcd.Binary `json:"id"`         // 4 octets
	Key       jbcd.Binary `json:"key"`        // 32 octets
	NotBefore jbcd.Time   `json:"not_before"` // seals from then on, until a newer one does
}

// NewRingEntry makes a random one.
func NewRingEntry(notBefore time.Time) RingEntry {
	e := RingEntry{
		ID:        make([]byte, kidLen),
		Key:       make([]byte, chacha20poly1305.KeySize),
		NotBefore: jbcd.Time{Time: fileTime(notBefore)},
	}
	rand.Read(e.ID)
	rand.Read(e.Key)
	return e
}

// fileTime is t as the file keeps it, so that a ring orders its entries as its file's readers do.
func fileTime(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// Ring is the ticket key ring of one domain (D-53). Its entries never change and it may be used concurrently. The newest
// entry that is valid seals; all open, also those that are not valid yet, since clocks differ.
type Ring struct {
	keys   []ringKey // by not_before, then id
	memory *memory
}

type ringKey struct {
	entry RingEntry
	aead  cipher.AEAD
}

// NewRing checks and holds entries: at least one, ids different.
func NewRing(entries []RingEntry) (*Ring, error) {
	if len(entries) == 0 || len(entries) > maxRing {
		return nil, fmt.Errorf("make1: ring of %d entries", len(entries))
	}
	r := &Ring{keys: make([]ringKey, 0, len(entries)), memory: new(memory)}
	for i, e := range entries {
		if len(e.ID) != kidLen || len(e.Key) != chacha20poly1305.KeySize {
			return nil, fmt.Errorf("make1: ring entry %d: id of %d octets, want %d; key of %d octets, want %d",
				i, len(e.ID), kidLen, len(e.Key), chacha20poly1305.KeySize)
		}
		if e.NotBefore.IsZero() {
			return nil, fmt.Errorf("make1: ring entry %d without not_before", i)
		}
		if r.key(e.ID) != nil {
			return nil, fmt.Errorf("make1: ring entry %d: id %x twice", i, []byte(e.ID))
		}
		aead, err := chacha20poly1305.NewX(e.Key)
		if err != nil {
			return nil, fmt.Errorf("make1: ring entry %d: %w", i, err)
		}
		e.ID, e.Key = bytes.Clone(e.ID), bytes.Clone(e.Key)
		e.NotBefore.Time = fileTime(e.NotBefore.Time)
		r.keys = append(r.keys, ringKey{e, aead})
	}
	slices.SortFunc(r.keys, func(a, b ringKey) int {
		return cmp.Or(a.entry.NotBefore.Compare(b.entry.NotBefore.Time), bytes.Compare(a.entry.ID, b.entry.ID))
	})
	return r, nil
}

// ParseRing reads a ring file: a JSON array of {id, key, not_before}. Its errors show no key.
func ParseRing(file []byte) (*Ring, error) {
	var entries []RingEntry
	if err := jbcd.Unmarshal(file, &entries); err != nil {
		return nil, fmt.Errorf("make1: ring file: %w", err)
	}
	return NewRing(entries)
}

// Marshal writes the ring file, oldest entry first. It holds the keys: mode 0600, secret store.
func (r *Ring) Marshal() ([]byte, error) { return jbcd.Marshal(r.Entries()) }

// Entries returns the entries, oldest first.
func (r *Ring) Entries() []RingEntry {
	entries := make([]RingEntry, len(r.keys))
	for i, k := range r.keys {
		entries[i] = k.entry
	}
	return entries
}

// With returns the ring with one more entry. Give it a NotBefore that lets every gateway re-read the file first.
func (r *Ring) With(e RingEntry) (*Ring, error) { return NewRing(append(r.Entries(), e)) }

// Prune returns the ring without the entries that stopped sealing longer than lifetime + 10 min before now.
// lifetime is the longest of what the ring sealed. The newest entry always stays.
func (r *Ring) Prune(now time.Time, lifetime time.Duration) *Ring {
	first := 0
	for first+1 < len(r.keys) && now.Sub(r.keys[first+1].entry.NotBefore.Time) > lifetime+pruneAfter {
		first++
	}
	return &Ring{keys: slices.Clone(r.keys[first:]), memory: new(memory)}
}

func (r *Ring) key(id []byte) *ringKey {
	for i := range r.keys { // a handful; ids are no secret
		if bytes.Equal(r.keys[i].entry.ID, id) {
			return &r.keys[i]
		}
	}
	return nil
}

// sealing returns the newest entry that is valid at now.
func (r *Ring) sealing(now time.Time) *ringKey {
	for i := len(r.keys) - 1; i >= 0; i-- {
		if !r.keys[i].entry.NotBefore.After(now) {
			return &r.keys[i]
		}
	}
	return nil
}

// seal seals plain under aad = use ‖ key id ‖ more.
func (r *Ring) seal(now time.Time, plain []byte, use string, more string) ([]byte, error) {
	k := r.sealing(now)
	if k == nil {
		return nil, errors.New("no ring entry is valid yet")
	}
	out := make([]byte, kidLen+chacha20poly1305.NonceSizeX, len(plain)+ringOverhead)
	copy(out, k.entry.ID)
	nonce := out[kidLen:]
	rand.Read(nonce)
	return k.aead.Seal(out, nonce, plain, ringAAD(k, use, more)), nil
}

var errRing = errors.New("no ring entry opens it")

func (r *Ring) open(sealed []byte, use string, more string) ([]byte, error) {
	if len(sealed) < ringOverhead || len(sealed) > maxTicket {
		return nil, errRing
	}
	k := r.key(sealed[:kidLen])
	if k == nil {
		return nil, errRing
	}
	rest := sealed[kidLen:]
	plain, err := k.aead.Open(nil, rest[:chacha20poly1305.NonceSizeX], rest[chacha20poly1305.NonceSizeX:], ringAAD(k, use, more))
	if err != nil {
		return nil, errRing
	}
	return plain, nil
}

func ringAAD(k *ringKey, use string, more string) []byte {
	return cat([]byte(use), k.entry.ID, []byte(more))
}

// SealTicket seals content under the newest entry valid at now. Errors are of kind mesh.Internal.
func (r *Ring) SealTicket(c *TicketContent, now time.Time) ([]byte, error) {
	plain, err := c.encode()
	if err == nil {
		var ticket []byte
		if ticket, err = r.seal(now, plain, ticketAAD, ""); err == nil {
			return ticket, nil
		}
	}
	return nil, mesh.E("make1.SealTicket", mesh.Internal, err)
}

// Issue returns what Exchange.Answer calls: a ticket with content c around the fresh secret.
func (r *Ring) Issue(c TicketContent, now time.Time) Issue {
	return func(secret []byte) ([]byte, time.Time, error) {
		c.Secret = secret
		ticket, err := r.SealTicket(&c, now)
		return ticket, c.Expires, err
	}
}

func (r *Ring) openTicket(ticket []byte) (*TicketContent, error) {
	plain, err := r.open(ticket, ticketAAD, "")
	if err != nil {
		return nil, err
	}
	return decodeTicket(plain)
}

// SealPageKey seals the state of a cut Download for the caller whose key is authKID (D-19). Errors are of
// kind mesh.Internal.
func (r *Ring) SealPageKey(state []byte, authKID string, now time.Time) ([]byte, error) {
	const op = "make1.SealPageKey"
	if len(state) >= maxTicket-ringOverhead {
		return nil, mesh.Errorf(op, mesh.Internal, "page state of %d octets", len(state))
	}
	key, err := r.seal(now, cat([]byte{typePageKey}, state), pageKeyAAD, authKID)
	if err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	return key, nil
}

// OpenPageKey opens it for the same caller. Errors are of kind mesh.PageKeyInvalid; the end of its life is in
// the state and the caller's to check.
func (r *Ring) OpenPageKey(pageKey []byte, authKID string) ([]byte, error) {
	plain, err := r.open(pageKey, pageKeyAAD, authKID)
	if err == nil && (len(plain) == 0 || plain[0] != typePageKey) {
		err = errRing
	}
	if err != nil {
		return nil, mesh.E("make1.OpenPageKey", mesh.PageKeyInvalid, err)
	}
	return plain[1:], nil
}
