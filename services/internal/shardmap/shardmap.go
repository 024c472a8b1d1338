// Package shardmap says which partition an account is in, and which shard has the partition.
//
// It promises that every gateway that read the same epoch sends an account to the same shard, and that a map is
// complete: each of the 4096 partitions has exactly one shard. It does not promise that the shard agrees: the fence in
// the shard's database decides, a misrouted call fails with mesh.WrongShard, and the caller refreshes (docs/design.md,
// Partitions and shards).
package shardmap

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Partitions is how many there are: a constant of the format, recorded in every database.
const Partitions = 4096

// Hash names the function of Of: recorded in every database beside Partitions.
const Hash = "sha256:mesh-partition:12"

// Of returns the partition of a canonical address: the first 12 bits of SHA-256("mesh-partition:" ‖ address).
func Of(address string) uint16 {
	sum := sha256.Sum256([]byte("mesh-partition:" + address))
	return binary.BigEndian.Uint16(sum[:]) >> 4
}

// Map gives each partition a shard. Immutable.
type Map struct {
	Epoch  uint64  `yaml:"epoch"`
	Shards []Shard `yaml:"shards"`
}

// Shard is a shard, the gRPC target that finds its processes, and its partitions.
type Shard struct {
	Name   string  `yaml:"name"`   // s00 …
	Target string  `yaml:"target"` // gRPC target: host:port, dns:///…, a static list
	Ranges []Range `yaml:"ranges"`
}

// Range is a range of partitions, both ends inclusive.
type Range struct {
	First uint16 `yaml:"first"`
	Last  uint16 `yaml:"last"`
}

// Lookup returns the shard of a partition. It scans: even a map of 64 shards after a hundred moves is some hundred
// comparisons, less than one hash of an address.
func (m *Map) Lookup(partition uint16) (Shard, bool) {
	for i := range m.Shards {
		for _, r := range m.Shards[i].Ranges {
			if r.First <= partition && partition <= r.Last {
				return m.Shards[i], true
			}
		}
	}
	return Shard{}, false
}

// Even spreads all partitions over shards with these targets, by name s00, s01 ….
func Even(epoch uint64, targets ...string) *Map {
	m := &Map{Epoch: epoch}
	for i, target := range targets {
		m.Shards = append(m.Shards, Shard{
			Name:   fmt.Sprintf("s%02d", i),
			Target: target,
			Ranges: []Range{{
				First: uint16(i * Partitions / len(targets)),
				Last:  uint16((i+1)*Partitions/len(targets) - 1),
			}},
		})
	}
	return m
}

// Parse reads a map in YAML. Unknown fields, a second document, overlaps and gaps are errors: a partition without a
// shard would be an outage of its accounts that no process notices at start.
func Parse(data []byte) (*Map, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	m := new(Map)
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("shard map: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("shard map: more than one document")
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("shard map: %w", err)
	}
	return m, nil
}

// Marshal writes the map as Parse reads it.
func (m *Map) Marshal() ([]byte, error) { return yaml.Marshal(m) }

// Check says what is wrong with a map: an epoch of 0, names or targets missing or twice, partitions with no or two shards.
func (m *Map) Check() error {
	if m.Epoch == 0 {
		return errors.New("epoch must be at least 1")
	}
	var owner [Partitions]string
	names := make(map[string]bool, len(m.Shards))
	for _, s := range m.Shards {
		switch {
		case s.Name == "":
			return errors.New("a shard has no name")
		case names[s.Name]:
			return fmt.Errorf("shard %s stands twice", s.Name)
		case s.Target == "":
			return fmt.Errorf("shard %s has no target", s.Name)
		}
		names[s.Name] = true
		for _, r := range s.Ranges {
			if r.First > r.Last || r.Last >= Partitions {
				return fmt.Errorf("shard %s: range %d to %d is not within 0 to %d", s.Name, r.First, r.Last, Partitions-1)
			}
			for p := r.First; p <= r.Last; p++ {
				if owner[p] != "" {
					return fmt.Errorf("partition %d belongs to %s and to %s", p, owner[p], s.Name)
				}
				owner[p] = s.Name
			}
		}
	}
	for p, name := range owner {
		if name == "" {
			return fmt.Errorf("partition %d belongs to no shard", p)
		}
	}
	return nil
}

// Stale is the inner error of a mesh.WrongShard: the caller's map is not the one by which the shard's partitions were set.
type Stale struct{ Epoch uint64 } // that the shard knows, 0: none

// Error implements error.
func (s Stale) Error() string { return fmt.Sprintf("the shard knows map epoch %d", s.Epoch) }
