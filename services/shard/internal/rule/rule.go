// Package rule holds what every store decides alike and without looking at data: the faults of an entry, the default of
// Atomic, the key of deduplication and the compact form of outcomes.
package rule

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
)

// Names of containers that the stores know by themselves.
const (
	Device    = "mmm_Device"
	Contact   = "mmm_Contact"
	Inbound   = "mmm_Inbound"
	Local     = "mmm_Local"
	Outbound  = "mmm_Outbound"
	Accounts  = "mmms_Account"
	Incidents = "mmms_Incident"
)

// NewSpools are made with an account (PROTOCOL D-17).
func NewSpools() []string { return []string{Inbound, Local, Outbound} }

// Extended codes (PROTOCOL §5).
const (
	MessageInvalid = 13 // of an entry that cannot be stored
	Blocked        = 17 // of a message for an account that is blocked
)

// Spool says whether a container is append-only without keys (DATA §7).
func Spool(container string) bool {
	switch container {
	case Inbound, Outbound, Local, "mmm_Archive", Incidents:
		return true
	}
	return false
}

// Faults returns the extended code of the fault that each entry has by itself, 0 for none, over all updates, then self.
func Faults(updates []shard.ContainerUpdate, self []shard.Entry) []uint16 {
	var faults []uint16
	for _, u := range updates {
		for i := range u.Entries {
			faults = append(faults, fault(Spool(u.Container), i, &u.Entries[i]))
		}
	}
	for i := range self {
		faults = append(faults, fault(true, 0, &self[i]))
	}
	return faults
}

func fault(spool bool, position int, e *shard.Entry) uint16 {
	zero := e.Index != nil && *e.Index == 0
	switch {
	case e.Reject != 0:
		return e.Reject
	case zero && position > 0,
		!name(e.EnvelopeID), !name(e.UniqueID), !name(e.MessageType),
		e.Event > shard.Delete,
		e.Device != nil && !names(e.Device),
		e.Contact != nil && (!name(e.Contact.ProfileUDF) || slices.ContainsFunc(Addresses(e.Contact), func(a string) bool { return !name(a) })):
		return MessageInvalid
	case !spool && !zero && (e.UniqueID == "" || e.Event == shard.NoEvent):
		return MessageInvalid
	}
	return 0
}

// Name says whether a text can stand in the database: others are the name of nothing.
func Name(s string) bool { return name(s) }

func name(s string) bool { return len(s) <= shard.MaxName && text(s) }

// text says whether a text of any length can stand in the database.
func text(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func names(d *shard.DeviceChange) bool {
	for _, s := range []string{d.DeviceUDF, d.AuthKID, d.MeshAuthKID, d.SignKID, d.SignCurve} {
		if !name(s) {
			return false
		}
	}
	return true
}

// Zero says whether the entries of an update begin with a frame 0 of the client's.
func Zero(entries []shard.Entry) bool {
	return len(entries) > 0 && entries[0].Index != nil && *entries[0].Index == 0
}

// Atomic says whether an application is all or nothing (PROTOCOL D-22).
func Atomic(a *shard.Application) bool {
	if a.Atomic != nil {
		return *a.Atomic
	}
	conditional := 0
	for i := range a.Updates {
		if a.Updates[i].Index != nil {
			conditional++
		}
	}
	return conditional > 1
}

// Check finds what no caller of ours sends; an error here is a bug of the caller.
func Check(partition uint16, updates []shard.ContainerUpdate, self []shard.Entry) error {
	if partition >= shardmap.Partitions {
		return fmt.Errorf("no partition %d", partition)
	}
	for _, u := range updates {
		if u.Container == "" || len(u.Container) > 128 || !name(u.Container) || strings.HasPrefix(u.Container, "mmms_") {
			return fmt.Errorf("no container name: %q", u.Container)
		}
		if err := digests(u.Entries); err != nil {
			return err
		}
	}
	return digests(self)
}

func digests(entries []shard.Entry) error {
	for i := range entries {
		if entries[i].Reject == 0 && len(entries[i].PayloadDigest) != 64 {
			return fmt.Errorf("payload digest of %d octets", len(entries[i].PayloadDigest))
		}
	}
	return nil
}

// DedupKey is the key under which a request is remembered; nil: it is not. It is a digest, because request identifiers have
// any length.
func DedupKey(c *shard.Caller) []byte {
	if len(c.RequestID) == 0 {
		return nil
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.Domain), []byte(c.AuthKID), c.RequestID} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return h.Sum(nil)
}

// Pack puts results into runs of four numbers: outcome, code, first index, count. Accepted entries of one run have
// consecutive indices.
func Pack(results []shard.Result) []int64 {
	var runs []int64
	for _, r := range results {
		if n := len(runs); n > 0 {
			last := runs[n-4:]
			same := last[0] == int64(r.Outcome) && last[1] == int64(r.Code)
			if same && (r.Outcome != shard.Accept || last[2]+last[3] == r.Index) {
				last[3]++
				continue
			}
		}
		runs = append(runs, int64(r.Outcome), int64(r.Code), r.Index, 1)
	}
	return runs
}

// Unpack is the inverse of Pack.
func Unpack(runs []int64) ([]shard.Result, error) {
	if len(runs)%4 != 0 {
		return nil, fmt.Errorf("stored outcome of %d numbers", len(runs))
	}
	results := []shard.Result{}
	for ; len(runs) > 0; runs = runs[4:] {
		for i := range runs[3] {
			r := shard.Result{Outcome: shard.Outcome(runs[0]), Code: uint16(runs[1])}
			if r.Outcome == shard.Accept {
				r.Index = runs[2] + i
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// CreationFailure is the error of an account whose initial updates cannot be stored.
func CreationFailure(op string, results []shard.Result) error {
	for _, r := range results {
		if r.Outcome == shard.Reject {
			return mesh.Errorf(op, mesh.KindOfCode(mesh.Code{Status: 400, Extended: int(r.Code)}), "an initial entry is rejected")
		}
	}
	return mesh.Errorf(op, mesh.Conflict, "an initial update is in conflict")
}

// CheckPartitions finds what no caller of SetPartitions sends.
func CheckPartitions(first, last uint16, state shard.PartitionState, epoch uint64) error {
	if first > last || last >= shardmap.Partitions || state < shard.PartitionOpen || state > shard.PartitionMoved || epoch > math.MaxInt64 {
		return fmt.Errorf("partitions %d to %d, state %d, epoch %d", first, last, state, epoch)
	}
	return nil
}
