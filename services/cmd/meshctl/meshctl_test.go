package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// meshctl runs a command line and returns what it prints and its exit code.
func meshctl(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		return out.String() + err.Error(), exitCode(err)
	}
	return out.String(), 0
}

// want runs a command line and checks exit code and text.
func want(t *testing.T, code int, text string, args ...string) string {
	t.Helper()
	out, got := meshctl(t, args...)
	if got != code || !strings.Contains(out, text) {
		t.Errorf("meshctl %s: exit code %d, want %d; output without %q:\n%s", strings.Join(args, " "), got, code, text, out)
	}
	return out
}

func TestUsage(t *testing.T) {
	want(t, 0, "Setting up, in this order", "--help")
	for _, args := range [][]string{
		{"bogus"},
		{"account", "bogus"},
		{"account", "where"},
		{"account", "where", "alice@alpha.example"},
		{"account", "where", "nobody"},
		{"shardmap", "show", "--colour"},
		{"shardmap", "show"},
		{"pki", "create"},
		{"fsck"},
		{"tickets", "rotate"},
		{"dev", "stop", "alpha.example"},
		{"fsck", "--sqlite", "a", "--url-file", "b"},
	} {
		want(t, 2, "", args...)
	}
	want(t, 3, "no such file", "fsck", "--sqlite", filepath.Join(t.TempDir(), "none.db"))
	want(t, 3, "no such file", "shardmap", "show", "--shard-map", filepath.Join(t.TempDir(), "none.yaml"))
}

// An operator's look at running providers.
func TestLooking(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := client.Create(ctx, client.Config{Dir: t.TempDir(), StateFile: m.StateFile}, "alice@"+meshtest.Alpha, client.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()

	out := want(t, 0, "", "account", "where", "Alice@Alpha.Example", "--state", m.StateFile, "-o", "json")
	var found location
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	if found.Address != "alice@"+meshtest.Alpha || found.Shard != "s00" || found.State != "connected" || found.Account != 1 || len(found.Containers) < 3 {
		t.Errorf("%+v", found)
	}
	p := m.Provider(t, meshtest.Alpha)
	want(t, 0, mesh.SpoolInbound, "account", "where", "alice@alpha.example", "--shard-map", p.ShardMap, "--pki", p.PKI)
	want(t, 3, "", "account", "where", "nobody@alpha.example", "--state", m.StateFile)
	want(t, 3, "", "account", "where", "alice@gamma.example", "--state", m.StateFile)
	want(t, 0, "2048-4095", "shardmap", "show", "--state", m.StateFile, "--provider", meshtest.Beta)
	want(t, 2, "--provider", "shardmap", "show", "--state", m.StateFile)
	want(t, 0, "0-2047", "partitions", "show", "--state", m.StateFile, "--provider", meshtest.Alpha)
	want(t, 2, "want table or json", "partitions", "show", "--state", m.StateFile, "--provider", meshtest.Alpha, "-o", "xml")
	// The certificates of one provider open nothing at another.
	want(t, 8, "", "account", "where", "alice@alpha.example", "--shard-map", p.ShardMap, "--pki", m.Provider(t, meshtest.Beta).PKI)

	want(t, 0, "", "fsck", "--sqlite", p.Shards[0].Database)
	want(t, 0, "", "dev", "stop", meshtest.Alpha, "--state", m.StateFile)
	want(t, 8, "does not answer", "partitions", "show", "--state", m.StateFile, "--provider", meshtest.Alpha)
	want(t, 0, "", "dev", "start", meshtest.Alpha, "--state", m.StateFile)
	want(t, 0, "connected", "account", "where", "alice@alpha.example", "--state", m.StateFile)
	want(t, 3, "no such provider", "dev", "stop", "gamma.example", "--state", m.StateFile)
}

// D-53: rotation keeps what may still be needed and destroys the rest.
func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.json")
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ring := func() *make1.Ring {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := make1.ParseRing(data)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := rotate(path, time.Hour, 5*time.Minute, start); err != nil {
		t.Fatal(err)
	}
	first := ring().Entries()
	if len(first) != 1 || first[0].NotBefore.After(start) {
		t.Fatalf("the first ring: %v; want one key that seals at once", first)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ring file: %v, %v; want mode 0600", info, err)
	}
	for hour := 1; hour <= 4; hour++ {
		if _, err := rotate(path, time.Hour, 5*time.Minute, start.Add(time.Duration(hour)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	entries := ring().Entries()
	// At 4:00 the key of 0:00 stopped sealing at 1:05, that of 1:05 at 2:05; that of 2:05 at 3:05, less than 1:10 ago.
	if len(entries) != 3 || !entries[0].NotBefore.Equal(start.Add(2*time.Hour+5*time.Minute)) {
		t.Errorf("after four hours: %v", entries)
	}
	if !entries[2].NotBefore.Equal(start.Add(4*time.Hour + 5*time.Minute)) {
		t.Errorf("the newest seals from %v, want when every gateway has re-read the file", entries[2].NotBefore)
	}
	out := want(t, 0, "SEALS FROM", "tickets", "rotate", "--ring", path)
	for _, e := range ring().Entries() {
		if strings.Contains(out, string(e.Key)) {
			t.Error("a key is printed")
		}
	}
	if err := os.WriteFile(path, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rotate(path, time.Hour, 0, start); err == nil {
		t.Error("a ring that cannot be read was replaced")
	}
	want(t, 2, "--life", "tickets", "rotate", "--ring", path, "--life", "48h")
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{mesh.E("op", mesh.UnknownAccount, nil), 3},
		{mesh.E("op", mesh.NotAuthorized, nil), 4},
		{mesh.E("op", mesh.Conflict, nil), 5},
		{checkFailed{errors.New("x")}, 6},
		{mesh.E("op", mesh.Overloaded, nil), 7},
		{networkError{mesh.E("op", mesh.Overloaded, nil)}, 8},
		{fs.ErrNotExist, 3},
		{errors.New("x"), 1},
		{mesh.E("op", mesh.Internal, nil), 1},
	} {
		if got := exitCode(c.err); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.code)
		}
	}
}
