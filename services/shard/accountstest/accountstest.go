// Package accountstest is the conformance suite of shard.Store: every sentence of its contract has a case here, and every
// implementation that ships passes all of them.
package accountstest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
)

// Walker reads a store's database as it lies: what no verb returns, such as mmms_Account.
type Walker interface {
	Walk(context.Context, func(shard.RawContainer, iter.Seq2[shard.RawFrame, error]) error) error
	Close() error
}

// Run runs the suite. Each case opens a store of its own, empty, which open closes again at the end of the test; walk opens its
// database beside it.
func Run(t *testing.T, open func(*testing.T) (store shard.Store, walk func(context.Context) (Walker, error))) {
	for _, c := range slices.Concat(fenceCases, accountCases, deviceCases, dedupCases, applyCases, spoolCases, catalogCases,
		treeCases, readCases, postCases, outboxCases, contactCases, deliverCases, incidentCases, concurrencyCases, outboxConcurrency,
		deliverConcurrency, modelCases) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			t.Cleanup(cancel)
			b := &bench{T: t, ctx: ctx, open: open}
			b.store, b.walk = open(t)
			b.ok(b.store.SetPartitions(ctx, 0, shardmap.Partitions-1, shard.PartitionOpen, 1))
			c.run(b)
		})
	}
}

type testCase struct {
	name string
	run  func(*bench)
}

