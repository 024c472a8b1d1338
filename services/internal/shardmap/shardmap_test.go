package shardmap_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// The expected numbers were made with: printf 'mesh-partition:%s' ADDRESS | sha256sum | cut -c1-3
func TestOf(t *testing.T) {
	for address, want := range map[string]uint16{
		"alice@alpha.example": 0x00f,
		"bob@beta.example":    0xe8e,
		"":                    0xb8b,
	} {
		if got := shardmap.Of(address); got != want {
			t.Errorf("Of(%q) = %#x, want %#x", address, got, want)
		}
	}
}

func TestEven(t *testing.T) {
	for n := 1; n <= 7; n++ {
		targets := make([]string, n)
		for i := range targets {
			targets[i] = "127.0.0.1:1"
		}
		m := shardmap.Even(1, targets...)
		if err := m.Check(); err != nil {
			t.Fatalf("%d shards: %v", n, err)
		}
		least, most := shardmap.Partitions, 0
		for _, s := range m.Shards {
			size := int(s.Ranges[0].Last) - int(s.Ranges[0].First) + 1
			least, most = min(least, size), max(most, size)
		}
		if most-least > 1 {
			t.Errorf("%d shards: sizes from %d to %d", n, least, most)
		}
	}
	m := shardmap.Even(1, "a", "b")
	for partition, want := range map[uint16]string{0: "s00", 2047: "s00", 2048: "s01", 4095: "s01"} {
		s, ok := m.Lookup(partition)
		if !ok || s.Name != want {
			t.Errorf("Lookup(%d) = %s, %v, want %s", partition, s.Name, ok, want)
		}
	}
	if _, ok := m.Lookup(4096); ok {
		t.Error("Lookup(4096) found a shard")
	}
}

const good = `epoch: 3
shards:
  - name: s00
    target: dns:///s00.mesh.internal:7001
    ranges: [{first: 0, last: 99}, {first: 200, last: 4095}]
  - name: s01
    target: 10.0.0.2:7001
    ranges: [{first: 100, last: 199}]
`

func TestParse(t *testing.T) {
	m, err := shardmap.Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := shardmap.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("written and read again (-want +got):\n%s", diff)
	}

	for name, c := range map[string]struct{ data, want string }{
		"unknown field": {good + "colour: red\n", "colour"},
		"two documents": {good + "---\nepoch: 4\n", "more than one document"},
		"epoch 0":       {strings.Replace(good, "epoch: 3", "epoch: 0", 1), "epoch"},
		"gap":           {strings.Replace(good, "last: 99", "last: 98", 1), "partition 99 belongs to no shard"},
		"overlap":       {strings.Replace(good, "first: 100", "first: 99", 1), "partition 99 belongs to s00 and to s01"},
		"out of range":  {strings.Replace(good, "last: 4095", "last: 4096", 1), "not within"},
		"backwards":     {strings.Replace(good, "first: 100, last: 199", "first: 199, last: 100", 1), "not within"},
		"name twice":    {strings.Replace(good, "name: s01", "name: s00", 1), "twice"},
		"no target":     {strings.Replace(good, "target: 10.0.0.2:7001", "target: ''", 1), "no target"},
		"empty":         {"", "EOF"},
	} {
		_, err := shardmap.Parse([]byte(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map.yaml")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := shardmap.OpenFile(path); err == nil {
		t.Fatal("opened a map that does not exist")
	}
	write(good)
	f, err := shardmap.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}

	refuse := func(what, content, want string) {
		t.Helper()
		before := f.Map()
		write(content)
		if err := f.Refresh(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", what, err, want)
		}
		if f.Map() != before {
			t.Errorf("%s: the map was replaced", what)
		}
	}
	refuse("older epoch", strings.Replace(good, "epoch: 3", "epoch: 2", 1), "went back")
	refuse("same epoch, other contents", strings.Replace(good, "10.0.0.2", "10.0.0.9", 1), "without a new epoch")
	refuse("garbage", "{", "map")

	write("# a comment changes nothing\n" + good)
	if err := f.Refresh(); err != nil {
		t.Errorf("comment: %v", err)
	}
	write(strings.NewReplacer("epoch: 3", "epoch: 4", "10.0.0.2", "10.0.0.9").Replace(good))
	if err := f.Refresh(); err != nil {
		t.Fatal(err)
	}
	if s, _ := f.Map().Lookup(150); f.Map().Epoch != 4 || s.Target != "10.0.0.9:7001" {
		t.Errorf("after refresh: epoch %d, target %s", f.Map().Epoch, s.Target)
	}
}

func TestFileWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f, err := shardmap.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		reports := make(chan error, 10)
		done := make(chan struct{})
		go func() { defer close(done); f.Watch(ctx, func(err error) { reports <- err }) }()

		if err := os.WriteFile(path, []byte("epoch: 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		<-reports
		if err := os.WriteFile(path, []byte(strings.Replace(good, "epoch: 3", "epoch: 5", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		for f.Map().Epoch != 5 { // the clock of the bubble advances only when Watch sleeps too
			time.Sleep(time.Second)
		}
		cancel()
		<-done
		if len(reports) != 0 {
			t.Errorf("%d more reports: an error was reported more than once", len(reports))
		}
	})
}
