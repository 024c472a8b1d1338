package e2e

import (
	"bytes"
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
