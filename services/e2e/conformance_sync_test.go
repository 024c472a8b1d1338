package e2e

import (
	"bytes"
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

// §7, §10.4, §10.9 to §10.11 on both stores.
func TestConformanceSync(t *testing.T) {
	onBothStores(t, []row{
		{"C-003, C-089, C-176 to C-180", digests},
		{"C-091", messageSize},
		{"C-093, C-094, C-200, C-205", deviceEntries},
		{"C-095, C-096, C-159 to C-161, C-207, C-208, C-212", selectors},
		{"C-162, C-163", timeWindow},
		{"C-097, C-165 to C-167, C-209 to C-211", limits},
		{"C-168 to C-170", parts},
		{"C-102 to C-104, C-214, C-216, C-218 to C-220", uploads},
		{"C-183", uploadLimits},
		{"C-201 to C-204, C-206", statusSelectors},
		{"C-213", owners},
		{"C-215", selfMessages},
		{"C-100, C-105, C-157, C-158, C-164", laterBuild},
	})
}

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

// digests: what was uploaded comes down octet by octet, in order, and its digests are those that the client computes.
func digests(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c178")
	phone := r.admit(t, mesh.NewDeviceSecrets(), mesh.RightBookmark)
	c.upload(t, "admitting", []mesh.ContainerUpdate{phone.update(t, "New")}, "A2")
	var sent []*dare.Envelope
	var want []string
	for i := range 9 {
		sent = append(sent, frame(t, fmt.Sprint(i), "New", strings.Repeat("x", i)))
		want = append(want, fmt.Sprint("A", i+1))
	}
	c.upload(t, "nine", []mesh.ContainerUpdate{bookmarks(sent...)}, strings.Join(want, " "))
	p := phone.at(c.door, r.addresses[0]).greet(t)
	got := p.download(t, nil, mesh.ConstraintsSelect{Container: mesh.CatalogBookmark})[0]
	var tree dare.Peaks
	for i, e := range got.Envelopes {
		if err := tree.Next(e); err != nil { // index, PayloadDigest, TreeDigest: C-178, C-180
			t.Fatalf("frame %d: %v", i, err)
		}
		if i == 0 {
			continue
		}
		if stored := must[*dare.Envelope](t)(e.Stored()); !bytes.Equal(stored.Header, sent[i-1].Header) || !bytes.Equal(e.Payload, sent[i-1].Payload) || !bytes.Equal(stored.Trailer, sent[i-1].Trailer) {
			t.Errorf("frame %d came back as %s %s, was %s %s", i, stored.Header, stored.Trailer, sent[i-1].Header, sent[i-1].Trailer) // C-003
		}
	}
	if *got.Index != 10 || tree.Frames != 10 || !bytes.Equal(got.Digest, tree.Digest()) { // C-179
		t.Errorf("the update says %d frames, digest %x; the frames say %d, %x", *got.Index, []byte(got.Digest), tree.Frames, tree.Digest())
	}
	if n, digest := p.state(t, mesh.CatalogBookmark); n != 10 || digest != string(tree.Digest()) { // C-176 to C-178
		t.Errorf("Status says %d frames, digest %x", n, digest)
	}
	c.upload(t, "one more", []mesh.ContainerUpdate{bookmarks(frame(t, "9", "New", "x"))}, "A10")
	if n, digest := p.state(t, mesh.CatalogBookmark); n != 11 || digest == string(tree.Digest()) { // C-177
		t.Errorf("after one more Status says %d frames, digest %x", n, digest)
	}
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

// deviceEntries: a device sees what it may, and hears once that its rights changed (C-093, C-094).
func deviceEntries(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c094")
	c.upload(t, "filling", []mesh.ContainerUpdate{
		bookmarks(frame(t, "a", "New", "x")), {Container: mesh.CatalogCredential, Envelopes: []*dare.Envelope{frame(t, "a", "New", "x")}},
	}, "A1 A1")
	secrets := mesh.NewDeviceSecrets()
	phone := r.admit(t, secrets, mesh.RightBookmark)
	c.upload(t, "admitting", []mesh.ContainerUpdate{phone.update(t, "New")}, "A2")
	p := phone.at(c.door, r.addresses[0])
	status := func(c *caller, udf string) *mesh.StatusResponse {
		t.Helper()
		s := new(mesh.StatusResponse)
		c.exchange(t, mesh.TagStatus, mesh.StatusRequest{DeviceUDF: udf}, s).is(t, "Status", 201, 0)
		return s
	}
	lists := func(s *mesh.StatusResponse, container string) bool {
		for _, x := range s.ContainerStatus {
			if x.Container == container {
				return true
			}
		}
		return false
	}
	own := phone.entry.DeviceUDF
	s := status(p, own)
	if lists(s, mesh.CatalogCredential) || lists(s, mesh.CatalogDevice) || !lists(s, mesh.CatalogBookmark) || !lists(s, mesh.SpoolInbound) {
		t.Errorf("a device with Bookmark sees %+v", s.ContainerStatus)
	}
	if s.EnvelopedCatalogEntryDevice != nil {
		t.Error("an entry that is no newer than the one shown")
	}
	changed := r.admit(t, secrets, mesh.RightBookmark, mesh.RightCredential)
	c.upload(t, "other rights", []mesh.ContainerUpdate{changed.update(t, "Update")}, "A3")
	s = status(p, own)
	if e := s.EnvelopedCatalogEntryDevice; e == nil || !bytes.Equal(e.Payload, changed.update(t, "Update").Envelopes[0].Payload) {
		t.Error("the newer entry did not come")
	}
	if !lists(s, mesh.CatalogCredential) {
		t.Error("the new right does not count")
	}
	if s = status(changed.at(c.door, r.addresses[0]), own); s.EnvelopedCatalogEntryDevice != nil {
		t.Error("it came again to a device that shows the newer connection")
	}
	// C-200: an administrator asks for any device, others for themselves alone.
	if s = status(c, own); s.EnvelopedCatalogEntryDevice == nil {
		t.Error("an administrator does not get the entry of another device")
	}
	o := p.exchange(t, mesh.TagStatus, mesh.StatusRequest{DeviceUDF: r.device.entry.DeviceUDF}, &mesh.StatusResponse{})
	if strings.Contains(string(o.payload), "EnvelopedCatalogEntryDevice") {
		t.Error("a device without Admin got the entry of another")
	}
	p.call(t, mesh.TagDownload, mesh.DownloadRequest{Select: []mesh.ConstraintsSelect{{Container: mesh.CatalogDevice}}}, nil).is(t, "Download of mmm_Device without Admin", 401, 8)
	p.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{changed.update(t, "Update")}}, nil).is(t, "Upload to mmm_Device without Admin", 401, 8)
}

