package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// epoch is when the tests' frames arrive; the hour does not matter, that it stands still does.
var epoch = time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)

// person is the owner of an account, with as many devices as a test wants.
type person struct {
	t       testing.TB
	mesh    *mesh.MeshSecrets
	profile *dare.Envelope // ProfileMesh
	account *mesh.AccountSecrets
	bound   *dare.Envelope // ProfileAccount
	service keys.PublicKey
}

func newPerson(t testing.TB, address string) *person {
	t.Helper()
	p := &person{t: t}
	var err error
	if p.mesh, err = mesh.NewMeshSecrets(); err != nil {
		t.Fatal(err)
	}
	if p.profile, err = p.mesh.ProfileMesh(epoch); err != nil {
		t.Fatal(err)
	}
	m, err := mesh.VerifyProfileMesh(p.profile)
	if err != nil {
		t.Fatal(err)
	}
	if p.account, err = mesh.NewAccountSecrets(); err != nil {
		t.Fatal(err)
	}
	if p.bound, err = p.account.ProfileAccount(p.mesh, mesh.AccountOptions{Addresses: []string{address}, Mesh: m, Now: epoch}); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Generate(keys.X448)
	if err != nil {
		t.Fatal(err)
	}
	p.service = k.Public()
	return p
}

// device is a device of the person's account.
func (p *person) device(rights ...mesh.RightName) (*member, *mesh.CatalogedDevice) {
	p.t.Helper()
	secrets := mesh.NewDeviceSecrets()
	profile, err := secrets.ProfileDevice("test", epoch)
	if err != nil {
		p.t.Fatal(err)
	}
	a := mesh.Admission{
		Mesh: p.mesh, ProfileMesh: p.profile, Account: p.account, ProfileAccount: p.bound, ProfileDevice: profile,
		Rights: rights, Now: epoch,
	}
	entry, err := a.CatalogedDevice()
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := mesh.Activate(secrets, entry, entry.Accounts[0].AccountUDF)
	if err != nil {
		p.t.Fatal(err)
	}
	return newMember(m, p.service), entry
}

// shelf is a container as an honest service keeps it.
type shelf struct {
	t         testing.TB
	container string
	frames    []*dare.Envelope
	peaks     dare.Peaks
	chains    map[string]chain
	written   map[string]bool
}

func newShelf(t testing.TB, container string) *shelf {
	t.Helper()
	s := &shelf{t: t, container: container, chains: map[string]chain{}, written: map[string]bool{}}
	first, err := firstFrame()
	if err != nil {
		t.Fatal(err)
	}
	s.place(first)
	return s
}

// place gives an envelope the next place (D-24).
func (s *shelf) place(e *dare.Envelope) {
	s.t.Helper()
	stored, err := e.Stored()
	if err != nil {
		s.t.Fatal(err)
	}
	index := s.peaks.Frames
	tree := s.peaks.Append(e.Digest())
	p := dare.Place{Info: dare.Info{Index: &index}, Received: epoch, PayloadDigest: e.Digest(), TreeDigest: tree[:]}
	if index == 0 {
		p.Info = dare.FirstInfo()
	}
	placed, err := stored.Placed(p)
	if err != nil {
		s.t.Fatal(err)
	}
	s.frames = append(s.frames, placed)
}

// put is what an honest device m does, and the service with it.
func (s *shelf) put(m *member, e mesh.Entry) {
	s.t.Helper()
	s.place(s.sealed(m, e, nil))
	meta, err := metaOf(s.frames[len(s.frames)-1])
	if err != nil {
		s.t.Fatal(err)
	}
	c, have := s.chains[meta.UniqueID]
	if !have {
		c.first = s.peaks.Frames - 1
	}
	c.last, c.live = s.peaks.Frames-1, meta.Event != eventDelete
	s.chains[meta.UniqueID] = c
}

// sealed makes the frame of an entry as m would now; edit changes what it is made of.
func (s *shelf) sealed(m *member, e mesh.Entry, edit func(*change)) *dare.Envelope {
	s.t.Helper()
	id, err := m.uniqueID(s.container, e.PrimaryKey())
	if err != nil {
		s.t.Fatal(err)
	}
	c := change{container: s.container, uniqueID: id, entry: e, introduce: !s.written[m.signKID()], now: epoch}
	c.at, c.have = s.chains[id]
	if edit != nil {
		edit(&c)
	}
	f, err := m.seal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.written[m.signKID()] = true
	return f
}

func (s *shelf) state() remote { return remote{s.peaks.Frames, s.peaks.Digest()} }

// update is how the service answers a Download of the frames from on.
func (s *shelf) update(from int64) *mesh.ContainerUpdate {
	return &mesh.ContainerUpdate{
		Container: s.container, Index: mesh.Int(s.peaks.Frames), Digest: s.peaks.Digest(),
		Envelopes: append([]*dare.Envelope(nil), s.frames[from:]...),
	}
}

func trustOf(m *member, devices ...*member) *trust {
	t := &trust{holder: m.holder, uniqueIDs: m.uniqueIDs, vouched: m.vouched}
	if len(devices) > 0 {
		t.devices = map[string]keys.PublicKey{}
		for _, d := range devices {
			t.devices[d.signKID()] = d.Signature.Public()
		}
	}
	return t
}

func credential(n int) *mesh.CatalogedCredential {
	return &mesh.CatalogedCredential{
		Protocol: "https", Service: fmt.Sprintf("site%d.example", n), Username: "alice", Password: fmt.Sprintf("secret %d", n),
	}
}

func deletion(e mesh.Entry) *mesh.CatalogedDelete { return &mesh.CatalogedDelete{Key: e.PrimaryKey()} }
