package shardmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Source is where the map comes from: a file now, Consul KV too later.
type Source interface {
	// Map returns the newest map known. Never nil after construction.
	Map() *Map
	// Refresh reads the source again: a shard said that the map is stale.
	Refresh() error
}

// Static is a Source that never changes: `meshd dev` and tests, whose processes live and die together.
type Static struct{ m *Map }

// NewStatic checks and holds m.
func NewStatic(m *Map) (*Static, error) {
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("shard map: %w", err)
	}
	return &Static{m: m}, nil
}

// Map implements Source.
func (s *Static) Map() *Map { return s.m }

// Refresh implements Source; there is nothing to read.
func (s *Static) Refresh() error { return nil }

// pollInterval: a moved partition is learnt at once from a WrongShard; polling only serves operators who watch.
const pollInterval = 2 * time.Second

// File is a Source that reads a YAML file, also one of a Kubernetes ConfigMap, which is swapped as a symbolic link.
type File struct {
	path    string
	current atomic.Pointer[Map]

	mu  sync.Mutex
	sum [sha256.Size]byte // of the octets that current came from
}

// OpenFile reads the map for the first time.
func OpenFile(path string) (*File, error) {
	f := &File{path: path}
	if err := f.Refresh(); err != nil {
		return nil, err
	}
	return f, nil
}

// Map implements Source.
func (f *File) Map() *Map { return f.current.Load() }

// Refresh implements Source. A file that does not parse, an epoch that goes back, or other contents under the same
// epoch leave the map as it was: two gateways that differ about one epoch would never find out.
func (f *File) Refresh() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("shard map: %w", err)
	}
	sum := sha256.Sum256(data)
	old := f.current.Load()
	if old != nil && sum == f.sum {
		return nil
	}
	m, err := Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if old != nil {
		if m.Epoch < old.Epoch {
			return fmt.Errorf("%s: epoch went back from %d to %d", f.path, old.Epoch, m.Epoch)
		}
		if m.Epoch == old.Epoch && !equal(m, old) {
			return fmt.Errorf("%s: changed without a new epoch (%d)", f.path, m.Epoch)
		}
	}
	f.sum = sum
	f.current.Store(m)
	return nil
}

// Watch refreshes until ctx ends; report gets each error once.
func (f *File) Watch(ctx context.Context, report func(error)) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := f.Refresh()
		if err == nil {
			last = ""
		} else if err.Error() != last {
			last = err.Error()
			report(err)
		}
	}
}

// equal compares two maps by what they say, not by how the file is written.
func equal(a, b *Map) bool {
	x, err1 := a.Marshal()
	y, err2 := b.Marshal()
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
