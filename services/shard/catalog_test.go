package shard_test

import (
	"iter"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/sqlite"
)

// What a replica reads in mmms_Account (D-41): the account, and its end under the same key.
func TestAccountCatalog(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice@alpha.example").admit(mesh.RightAdmin).create()
	if _, err := w.server.DeleteAccount(t.Context(), &shardpb.DeleteAccountRequest{Caller: alice.caller(), Account: alice.address}); err != nil {
		t.Fatal(err)
	}
	walker, err := sqlite.OpenWalker(w.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = walker.Close() }()
	var events, payloads []string
	err = walker.Walk(t.Context(), func(c shard.RawContainer, frames iter.Seq2[shard.RawFrame, error]) error {
		if c.Name != "mmms_Account" {
			return nil
		}
		for f, err := range frames {
			if err != nil {
				return err
			}
			if f.Index == 0 {
				continue
			}
			header, err := (&dare.Envelope{Header: f.Header}).ParseHeader()
			if err != nil {
				return err
			}
			meta, err := header.ParseMeta()
			if err != nil {
				return err
			}
			if meta.UniqueID != alice.address || f.UniqueID != alice.address || f.EnvelopeID != alice.address {
				t.Errorf("frame %d of %q, stored as %q, %q", f.Index, meta.UniqueID, f.UniqueID, f.EnvelopeID)
			}
			events, payloads = append(events, meta.Event), append(payloads, string(f.Payload))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 2 || events[0] != "New" || events[1] != "Delete" {
		t.Fatalf("events %q, want New and Delete", events)
	}
	if want := `{"CatalogedDelete":{"Key":"alice@alpha.example"}}`; payloads[1] != want {
		t.Errorf("%s, want %s", payloads[1], want)
	}
}