// bench is what a case works with.
type bench struct {
	*testing.T
	ctx   context.Context
	open  func(*testing.T) (shard.Store, func(context.Context) (Walker, error)) // another
	store shard.Store
	walk  func(context.Context) (Walker, error)
	made  int
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// kind wants an error of a kind.
func (b *bench) kind(what string, err error, want mesh.Kind) {
	b.Helper()
	var known *mesh.Error
	if !errors.As(err, &known) || known.Kind != want {
		b.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func (b *bench) same(what string, got, want any) {
	b.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		b.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// user is an account under test, and a device of it that calls.
type user struct {
	b         *bench
	address   string
	partition uint16
	profile   string
	mesh      string
	kid       string
	epoch     uint64
}

const containerBookmark, containerDevice, containerInbound, containerArchive = "mmm_Bookmark", "mmm_Device", "mmm_Inbound", "mmm_Archive"

// stranger names an account that was not made.
func (b *bench) stranger(local string) *user {
	address := local + "@alpha.example"
	return &user{b: b, address: address, partition: shardmap.Of(address), profile: "MPRO-" + local, mesh: "MMSH-" + local, kid: "MKID-" + local}
}

// user makes an account with one administrator's device and says nothing of its epoch.
func (b *bench) user(local string) *user {
	b.Helper()
	return b.enrol(b.stranger(local))
}

// neighbour is a user of the same partition: the store does not know the hash.
func (b *bench) neighbour(of *user, local string) *user {
	b.Helper()
	u := b.stranger(local)
	u.partition = of.partition
	return b.enrol(u)
}

func (b *bench) enrol(u *user) *user {
	b.Helper()
	local, _, _ := strings.Cut(u.address, "@")
	c := u.creation()
	c.Updates = []shard.ContainerUpdate{{Container: containerDevice, Entries: []shard.Entry{u.deviceEntry(shard.New, "dev-"+local, u.kid, shard.AllRights)}}}
	created, err := b.store.Create(b.ctx, c)
	b.ok(err)
	b.same("created", created, &shard.Created{Created: true, State: shard.Connected, Epoch: 1, Entries: []shard.Result{accept(1)}})
	return u
}

// bare makes an account in which mmm_Device has no entry.
func (b *bench) bare(local string) *user {
	b.Helper()
	u := b.stranger(local)
	_, err := b.store.Create(b.ctx, u.creation())
	b.ok(err)
	return u
}

func (u *user) creation() shard.Creation {
	return shard.Creation{
		Partition: u.partition, Address: u.address, Caller: u.caller(),
		ProfileUDF: u.profile, MeshUDF: u.mesh, ProfileUpdated: time.Unix(1_700_000_000, 0),
		ProfileMesh: []byte(`[{"dig":"SHA2"},"bWVzaA"]`), ProfileAccount: []byte(`[{"dig":"SHA2"},"` + u.address + `"]`),
		AccountFrame: entry("account of "+u.address, "", u.address, shard.New), State: shard.Connected,
	}
}

// caller is a new request of the user's device.
func (u *user) caller() shard.Caller {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	digest := sha256.Sum256(id)
	return shard.Caller{
		Domain: "alpha.example", Mode: shard.ModeProfile, Account: u.address, ProfileUDF: u.profile, DeviceUDF: "whatever",
		AuthKID: u.kid, Epoch: u.epoch, RequestID: id, RequestDigest: digest[:],
	}
}

// as is the account seen from another device.
func (u *user) as(kid string) *user {
	other := *u
	other.kid = kid
	return &other
}

func (u *user) deviceEntry(event shard.Event, unique, kid string, rights shard.Right) shard.Entry {
	u.b.made++
	e := entry(fmt.Sprintf("device %s %d", unique, u.b.made), unique, unique, event)
	connection := sha512.Sum512([]byte("connection of " + kid))
	e.Device = &shard.DeviceChange{
		DeviceUDF: unique, AuthKID: kid, MeshAuthKID: kid + "-mesh", SignKID: kid + "-sign", SignCurve: "Ed448", SignKey: []byte("key of " + kid),
		ConnectionDigest: connection[:], Rights: rights,
	}
	if event == shard.Delete {
		e.Device = &shard.DeviceChange{Remove: true}
	}
	return e
}

// entry is an envelope with a text as payload.
func entry(payload, envelope, unique string, event shard.Event) shard.Entry {
	digest := sha512.Sum512([]byte(payload))
	return shard.Entry{
		Header: []byte(`{"EnvelopeID":"` + envelope + `"}`), Payload: []byte(payload), PayloadDigest: digest[:],
		EnvelopeID: envelope, UniqueID: unique, Event: event,
	}
}

func item(unique string, event shard.Event) shard.Entry {
	return entry(fmt.Sprintf("%s %d", unique, event), unique, unique, event)
}

func message(id string) shard.Entry {
	e := entry("message "+id, id, id, shard.NoEvent)
	e.MessageType = "MessageText"
	return e
}

func zero(payload string) shard.Entry {
	e := entry(payload, "", "", shard.NoEvent)
	e.Header, e.Index = []byte(`{"ContentMetaData":"e30"}`), new(int64)
	return e
}

func update(container string, entries ...shard.Entry) shard.ContainerUpdate {
	return shard.ContainerUpdate{Container: container, Entries: entries}
}

func (u *user) application(updates ...shard.ContainerUpdate) shard.Application {
	return shard.Application{Partition: u.partition, Account: u.address, Caller: u.caller(), Updates: updates}
}

// apply wants the results of an upload.
func (u *user) apply(what string, want []shard.Result, updates ...shard.ContainerUpdate) {
	u.b.Helper()
	u.applied(what, u.application(updates...), want...)
}

func (u *user) applied(what string, a shard.Application, want ...shard.Result) {
	u.b.Helper()
	got, err := u.b.store.Apply(u.b.ctx, a)
	if err != nil {
		u.b.Fatalf("%s: %v", what, err)
	}
	u.b.same(what, got, want)
}

// refused wants the kind of error of an upload.
func (u *user) refused(what string, want mesh.Kind, updates ...shard.ContainerUpdate) {
	u.b.Helper()
	_, err := u.b.store.Apply(u.b.ctx, u.application(updates...))
	u.b.kind(what, err, want)
}

func accept(index int64) shard.Result { return shard.Result{Outcome: shard.Accept, Index: index} }

func reject(code uint16) shard.Result { return shard.Result{Outcome: shard.Reject, Code: code} }

func accepts(first, last int64) []shard.Result {
	var all []shard.Result
	for i := first; i <= last; i++ {
		all = append(all, accept(i))
	}
	return all
}

func conflicts(n int) []shard.Result {
	return slices.Repeat([]shard.Result{{Outcome: shard.Conflict}}, n)
}

func results(all ...shard.Result) []shard.Result { return all }

// read selects frames with limits that bind nothing.
func (u *user) query(sel ...shard.Selection) shard.ReadQuery {
	return shard.ReadQuery{
		Partition: u.partition, Account: u.address, Caller: u.caller(), Select: sel,
		MaxEntries: 10_000, MaxBytes: 16 << 20, Payload: true,
	}
}

func (u *user) read(q shard.ReadQuery) []shard.Selected {
	u.b.Helper()
	got, err := u.b.store.Read(u.b.ctx, q)
	u.b.ok(err)
	if len(got) != len(q.Select) {
		u.b.Fatalf("%d answers to %d selections", len(got), len(q.Select))
	}
	return got
}

// all returns a container.
func (u *user) all(container string) shard.Selected {
	u.b.Helper()
	return u.read(u.query(shard.Selection{Container: container}))[0]
}

// frames wants the payloads of a container, frame 0 left out.
func (u *user) frames(container string, want ...string) {
	u.b.Helper()
	got := []string{}
	for _, f := range u.all(container).Entries {
		if f.Index > 0 {
			got = append(got, string(f.Payload))
		}
	}
	u.b.same("payloads of "+container, got, append([]string{}, want...))
}

func (u *user) status(change ...func(*shard.StatusQuery)) *shard.StatusResult {
	u.b.Helper()
	q := u.statusQuery(change...)
	got, err := u.b.store.Status(u.b.ctx, q)
	u.b.ok(err)
	return got
}

func (u *user) statusQuery(change ...func(*shard.StatusQuery)) shard.StatusQuery {
	q := shard.StatusQuery{Partition: u.partition, Account: u.address, Caller: u.caller(), RightOf: func(string) shard.Right { return 0 }}
	for _, f := range change {
		f(&q)
	}
	return q
}

func (u *user) check(right shard.Right) error {
	return u.b.store.Check(u.b.ctx, shard.CheckQuery{Partition: u.partition, Account: u.address, Caller: u.caller(), Right: right})
}

func (u *user) delete() error {
	return u.b.store.Delete(u.b.ctx, u.deletion())
}

func (u *user) deletion() shard.Deletion {
	return shard.Deletion{
		Partition: u.partition, Account: u.address, Caller: u.caller(),
		AccountFrame: entry("end of "+u.address, "", u.address, shard.Delete),
	}
}

// catalog wants the frames of mmms_Account of a partition.
func (b *bench) catalog(what string, partition uint16, want ...string) {
	b.Helper()
	b.same(what, b.accounts(partition), want)
}

// accounts are event, UniqueID and payload of each frame of mmms_Account of a partition, frame 0 left out.
func (b *bench) accounts(partition uint16) (got []string) {
	b.Helper()
	w, err := b.walk(b.ctx)
	b.ok(err)
	defer func() { b.ok(w.Close()) }()
	b.ok(w.Walk(b.ctx, func(c shard.RawContainer, frames iter.Seq2[shard.RawFrame, error]) error {
		if c.Partition != partition || c.Account != 0 || c.Name != "mmms_Account" {
			return nil
		}
		for f, err := range frames {
			if err != nil {
				return err
			}
			if f.Index > 0 {
				got = append(got, fmt.Sprintf("%d %s %s", f.Event, f.UniqueID, f.Payload))
			}
		}
		return nil
	}))
	return got
}

func ptr[T any](v T) *T { return &v }

// treeDigests is D-43 written out: T(i) by the definition, from every earlier T.
func treeDigests(payloadDigests [][]byte) [][]byte {
	h := func(left, right []byte) []byte {
		sum := sha512.Sum512(slices.Concat(left, right))
		return sum[:]
	}
	var t [][]byte
	at := func(i int) []byte {
		if i < 0 {
			return make([]byte, sha512.Size)
		}
		return t[i]
	}
	for i, acc := range payloadDigests {
		n, d := i+1, 1
		for ; n%2 == 0; n, d = n/2, d*2 {
			acc = h(at(i-d), acc)
		}
		previous := i - d
		if n == 1 {
			previous = d/2 - 1
		}
		t = append(t, h(at(previous), acc))
	}
	return t
}
