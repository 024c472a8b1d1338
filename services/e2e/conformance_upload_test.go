package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// The last hundred of ten thousand messages come at once (C-092).
func TestConformanceRecentMessages(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1})
	_, c := settle(t, m, "c092")
	const messages, batch = 10_000, 1000
	for first := 0; first < messages; first += batch {
		var self []*dare.Envelope
		for i := range batch {
			self = append(self, message(t, fmt.Sprint(first+i), "a message"))
		}
		var r mesh.UploadResponse
		c.call(t, mesh.TagUpload, mesh.UploadRequest{Self: self}, &r).is(t, "Upload", 201, 0)
		if n := len(r.Entries); n != batch || r.Entries[n-1].Result != mesh.ResultAccept {
			t.Fatalf("%d entries, the last %+v", n, r.Entries[n-1])
		}
	}
	begin := time.Now()
	got := c.download(t, nil, mesh.ConstraintsSelect{Container: mesh.SpoolInbound, IndexMin: mesh.Int(messages - 99)})
	took := time.Since(begin)
	if n := len(got[0].Envelopes); n != 100 || *got[0].Index != messages+1 {
		t.Errorf("%d messages of %d", n, *got[0].Index)
	}
	// Milliseconds are expected; the bound is a hundred times that, for machines that do other things too, and a
	// twentieth of what reading all of them takes.
	if t.Logf("the last hundred took %s", took); took > time.Second {
		t.Errorf("the last hundred took %s", took)
	}
}

// message is a message for a spool, unsigned.
func message(t *testing.T, id, text string) *dare.Envelope {
	t.Helper()
	return must[*dare.Envelope](t)(dare.New([]byte(text), dare.Options{Meta: &dare.ContentMeta{UniqueID: id, MessageType: "MessageText"}, Digest: true}))
}

// messageSize: 65,536 octets as compact JSON (C-091). White space does not count, so it does not help either.
func messageSize(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c091")
	build := func(size int) string {
		// Three octets of payload are four of text; the rest goes into a member of the header.
		header := `{"ContentMetaData":"` + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"UniqueID":"%d"}`, size)) + `","x":"%s"}`
		rest := size - len(header) - len(`[,""]`) + len("%s")
		payload := strings.Repeat("AAAA", rest/4)
		return "[" + fmt.Sprintf(header, strings.Repeat("x", rest%4)) + `,"` + payload + `"]`
	}
	for size, want := range map[int]string{65535: "A", 65536: "A", 65537: "R", 65540: "R"} {
		text := build(size)
		if len(text) != size {
			t.Fatalf("built %d octets, want %d", len(text), size)
		}
		for _, padding := range []string{"", strings.Repeat(" ", 100)} {
			var r mesh.UploadResponse
			c.say(t, `{"Upload":{"Self":[`+padding+strings.Replace(text, ",", padding+","+padding, 1)+`]}}`, &r).is(t, "Upload", 201, 0)
			if got := results(t, &r); got[:1] != want || (want == "R") != (r.Entries[0].Reason == mesh.RequestSize.String()) {
				t.Errorf("%d octets: %s %s, want %s", size, got, r.Entries[0].Reason, want)
			}
		}
	}
}

// uploads: the fates of entries, and what depends on what.
func uploads(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c220")
	// C-103: fifty at once.
	var fifty []*dare.Envelope
	for i := range 50 {
		fifty = append(fifty, frame(t, fmt.Sprint(i), "New", "x"))
	}
	r := new(mesh.UploadResponse)
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(fifty...)}}, r).is(t, "fifty", 201, 0)
	for i, e := range r.Entries {
		if e.Result != mesh.ResultAccept || e.IndexRequest != int64(i) || *e.IndexContainer != int64(i+1) { // C-216, C-218, C-219
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if len(r.Entries) != 50 {
		t.Errorf("%d results", len(r.Entries))
	}
	_, digest := c.state(t, mesh.CatalogBookmark)
	conditional := func(index int64, digest string, f ...*dare.Envelope) mesh.ContainerUpdate {
		u := bookmarks(f...)
		u.Index, u.Digest = &index, jbcd.Binary(digest)
		return u
	}
	contact := mesh.ContainerUpdate{Container: mesh.CatalogContact, Envelopes: []*dare.Envelope{frame(t, "c", "New", "x")}}
	// C-220, C-179: each result once.
	c.upload(t, "stale Index", []mesh.ContainerUpdate{conditional(50, "", frame(t, "x", "New", "x"), frame(t, "y", "New", "x"))}, "C C")
	c.upload(t, "wrong Digest", []mesh.ContainerUpdate{conditional(51, strings.Repeat("x", 64), frame(t, "x", "New", "x"))}, "C")
	c.upload(t, "Delete of what is not there", []mesh.ContainerUpdate{bookmarks(frame(t, "x", "Delete", "x"))}, "C")
	c.upload(t, "New of what is there", []mesh.ContainerUpdate{bookmarks(frame(t, "1", "New", "x"))}, "C")
	c.upload(t, "no UniqueID", []mesh.ContainerUpdate{bookmarks(frame(t, "x", "New", "x"), frame(t, "", "New", "x"))}, "C R")
	c.upload(t, "current state, running number over updates", []mesh.ContainerUpdate{conditional(51, digest, frame(t, "x", "New", "x"), frame(t, "x", "Update", "y")), contact}, "A51 A52 A1")
	// C-104: two that depend on each other, one stale: nothing is stored.
	before := c.states(t)
	stale, good := conditional(51, "", frame(t, "z", "New", "x")), contact
	good.Index, good.Envelopes = mesh.Int(2), []*dare.Envelope{frame(t, "d", "New", "x")}
	c.upload(t, "two updates, one stale", []mesh.ContainerUpdate{good, stale}, "C C")
	if diff := cmp.Diff(before, c.states(t)); diff != "" {
		t.Errorf("something was stored (-before +after)\n%s", diff)
	}
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{good, stale}, Atomic: mesh.Bool(false)}, r).is(t, "not atomic", 201, 0)
	if got := results(t, r); got != "A2 C" {
		t.Errorf("not atomic: %s", got)
	}
	// C-102: a catalog and a container that there is not.
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{{Container: "mmm_Nonsense", Envelopes: fifty[:1]}}}, nil).is(t, "unknown container", 404, 22)
	c.upload(t, "nothing", nil, "")
}

