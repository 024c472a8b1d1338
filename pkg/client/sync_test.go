package client

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// shop is an account whose service serves shelves, and may lie about them.
type shop struct {
	t       *testing.T
	fake    *fakeService
	account *Account
	laptop  *member
	shelves map[string]*shelf
	edit    func(*mesh.DownloadRequest, *mesh.DownloadResponse)
	asked   []*mesh.DownloadRequest
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, shelves: map[string]*shelf{}}
	p := newPerson(t, "alice@example.com")
	var entry *mesh.CatalogedDevice
	s.laptop, entry = p.device(mesh.RightAdmin, mesh.RightAll)
	s.shelves[mesh.CatalogDevice] = newShelf(t, mesh.CatalogDevice)
	s.shelves[mesh.CatalogDevice].put(s.laptop, entry)
	s.fake = newFake(t)
	s.fake.serve = s.serve
	c := newCaller(t, s.fake, "https")
	c.holder, c.authKID = s.laptop.holder, s.laptop.Authentication.KID()
	c.cred.Envelopes = []*dare.Envelope{s.laptop.Credential}
	g := s.fake.provider.Gateway
	s.account = &Account{
		conf: *c.conf, address: mesh.Address{Local: "alice", Domain: "example.com"}, dir: t.TempDir(),
		file: &accountFile{State: stateConnected, Device: entry, Service: &serviceFile{
			UDF: g.Service.UDF(), ProfileService: g.EnvelopedProfileService, ProfileHost: g.EnvelopedProfileHost,
		}},
		member: s.laptop, replicas: map[string]*replica{}, session: c.session,
	}
	if err := s.account.openQueue(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.account.queue.close() })
	return s
}

func (s *shop) serve(tag string, body jbcd.Raw) mesh.ResponseMessage {
	if tag == mesh.TagStatus {
		res := new(mesh.StatusResponse)
		for name, shelf := range s.shelves {
			res.ContainerStatus = append(res.ContainerStatus, mesh.ContainerStatus{
				Container: name, Index: mesh.Int(shelf.peaks.Frames), Digest: shelf.peaks.Digest(),
			})
		}
		return res
	}
	req := new(mesh.DownloadRequest)
	if err := jbcd.Unmarshal(body, req); err != nil {
		s.t.Error(err)
	}
	s.asked = append(s.asked, req)
	res := new(mesh.DownloadResponse)
	for _, sel := range req.Select {
		shelf := s.shelves[sel.Container]
		u := shelf.update(0)
		u.Envelopes = u.Envelopes[*sel.IndexMin : *sel.IndexMax+1]
		res.Updates = append(res.Updates, *u)
	}
	if s.edit != nil {
		s.edit(req, res)
	}
	return res
}

func (s *shop) sync() (*SyncReport, error) { return s.account.Sync(s.t.Context(), nil) }

// FLOWS §5, D-20: a frame larger than a page comes in parts; the replica has it as if it had come whole.
func TestSyncJoinsParts(t *testing.T) {
	s := newShop(t)
	shelf := newShelf(t, mesh.CatalogCredential)
	large := credential(1)
	large.Notes = strings.Repeat("x", 10_000)
	shelf.put(s.laptop, large)
	shelf.put(s.laptop, credential(2))
	s.shelves[mesh.CatalogCredential] = shelf
	const page = 4000
	s.edit = func(req *mesh.DownloadRequest, res *mesh.DownloadResponse) {
		offset := 0
		if o := req.ConstraintsPost.BytesOffset; o != nil {
			offset = int(*o)
		}
		for i := range res.Updates {
			for j, e := range res.Updates[i].Envelopes {
				if res.Updates[i].Container == mesh.CatalogDevice || len(e.Payload) < 10_000 {
					continue
				}
				cut := *e
				cut.Header = set(t, cut.Header, "ContentLength", int64(len(e.Payload)))
				cut.Payload = e.Payload[offset:min(len(e.Payload), offset+page)]
				res.Updates[i].Envelopes[j] = &cut
			}
		}
	}
	if _, err := s.sync(); err != nil {
		t.Fatal(err)
	}
	if len(s.asked) != 3 { // both containers in one, then two more parts
		t.Errorf("%d Downloads, want 3", len(s.asked))
	}
	r, err := s.account.replica(mesh.CatalogCredential)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range shelf.frames {
		got, err := r.frame(int64(i))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("frame %d (-want +got):\n%s", i, diff)
		}
	}
}

