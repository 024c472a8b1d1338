// Package shardmap says which partition an account is in, and which shard has the partition.
package shardmap

// Partitions is how many there are: a constant of the format, recorded in every database.
const Partitions = 4096

// Of returns the partition of a canonical address: the first 12 bits of SHA-256("mesh-partition:" ‖ address).
func Of(address string) uint16 { panic("stub") }

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

// Lookup returns the shard of a partition.
func (m *Map) Lookup(partition uint16) (Shard, bool) { panic("stub") }

// Even spreads all partitions over shards with these targets, by name s00, s01 ….
func Even(epoch uint64, targets ...string) *Map { panic("stub") }

// Source is where the map comes from: a file now, Consul KV too later.
type Source interface {
	// Map returns the newest map known. Never nil after construction.
	Map() *Map
	// Refresh reads the source again: a shard said that the map is stale.
	Refresh() error
}