// nine fills a bookmark catalog: frames 0 to 9, each payload of 10 octets.
func nine(t *testing.T, m *meshtest.Mesh, local string) *caller {
	t.Helper()
	_, c := settle(t, m, local)
	var frames []*dare.Envelope
	for i := range 9 {
		frames = append(frames, frame(t, fmt.Sprint(i+1), "New", fmt.Sprintf("payload %02d", i+1)))
	}
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(frames...)}}, new(mesh.UploadResponse)).is(t, "Upload", 201, 0)
	return c
}

func selectors(t *testing.T, m *meshtest.Mesh) {
	c := nine(t, m, "c160")
	sel := func(min, max int64) mesh.ConstraintsSelect {
		s := mesh.ConstraintsSelect{Container: mesh.CatalogBookmark}
		if min >= 0 {
			s.IndexMin = mesh.Int(min)
		}
		if max >= 0 {
			s.IndexMax = mesh.Int(max)
		}
		return s
	}
	for _, x := range []struct {
		min, max int64
		want     string
	}{
		{-1, -1, "0 1 2 3 4 5 6 7 8 9"}, {5, -1, "5 6 7 8 9"}, {-1, 2, "0 1 2"}, {5, 7, "5 6 7"}, {4, 4, "4"}, {10, -1, ""}, {7, 5, ""}, {0, 1 << 60, "0 1 2 3 4 5 6 7 8 9"},
	} {
		u := c.download(t, nil, sel(x.min, x.max))[0]
		if got := indexes(t, u); got != x.want || *u.Index != 10 || len(u.Digest) != 64 {
			t.Errorf("%d..%d: frames %s of %d, want %s of 10", x.min, x.max, got, *u.Index, x.want)
		}
	}
	if got := c.download(t, nil); len(got) != 0 { // C-208
		t.Errorf("no selector gives %d updates", len(got))
	}
	// C-095, C-159, C-212: one update a selector, in their order; an unknown name has an empty one. An alias is canonical.
	got := c.download(t, nil, sel(9, -1), mesh.ConstraintsSelect{Container: "mmm_Nonsense"}, sel(-1, 0), mesh.ConstraintsSelect{Container: mesh.SpoolInbound}, mesh.ConstraintsSelect{Container: "mmm_CatalogBookmark", IndexMin: mesh.Int(8)})
	var names []string
	for _, u := range got {
		names = append(names, u.Container+": "+indexes(t, u))
	}
	want := []string{mesh.CatalogBookmark + ": 9", "mmm_Nonsense: ", mesh.CatalogBookmark + ": 0", mesh.SpoolInbound + ": 0", mesh.CatalogBookmark + ": 8 9"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if u := got[1]; u.Index != nil || u.Digest != nil {
		t.Errorf("an unknown container has a state: %+v", u)
	}
	if n, _ := c.state(t, "mmm_Nonsense"); n != 0 {
		t.Error("asking made the container")
	}
}

// timeWindow: on or after NotBefore, strictly before Before, by the service's time of arrival.
func timeWindow(t *testing.T, m *meshtest.Mesh) {
	c := nine(t, m, "c162")
	time.Sleep(1100 * time.Millisecond) // Received has whole seconds
	c.upload(t, "a second later", []mesh.ContainerUpdate{bookmarks(frame(t, "late", "New", "x"))}, "A10")
	late := c.download(t, nil, mesh.ConstraintsSelect{Container: mesh.CatalogBookmark, IndexMin: mesh.Int(10)})[0].Envelopes[0]
	at := must[*dare.Header](t)(late.ParseHeader()).Received
	if at == nil || time.Since(at.Time) > time.Minute {
		t.Fatalf("Received %v", at)
	}
	for what, x := range map[string]struct {
		s    mesh.ConstraintsSelect
		want string
	}{
		"NotBefore, at the instant": {mesh.ConstraintsSelect{NotBefore: at}, "10"},
		"NotBefore, a second after": {mesh.ConstraintsSelect{NotBefore: &jbcd.Time{Time: at.Add(time.Second)}}, ""},
		"Before, at the instant":    {mesh.ConstraintsSelect{Before: at}, "0 1 2 3 4 5 6 7 8 9"},
		"Before, a second after":    {mesh.ConstraintsSelect{Before: &jbcd.Time{Time: at.Add(time.Second)}, IndexMin: mesh.Int(9)}, "9 10"},
		"both":                      {mesh.ConstraintsSelect{NotBefore: at, Before: &jbcd.Time{Time: at.Add(time.Second)}}, "10"},
	} {
		x.s.Container = mesh.CatalogBookmark
		if got := indexes(t, c.download(t, nil, x.s)[0]); got != x.want {
			t.Errorf("%s: %q, want %q", what, got, x.want)
		}
	}
}

func limits(t *testing.T, m *meshtest.Mesh) {
	c := nine(t, m, "c165")
	all := mesh.ConstraintsSelect{Container: mesh.CatalogBookmark}
	sizes := func(updates []mesh.ContainerUpdate) (s string) {
		for _, u := range updates {
			for _, e := range u.Envelopes {
				s += fmt.Sprint(len(e.Payload), " ")
			}
		}
		return strings.TrimSpace(s)
	}
	if got := indexes(t, c.download(t, &mesh.ConstraintsData{MaxEntries: mesh.Int(3)}, all)[0]); got != "0 1 2" { // C-165
		t.Errorf("MaxEntries 3: %s", got)
	}
	// C-209: for all selectors together.
	two := c.download(t, &mesh.ConstraintsData{MaxEntries: mesh.Int(3)}, mesh.ConstraintsSelect{Container: mesh.CatalogBookmark, IndexMin: mesh.Int(8)}, all)
	if len(two) != 2 || indexes(t, two[0]) != "8 9" || indexes(t, two[1]) != "0" {
		t.Errorf("MaxEntries 3 for two selectors: %q, %q", indexes(t, two[0]), indexes(t, two[1]))
	}
	// C-167: frames are whole while they fit.
	if got := sizes(c.download(t, &mesh.ConstraintsData{BytesMax: mesh.Int(35)}, all)); got != "0 10 10 10" {
		t.Errorf("BytesMax 35: payloads of %s", got)
	}
	// C-166, C-167: a payload in ranges.
	one := mesh.ConstraintsSelect{Container: mesh.CatalogBookmark, IndexMin: mesh.Int(7), IndexMax: mesh.Int(7)}
	whole := c.download(t, nil, one)[0].Envelopes[0]
	var payload []byte
	for offset := 0; offset < len(whole.Payload); offset += 4 {
		e := c.download(t, &mesh.ConstraintsData{BytesOffset: mesh.Int(int64(offset)), BytesMax: mesh.Int(4)}, one)[0].Envelopes[0]
		h := must[*dare.Header](t)(e.ParseHeader())
		if len(e.Payload) > 4 || h.ContentLength == nil || *h.ContentLength != 10 {
			t.Errorf("offset %d: %d octets, ContentLength %v", offset, len(e.Payload), h.ContentLength)
		}
		payload = append(payload, e.Payload...)
	}
	if !bytes.Equal(payload, whole.Payload) {
		t.Errorf("the ranges give %q, want %q", payload, whole.Payload)
	}
	c.call(t, mesh.TagDownload, mesh.DownloadRequest{Select: []mesh.ConstraintsSelect{all}, ConstraintsPost: &mesh.ConstraintsData{BytesOffset: mesh.Int(4)}}, nil).is(t, "BytesOffset with several frames", 400, 6)
	c.call(t, mesh.TagDownload, mesh.DownloadRequest{Select: []mesh.ConstraintsSelect{all}, ConstraintsPost: &mesh.ConstraintsData{MaxEntries: mesh.Int(0)}}, nil).is(t, "MaxEntries 0", 400, 6)
	// C-097: 25 entries in pages of 10, by IndexMin; PageKey is of a later build.
	var more []*dare.Envelope
	for i := range 15 {
		more = append(more, frame(t, fmt.Sprint("more ", i), "New", "x"))
	}
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(more...)}}, new(mesh.UploadResponse)).is(t, "Upload", 201, 0)
	var pages []string
	for next := int64(0); next < 25; {
		u := c.download(t, &mesh.ConstraintsData{MaxEntries: mesh.Int(10)}, mesh.ConstraintsSelect{Container: mesh.CatalogBookmark, IndexMin: &next})[0]
		if len(u.Envelopes) == 0 {
			t.Fatalf("nothing from %d", next)
		}
		pages = append(pages, indexes(t, u))
		next += int64(len(u.Envelopes))
	}
	want := []string{"0 1 2 3 4 5 6 7 8 9", "10 11 12 13 14 15 16 17 18 19", "20 21 22 23 24"}
	if diff := cmp.Diff(want, pages); diff != "" {
		t.Errorf("pages (-want +got)\n%s", diff)
	}
	// C-210, C-211: no more than 1,000 entries, until more is asked for.
	var bulk []*dare.Envelope
	for i := range 1000 {
		bulk = append(bulk, frame(t, fmt.Sprint("bulk ", i), "New", ""))
	}
	c.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(bulk...)}}, new(mesh.UploadResponse)).is(t, "Upload", 201, 0)
	if n := len(c.download(t, nil, all)[0].Envelopes); n != 1000 {
		t.Errorf("%d entries without asking, want 1,000", n)
	}
	if n := len(c.download(t, &mesh.ConstraintsData{MaxEntries: mesh.Int(1 << 40)}, all)[0].Envelopes); n != 1025 {
		t.Errorf("%d entries of 1025 when asked for all", n)
	}
}