// C-016: the service has another history, longer than the one which it had shown: that is a fork, not a wrong frame.
func TestSyncNamesAFork(t *testing.T) {
	s := newShop(t)
	shelf := newShelf(t, mesh.CatalogCredential)
	shelf.put(s.laptop, credential(1))
	shelf.put(s.laptop, credential(2))
	s.shelves[mesh.CatalogCredential] = shelf
	if _, err := s.sync(); err != nil {
		t.Fatal(err)
	}
	other := newShelf(t, mesh.CatalogCredential)
	for n := range 5 {
		other.put(s.laptop, credential(n+10))
	}
	s.shelves[mesh.CatalogCredential] = other
	report, err := s.sync()
	var proof *ProofError
	if !errors.As(err, &proof) || proof.Fault != "fork" || proof.Index != 3 || proof.Container != mesh.CatalogCredential {
		t.Fatalf("%v, want fork at 3", err)
	}
	for _, c := range report.Containers {
		if c.Container == mesh.CatalogCredential && (c.Frames != 3 || !bytes.Equal(c.Digest, shelf.peaks.Digest()) || c.Fault != "fork") {
			t.Errorf("the replica was touched: %+v", c)
		}
	}
	frame, err := os.ReadFile(filepath.Join(proof.Evidence, "frame.json"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := dare.Parse(frame)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(other.frames[3], kept); diff != "" {
		t.Errorf("evidence is not the frame as received (-want +got):\n%s", diff)
	}
	opened, err := os.ReadFile(filepath.Join(proof.Evidence, "response.json"))
	if err != nil {
		t.Fatal(err)
	}
	var res mesh.DownloadResponse
	if _, err := mesh.DecodeResponse(opened, &res); err != nil || len(res.Updates) != 1 {
		t.Errorf("the evidence does not hold the answer as it opened: %v, %s", err, opened)
	}
}

// A container with a name that is none of an account never becomes a file.
func TestSyncIgnoresNamesThatAreNone(t *testing.T) {
	s := newShop(t)
	s.shelves["../../evil"] = newShelf(t, "../../evil")
	s.shelves["mmm_Later"] = newShelf(t, "mmm_Later")
	report, err := s.sync()
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Containers) != 1 {
		t.Errorf("%+v, want mmm_Device alone", report.Containers)
	}
}

// A service that answers every Upload with Conflict is given up, not asked for ever; the change waits on.
func TestSyncGivesUpOnConflicts(t *testing.T) {
	s := newShop(t)
	c, err := s.account.Catalog(mesh.CatalogBookmark)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(&mesh.CatalogedBookmark{Path: "x", URI: "https://x.example"}); err != nil {
		t.Fatal(err)
	}
	uploads := 0
	honest := s.serve
	s.fake.serve = func(tag string, body jbcd.Raw) mesh.ResponseMessage {
		if tag != mesh.TagUpload {
			return honest(tag, body)
		}
		uploads++
		return &mesh.UploadResponse{Entries: []mesh.EntryResponse{
			{IndexRequest: 0, Result: mesh.ResultConflict}, {IndexRequest: 1, Result: mesh.ResultConflict},
		}}
	}
	_, err = s.sync()
	var refusal *ServiceError
	if !errors.As(err, &refusal) || refusal.Kind != mesh.Conflict || uploads != rounds {
		t.Errorf("%v after %d Uploads, want it given up after %d", err, uploads, rounds)
	}
	if n := s.account.Info().Pending; n != 1 {
		t.Errorf("%d changes wait, want 1", n)
	}
}

// D-57 b: whichever change of a device goes out first in a container brings its credential, also when the one that was made
// to do so was taken back or made anew.
func TestSyncIntroducesTheDeviceFirst(t *testing.T) {
	for name, edit := range map[string]func(*Catalog) error{
		"nothing":    func(*Catalog) error { return nil },
		"made anew":  func(c *Catalog) error { e := credential(1); e.Notes = "x"; return c.Put(e) },
		"taken back": func(c *Catalog) error { _, err := c.Delete(credential(1).PrimaryKey()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			c, err := s.account.Catalog(mesh.CatalogCredential)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Put(credential(1), credential(2), credential(3)); err != nil {
				t.Fatal(err)
			}
			if err := edit(c); err != nil {
				t.Fatal(err)
			}
			var sent *mesh.UploadRequest
			honest := s.serve
			s.fake.serve = func(tag string, body jbcd.Raw) mesh.ResponseMessage {
				if tag != mesh.TagUpload {
					return honest(tag, body)
				}
				sent = new(mesh.UploadRequest)
				if err := jbcd.Unmarshal(body, sent); err != nil {
					t.Error(err)
				}
				res := new(mesh.UploadResponse)
				for range sent.Updates[0].Envelopes {
					res.Entries = append(res.Entries, mesh.EntryResponse{Result: mesh.ResultReject, Reason: "test"})
				}
				return res
			}
			_, err = s.sync()
			if refusal := refusalOf(t, err); refusal.Reason != "test" {
				t.Errorf("refused with %v", refusal)
			}
			shelf := newShelf(t, mesh.CatalogCredential)
			for i, e := range sent.Updates[0].Envelopes {
				if i > 0 {
					shelf.place(e)
				}
			}
			v := (&replica{container: mesh.CatalogCredential}).verifier(trustOf(s.laptop)) // knows no device
			if _, f := v.batch(shelf.frames); f != nil {
				t.Errorf("a device that cannot read mmm_Device refuses it: %v", f)
			}
		})
	}
}

// D-24: what the client reads back is what it sent, but for what the service writes.
func TestRejoin(t *testing.T) {
	s := newShop(t)
	shelf := newShelf(t, mesh.CatalogCredential)
	own := shelf.sealed(s.laptop, credential(1), nil)
	shelf.place(own)
	served := &dare.Envelope{
		Header: set(t, shelf.frames[1].Header, "ContentLength", int64(len(own.Payload))), Trailer: shelf.frames[1].Trailer,
	}
	whole, err := rejoin(served, own, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shelf.frames[1], whole); diff != "" {
		t.Errorf("not the frame that the service has (-want +got):\n%s", diff)
	}
	signatures, err := own.Signatures()
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*dare.Envelope{
		"a member more in the header":  {Header: set(t, served.Header, "Malt", "x"), Trailer: served.Trailer},
		"another Salt":                 {Header: set(t, served.Header, "Salt", jbcd.Binary("0123456789abcdef")), Trailer: served.Trailer},
		"a signature more":             {Header: served.Header, Trailer: set(t, served.Trailer, "signatures", append(signatures, signatures[0]))},
		"members in another order":     {Header: set(t, served.Header, "EnvelopeID", shelfID(t, served)), Trailer: served.Trailer},
		"a trailer that was not there": {Header: served.Header, Trailer: set(t, served.Trailer, "SignedData", "x")},
	} {
		if _, err := rejoin(e, own, 1); err == nil {
			t.Errorf("%s was not noticed", name)
		}
	}
}

func shelfID(t *testing.T, e *dare.Envelope) string {
	t.Helper()
	h, err := e.ParseHeader()
	if err != nil {
		t.Fatal(err)
	}
	return h.EnvelopeID
}

// A change that was on its way when the next one of its entry was made, and was not taken because others were faster, is
// superseded: sent beside the next one, both would name the same Previous, and no device could read on.
func TestSyncSupersedesWhatWasNotTaken(t *testing.T) {
	s := newShop(t)
	shelf := newShelf(t, mesh.CatalogCredential)
	shelf.put(s.laptop, credential(1))
	s.shelves[mesh.CatalogCredential] = shelf
	if _, err := s.sync(); err != nil {
		t.Fatal(err)
	}
	catalog := must(s.account.Catalog(mesh.CatalogCredential))
	edit := credential(1)
	put := func(password string) {
		t.Helper()
		edit.Password = password
		if err := catalog.Put(edit); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	q, replica := s.account.queue, must(s.account.replica(mesh.CatalogCredential))
	if err := q.send(&sent{ID: newID(), Containers: []sentUpdate{{ // the answer was lost
		Container: mesh.CatalogCredential, Index: replica.frames(), Digest: replica.peaks().Digest(), Seqs: []int64{q.pending("")[0].Seq},
	}}}); err != nil {
		t.Fatal(err)
	}
	put("second")
	shelf.put(s.laptop, credential(2))
	honest := s.fake.serve
	s.fake.serve = func(tag string, body jbcd.Raw) mesh.ResponseMessage {
		if tag != mesh.TagUpload {
			return honest(tag, body)
		}
		var req mesh.UploadRequest
		if err := jbcd.Unmarshal(body, &req); err != nil {
			t.Error(err)
		}
		res, update := new(mesh.UploadResponse), req.Updates[0]
		result := mesh.ResultConflict
		if *update.Index == shelf.peaks.Frames {
			result = mesh.ResultAccept
		}
		for i, e := range update.Envelopes {
			res.Entries = append(res.Entries, mesh.EntryResponse{IndexRequest: int64(i), Result: result})
			if result == mesh.ResultAccept {
				shelf.place(e)
			}
		}
		return res
	}
	if _, err := s.sync(); err != nil {
		t.Fatal(err)
	}
	e, _, err := catalog.Get(edit.PrimaryKey())
	if err != nil || e.Pending || !strings.Contains(string(e.Body), `"second"`) || shelf.peaks.Frames != 4 {
		t.Errorf("%s, pending %t, %d frames, %v; want the second change, sent as the fourth frame", e.Body, e.Pending, shelf.peaks.Frames, err)
	}
}
