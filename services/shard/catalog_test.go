package shard_test

import (
	"iter"
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
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

// A domain whose key was forgotten is a fault of ours, not a device without rights.
func TestDomainWithoutKey(t *testing.T) {
	w := newWorld(t)
	admin := w.person("alice@"+domain).admit(mesh.RightAdmin, mesh.RightAll).create()
	phone := admin.admit(mesh.RightBookmark)
	r, err := admin.upload(mesh.CatalogDevice, phone.deviceEntry("New"))
	w.results("admitting", r, err, "accept")
	whole := w.server
	w.server, err = shard.NewServer(shard.Config{
		Name: "s00", Store: w.store, Keys: map[string]keys.Holder{"beta.example": keys.NewRing(w.service)},
		Log: slog.New(slog.DiscardHandler), Meter: noop.NewMeterProvider(),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.upload(mesh.CatalogDevice, phone.deviceEntry("Update"))
	w.kind("an entry of a domain without key", err, mesh.Internal)
	_, err = w.server.CreateAccount(t.Context(), w.person("bob@"+domain).admit(mesh.RightAdmin).creation())
	w.kind("an account of a domain without key", err, mesh.Internal)
	w.server = whole
	if !phone.has(mesh.RightBookmark) {
		t.Error("the device lost its rights")
	}
}
