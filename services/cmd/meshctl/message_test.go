package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// A message is followed from the sender's outbox to the recipient's verdict; a refusal names its rule on both sides.
func TestMessageTrace(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{})
	people := make(map[string]*client.Account)
	for _, address := range []string{"alice@alpha.example", "bob@beta.example"} {
		a, err := client.Create(t.Context(), client.Config{Dir: filepath.Join(t.TempDir(), "mesh"), StateFile: m.StateFile}, address, client.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		people[address] = a
	}
	posted, err := people["alice@alpha.example"].RequestContact(t.Context(), "bob@beta.example", "hello", nil)
	if err != nil || len(posted) != 1 {
		t.Fatalf("%+v, %v", posted, err)
	}
	id := posted[0].MessageID
	var traced messageTrace
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, code := meshctl(t, "message", "trace", id, "--account", "alice@alpha.example", "--state", m.StateFile, "-o", "json")
		if code != 0 {
			t.Fatal(out)
		}
		if err := json.Unmarshal([]byte(out), &traced); err != nil {
			t.Fatal(err)
		}
		if traced.Outbox[0].State == "delivered" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(out)
		}
	}
	if r := traced.Outbox[0]; r.Recipient != "bob@beta.example" || r.Destination != "beta.example" || r.Verdict == nil || !r.Verdict.Accepted || r.VerdictAt == nil {
		t.Errorf("%+v", r)
	}
	want(t, 0, "delivered", "message", "trace", id, "--account", "alice@alpha.example", "--state", m.StateFile)
	want(t, 0, "accepted", "message", "explain", id, "--account", "bob@beta.example", "--state", m.StateFile)
	want(t, 3, "", "message", "trace", "NXXX", "--account", "alice@alpha.example", "--state", m.StateFile)
	want(t, 3, "", "message", "explain", id, "--account", "alice@alpha.example", "--state", m.StateFile)
	want(t, 2, "", "message", "trace", id, "--account", "alice", "--state", m.StateFile)

	// A message to nobody fails; the trace says why.
	if posted, err = people["alice@alpha.example"].RequestContact(t.Context(), "nobody@beta.example", "hello", nil); err != nil || len(posted) != 1 {
		t.Fatalf("%+v, %v", posted, err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, _ := meshctl(t, "message", "trace", posted[0].MessageID, "--account", "alice@alpha.example", "--state", m.StateFile)
		if strings.Contains(out, "failed") && strings.Contains(out, "MeshUnknownAccount") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(out)
		}
	}
}

func TestIncidents(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{})
	want(t, 0, "ID", "incident", "list", "--state", m.StateFile, "--provider", "beta.example")
	want(t, 2, "", "incident", "list", "--state", m.StateFile)
	want(t, 2, "", "incident", "show", "12", "--state", m.StateFile, "--provider", "beta.example")
	want(t, 3, "", "incident", "show", "12-3", "--state", m.StateFile, "--provider", "beta.example")
	want(t, 3, "", "incident", "resolve", "12-3", "--state", m.StateFile, "--provider", "beta.example")
}