func parts(t *testing.T, m *meshtest.Mesh) {
	c := nine(t, m, "c168")
	one := mesh.ConstraintsSelect{Container: mesh.CatalogBookmark, IndexMin: mesh.Int(7), IndexMax: mesh.Int(7)}
	yes, no := mesh.Bool(true), mesh.Bool(false)
	for what, x := range map[string]struct {
		c                        *mesh.ConstraintsData
		header, payload, trailer bool
	}{
		"none":               {nil, true, true, true},
		"all false":          {&mesh.ConstraintsData{Header: no, Payload: no, Trailer: no}, true, true, true},
		"C-168 Header":       {&mesh.ConstraintsData{Header: yes}, true, false, false},
		"C-169 Payload":      {&mesh.ConstraintsData{Payload: yes}, false, true, false},
		"C-170 Trailer":      {&mesh.ConstraintsData{Trailer: yes}, false, false, true},
		"Header and Trailer": {&mesh.ConstraintsData{Header: yes, Trailer: yes, Payload: no}, true, false, true},
	} {
		e := c.download(t, x.c, one)[0].Envelopes[0]
		h := must[*dare.Header](t)(e.ParseHeader())
		if (len(h.ContentMetaData) > 0) != x.header || (string(e.Payload) == "payload 07") != x.payload || (e.Trailer != nil) != x.trailer {
			t.Errorf("%s: %s, %q, %s", what, e.Header, e.Payload, e.Trailer)
		}
		if h.ContainerInfo == nil || *h.ContainerInfo.Index != 7 || h.EnvelopeID == "" && !x.header { // what every header has
			t.Errorf("%s: header %s", what, e.Header)
		}
		if (h.ContentLength != nil) == x.payload {
			t.Errorf("%s: ContentLength %v", what, h.ContentLength)
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

func statusSelectors(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c201")
	c.upload(t, "Upload", []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))}, "A1")
	names := func(q mesh.StatusRequest) (*mesh.StatusResponse, string) {
		t.Helper()
		s := new(mesh.StatusResponse)
		c.call(t, mesh.TagStatus, q, s).is(t, "Status", 201, 0)
		var all []string
		for _, x := range s.ContainerStatus {
			all = append(all, x.Container)
		}
		return s, strings.Join(all, " ")
	}
	s, all := names(mesh.StatusRequest{})
	for _, name := range []string{mesh.SpoolInbound, mesh.SpoolOutbound, mesh.SpoolLocal, mesh.CatalogDevice, mesh.CatalogBookmark} { // C-206
		if !strings.Contains(all, name) {
			t.Errorf("%s is missing in %s", name, all)
		}
	}
	// C-201, C-204
	if e := s.EnvelopedProfileMaster; e == nil {
		t.Error("no EnvelopedProfileMaster")
	} else if _, err := mesh.VerifyProfileMesh(e); err != nil || !bytes.Equal(e.Payload, r.profileMesh.Payload) {
		t.Errorf("EnvelopedProfileMaster: %v", err)
	}
	if s, _ := names(mesh.StatusRequest{ProfileMasterDigest: r.profileMesh.Digest()}); s.EnvelopedProfileMaster != nil {
		t.Error("EnvelopedProfileMaster although the digest is equal")
	}
	if s, _ := names(mesh.StatusRequest{ProfileMasterDigest: r.profileAccount.Digest()}); s.EnvelopedProfileMaster == nil {
		t.Error("no EnvelopedProfileMaster although the digest differs")
	}
	// C-202, C-203
	for want, q := range map[string]mesh.StatusRequest{
		mesh.CatalogBookmark:                         {Catalogs: []string{mesh.CatalogBookmark}},
		mesh.SpoolInbound:                            {Spools: []string{mesh.SpoolInbound}},
		mesh.CatalogBookmark + " " + mesh.SpoolLocal: {Catalogs: []string{mesh.CatalogBookmark}, Spools: []string{mesh.SpoolLocal}},
		"": {Catalogs: []string{"mmm_Nonsense"}},
	} {
		if _, got := names(q); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
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
	for _, tag := range []string{mesh.TagPublish, mesh.TagPost, mesh.TagComplete, mesh.TagClaim, mesh.TagPollClaim, mesh.TagCreateGroup, mesh.TagOperate} {
		c.call(t, tag, mesh.Request{}, nil).is(t, tag, 400, 24)
	}
	if diff := cmp.Diff(before, c.states(t)); diff != "" {
		t.Errorf("something was stored (-before +after)\n%s", diff)
	}
}
