package shard_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/shard"
)

// spellings of one fingerprint.
func spellings(kid string) []string {
	return []string{kid, strings.ToLower(kid), strings.ReplaceAll(kid, "-", ""), strings.ToLower(strings.ReplaceAll(kid, "-", ""))}
}

// A key is one key, however an entry spells its identifier: no signature is left unchecked for a dash.
func TestSpellingsOfAKey(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice@" + domain)
	admin := alice.admit(mesh.RightAdmin, mesh.RightAll).create()
	store := &counting{Store: w.store}
	var err error
	w.server, err = shard.NewServer(shard.Config{Name: "s00", Store: store, Log: slog.New(slog.DiscardHandler), Meter: noop.NewMeterProvider()})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	entry := func(key *keys.PrivateKey, kid string, spoil bool) *shardpb.Entry {
		n++
		sign := func(text string) *shardpb.Entry {
			e := w.signed(fmt.Sprint("e", n), "New", []byte(text), dare.Options{Holder: keys.NewRing(key), SignKIDs: []string{key.KID()}})
			if !bytes.Contains(e.Trailer, []byte(key.KID())) {
				t.Fatalf("no identifier in %s", e.Trailer)
			}
			e.Trailer = bytes.ReplaceAll(e.Trailer, []byte(key.KID()), []byte(kid))
			return e
		}
		e := sign(`{"CatalogedBookmark":{}}`)
		if spoil {
			e.Trailer, e.DigestWritten = sign("other").Trailer, false
		}
		return e
	}
	var strangers []*shardpb.Entry
	unknown := generate(t, keys.Ed448)
	for _, kid := range spellings(unknown.KID()) {
		strangers = append(strangers, entry(unknown, kid, false))
	}
	if _, err := admin.upload(mesh.CatalogBookmark, strangers...); err != nil {
		t.Fatal(err)
	}
	for _, kid := range spellings(admin.Signature.KID()) {
		r, err := admin.upload(mesh.CatalogBookmark, entry(admin.Signature, kid, true))
		w.results(kid+", spoilt", r, err, 13)
		r, err = admin.upload(mesh.CatalogBookmark, entry(admin.Signature, kid, false))
		w.results(kid, r, err, "accept")
	}
	if store.signers != 2 {
		t.Errorf("%d look-ups of two keys", store.signers)
	}
}

// A device whose entry spells its fingerprint in another way is found by each.
func TestSpellingsOfADevice(t *testing.T) {
	w := newWorld(t)
	admin := w.person("alice@"+domain).admit(mesh.RightAdmin, mesh.RightAll).create()
	phone := admin.admit(mesh.RightBookmark)
	unique := strings.ToLower(phone.udf)
	phone.entry.DeviceUDF = unique
	r, err := admin.upload(mesh.CatalogDevice, w.entry(unique, "New", phone.entry, w.service.Public()))
	w.results("admitting", r, err, "accept")
	if !phone.has(mesh.RightBookmark) {
		t.Error("the device has not its right")
	}
	for _, name := range spellings(phone.udf) {
		status, err := w.server.Status(t.Context(), &shardpb.StatusRequest{Caller: admin.caller(), Account: admin.address, DeviceUdf: name})
		if err != nil {
			t.Fatal(err)
		}
		if status.GetDeviceEntry().GetIndex() != 2 {
			t.Errorf("%s: entry %d, want 2", name, status.GetDeviceEntry().GetIndex())
		}
	}
}