// uploadLimits: what ConstraintsUpdate says is enforced (C-183).
func uploadLimits(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c183")
	var h mesh.MeshHelloResponse
	c.call(t, mesh.TagHello, mesh.HelloRequest{}, &h).is(t, "Hello", 201, 0)
	var many []*dare.Envelope
	for i := range *h.ConstraintsUpdate.MaxEntries + 1 {
		many = append(many, frame(t, fmt.Sprint(i), "New", ""))
	}
	large := []*dare.Envelope{{Header: frame(t, "l", "New", "").Header, Payload: make([]byte, *h.ConstraintsUpdate.BytesMax+1)}}
	for what, frames := range map[string][]*dare.Envelope{"entries": many, "octets": large} {
		c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(frames...)}}, nil).is(t, "too many "+what, 400, 12)
	}
	if n, _ := c.state(t, mesh.CatalogBookmark); n != 0 {
		t.Errorf("%d frames were stored", n)
	}
	large[0].Payload = large[0].Payload[1:]
	c.upload(t, "the most octets", []mesh.ContainerUpdate{bookmarks(large...)}, "A1")
}

// owners: nobody but the owner of the account uploads to it (C-213).
func owners(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c213")
	_, other := settle(t, m, "c213o")
	up := mesh.UploadRequest{RequestUser: byAccount(r.addresses[0]), Updates: []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))}}
	other.call(t, mesh.TagUpload, up, nil).is(t, "another account", 401, 8)
	away := newResident(t, "c213@beta.example")
	beta := away.moveIn(t, doorOf(t, m.Provider(t, meshtest.Beta)))
	beta.door = c.door
	beta.cred.Envelopes = append(beta.cred.Envelopes, away.profileAccount, away.profileMesh)
	beta.exchange(t, mesh.TagUpload, up, nil).is(t, "an account of another service", 401, 8)
	host := hostOf(t, m, meshtest.Beta, c.door)
	host.exchange(t, mesh.TagUpload, up, nil).is(t, "a service", 401, 8)
	host.call(t, mesh.TagUpload, up, nil).is(t, "a service by ticket", 401, 8)
	if n, _ := c.state(t, mesh.CatalogBookmark); n != 0 {
		t.Errorf("%d frames were stored", n)
	}
}

// selfMessages: Self goes to the inbound spool, after the updates (C-215).
func selfMessages(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c215")
	var r mesh.UploadResponse
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))}, Self: []*dare.Envelope{message(t, "one", "1"), message(t, "two", "2")}}, &r).is(t, "Upload", 201, 0)
	if got := results(t, &r); got != "A1 A1 A2" {
		t.Errorf("results %s", got)
	}
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Self: []*dare.Envelope{message(t, "one", "1"), message(t, "three", "3")}}, &r).is(t, "one of them again", 201, 0)
	if got := results(t, &r); got != "A1 A3" {
		t.Errorf("sent again: %s, want the old index for the first", got)
	}
	u := c.download(t, nil, mesh.ConstraintsSelect{Container: mesh.SpoolInbound, IndexMin: mesh.Int(1)})[0]
	var text string
	for _, e := range u.Envelopes {
		text += string(e.Payload)
	}
	if text != "123" {
		t.Errorf("mmm_Inbound has %q", text)
	}
}

// laterBuild: what this build does not serve it refuses whole, authenticated, and stores nothing.
func laterBuild(t *testing.T, m *meshtest.Mesh) {
	c := nine(t, m, "c105")
	before := c.states(t)
	down := func(s mesh.ConstraintsSelect) *outcome {
		t.Helper()
		s.Container = mesh.CatalogBookmark
		return c.call(t, mesh.TagDownload, mesh.DownloadRequest{Select: []mesh.ConstraintsSelect{s}}, nil)
	}
	down(mesh.ConstraintsSelect{PageKey: "forged"}).is(t, "PageKey", 400, 24)
	down(mesh.ConstraintsSelect{KeyValues: []dare.KeyValue{{Key: "mmm:redact", Value: "superseded"}}}).is(t, "KeyValues", 400, 24)
	redacted := frame(t, "big", "New", "")
	redacted.Header = append(append([]byte(nil), redacted.Header[:len(redacted.Header)-1]...), `,"ContentLength":8388608}`...)
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(frame(t, "small", "New", "x"), redacted)}}, nil).is(t, "a redacted entry", 400, 24)
	for _, tag := range []string{mesh.TagPublish, mesh.TagComplete, mesh.TagClaim, mesh.TagPollClaim, mesh.TagCreateGroup, mesh.TagOperate} {
		c.call(t, tag, mesh.Request{}, nil).is(t, tag, 400, 24)
	}
	if diff := cmp.Diff(before, c.states(t)); diff != "" {
		t.Errorf("something was stored (-before +after)\n%s", diff)
	}
}
