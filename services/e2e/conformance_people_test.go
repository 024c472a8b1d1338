package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// resident is a person with a mesh, an account and a device that made the account.
type resident struct {
	mesh           *mesh.MeshSecrets
	profileMesh    *dare.Envelope
	account        *mesh.AccountSecrets
	profileAccount *dare.Envelope
	udf            string
	addresses      []string
	device         *seat
}

// seat is a device with its place in an account.
type seat struct {
	secrets *mesh.DeviceSecrets
	profile *dare.Envelope
	entry   *mesh.CatalogedDevice
	member  *mesh.Membership
}

// newResident makes the keys and profiles; nothing is sent.
func newResident(t *testing.T, addresses ...string) *resident {
	t.Helper()
	r := &resident{
		addresses: addresses, mesh: must[*mesh.MeshSecrets](t)(mesh.NewMeshSecrets()), account: must[*mesh.AccountSecrets](t)(mesh.NewAccountSecrets()),
	}
	r.profileMesh = must[*dare.Envelope](t)(r.mesh.ProfileMesh(time.Now()))
	r.describe(t, time.Now())
	r.device = r.admit(t, mesh.NewDeviceSecrets(), mesh.Rights()...)
	return r
}

// describe signs the ProfileAccount anew.
func (r *resident) describe(t *testing.T, now time.Time) {
	t.Helper()
	owner := must[*mesh.ProfileMesh](t)(mesh.VerifyProfileMesh(r.profileMesh))
	r.profileAccount = must[*dare.Envelope](t)(r.account.ProfileAccount(r.mesh, mesh.AccountOptions{Addresses: r.addresses, Mesh: owner, Now: now}))
	r.udf = must[*mesh.ProfileAccount](t)(mesh.VerifyProfileAccount(r.profileAccount, owner)).UDF()
}

// admit makes the CatalogedDevice that gives a device these rights.
func (r *resident) admit(t *testing.T, secrets *mesh.DeviceSecrets, rights ...mesh.RightName) *seat {
	t.Helper()
	d := &seat{secrets: secrets}
	d.profile = must[*dare.Envelope](t)(d.secrets.ProfileDevice("a device", time.Now()))
	a := mesh.Admission{
		Mesh: r.mesh, ProfileMesh: r.profileMesh, Account: r.account, ProfileAccount: r.profileAccount, ProfileDevice: d.profile, Rights: rights, Now: time.Now(),
	}
	d.entry = must[*mesh.CatalogedDevice](t)(a.CatalogedDevice())
	d.member = must[*mesh.Membership](t)(mesh.Activate(d.secrets, d.entry, r.udf))
	return d
}

// update is what mmm_Device learns of the device.
func (d *seat) update(t *testing.T, event string) mesh.ContainerUpdate {
	t.Helper()
	payload := must[[]byte](t)(jbcd.Tag(mesh.TagCatalogedDevice, d.entry))
	if event == "Delete" {
		payload = nil
	}
	e := must[*dare.Envelope](t)(dare.New(payload, dare.Options{
		Header: dare.Header{EnvelopeID: d.entry.DeviceUDF}, Meta: &dare.ContentMeta{UniqueID: d.entry.DeviceUDF, Event: event}, Digest: true,
	}))
	return mesh.ContainerUpdate{Container: mesh.CatalogDevice, Envelopes: []*dare.Envelope{e}}
}

func (r *resident) creation(t *testing.T) *mesh.CreateRequest {
	t.Helper()
	return &mesh.CreateRequest{
		AccountAddress: r.addresses[0], SignedProfileMesh: r.profileMesh, SignedAssertionAccount: r.profileAccount,
		Updates: []mesh.ContainerUpdate{r.device.update(t, "New")},
	}
}

// moveIn makes the account and returns its device as a caller with a ticket.
func (r *resident) moveIn(t *testing.T, d *door) *caller {
	t.Helper()
	r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, r.creation(t), new(mesh.CreateResponse)).is(t, "CreateAccount", 201, 0)
	return r.device.at(d, r.addresses[0]).greet(t)
}

// settle makes an account at alpha.
func settle(t *testing.T, m *meshtest.Mesh, local string) (*resident, *caller) {
	t.Helper()
	r := newResident(t, local+"@"+meshtest.Alpha)
	return r, r.moveIn(t, alphaDoor(t, m))
}

// at is the device in profile mode.
func (d *seat) at(f *door, address string) *caller {
	return &caller{door: f, key: d.member.Authentication, cred: make1.Credential{Mode: make1.Profile, Account: address, Envelopes: []*dare.Envelope{d.member.Credential}}}
}

// byDevice is the device in device mode.
func (d *seat) byDevice(t *testing.T, f *door) *caller {
	t.Helper()
	key := must[*keys.PrivateKey](t)(d.secrets.Authentication())
	return &caller{door: f, key: key, cred: make1.Credential{Mode: make1.Device, Envelopes: []*dare.Envelope{d.profile}}}
}

func byAccount(address string) mesh.RequestUser { return mesh.RequestUser{Account: address} }

// frame is an entry of a catalog whose marks (D-57) a service does not ask for.
func frame(t *testing.T, id, event, payload string) *dare.Envelope {
	t.Helper()
	return must[*dare.Envelope](t)(dare.New([]byte(payload), dare.Options{Meta: &dare.ContentMeta{UniqueID: id, Event: event}, Digest: true}))
}

func bookmarks(frames ...*dare.Envelope) mesh.ContainerUpdate {
	return mesh.ContainerUpdate{Container: mesh.CatalogBookmark, Envelopes: frames}
}

// results writes the fates of entries: A1 R C.
func results(t *testing.T, r *mesh.UploadResponse) string {
	t.Helper()
	var all []string
	for i, e := range r.Entries {
		if e.IndexRequest != int64(i) {
			t.Errorf("entry %d has IndexRequest %d", i, e.IndexRequest)
		}
		s := e.Result[:1]
		if e.IndexContainer != nil {
			s += string(must[[]byte](t)(jbcd.Marshal(*e.IndexContainer)))
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// indexes are those of the frames of an update, as their headers say.
func indexes(t *testing.T, u mesh.ContainerUpdate) string {
	t.Helper()
	var all []string
	for _, e := range u.Envelopes {
		h := must[*dare.Header](t)(e.ParseHeader())
		all = append(all, string(must[[]byte](t)(jbcd.Marshal(*h.ContainerInfo.Index))))
	}
	return strings.Join(all, " ")
}

// hostOf is a provider's host in service mode.
func hostOf(t *testing.T, m *meshtest.Mesh, domain string, d *door) *caller {
	t.Helper()
	k := must[*mesh.OutboundKeys](t)(mesh.LoadOutbound(m.Provider(t, domain).Provider))
	return &caller{door: d, key: k.Authentication, cred: make1.Credential{
		Mode: make1.Service, Envelopes: []*dare.Envelope{k.EnvelopedProfileHost, k.EnvelopedProfileService},
	}}
}
