package shard

import (
	"context"
	"errors"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// account is the account that a request writes to, with its profiles, read from the store when first asked for: most
// uploads need neither.
type account struct {
	server    *Server
	partition uint16
	address   string
	domain    string // whose service encryption key opens entries

	read  bool
	udf   string
	prof  *mesh.ProfileAccount
	root  *mesh.ProfileMesh
	fault error

	strangers map[string]bool // signature keys that the store does not know
	subjects  []string        // devices that a connection read here names as its subject
}

// load reads the stored profiles once.
func (a *account) load(ctx context.Context) error {
	if a.read {
		return a.fault
	}
	a.read = true
	stored, err := a.server.store.Resolve(ctx, a.partition, a.address)
	if err != nil {
		a.fault = err
		return err
	}
	a.fault = a.set(stored.ProfileAccount, stored.ProfileMesh)
	return a.fault
}

// set takes profiles whose signatures were verified before: by the gateway of a CreateAccount, now or long ago.
func (a *account) set(profileAccount, profileMesh []byte) error {
	const op = "shard.account"
	a.read, a.prof, a.root = true, new(mesh.ProfileAccount), new(mesh.ProfileMesh)
	if err := decodeProfile(profileAccount, mesh.TagProfileAccount, a.prof); err != nil {
		return mesh.E(op, mesh.Internal, err)
	}
	if err := decodeProfile(profileMesh, mesh.TagProfileMesh, a.root); err != nil {
		return mesh.E(op, mesh.Internal, err)
	}
	a.udf = a.prof.UDF()
	return nil
}

func (a *account) profileAccount(ctx context.Context) (*mesh.ProfileAccount, error) {
	return a.prof, a.load(ctx)
}

// device reads an entry of mmm_Device: what it says about the device, nil when that is nothing – the entry is not
// encrypted to the service, or connects the device to another account: the store then has a device without keys and
// rights. code is the extended code of a fault. Errors are of the store, or Internal for a domain whose key is not configured.
func (a *account) device(ctx context.Context, e *shardpb.Entry, event Event) (change *DeviceChange, code uint16, err error) {
	if event == Delete {
		return &DeviceChange{DeviceUDF: udf.Canonical(e.GetUniqueId()), Remove: true}, 0, nil
	}
	key, ok := a.server.keys[a.domain]
	if !ok { // the entry would look like one that nobody may read, and the device lose its rights
		return nil, 0, mesh.Errorf("shard.device", mesh.Internal, "no service encryption key of domain %q", a.domain)
	}
	envelope := &dare.Envelope{Header: e.GetHeader(), Payload: e.GetPayload(), Trailer: e.GetTrailer()}
	plain, err := envelope.Open(key)
	if errors.Is(err, dare.ErrNoKey) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, codeProfileInvalid, nil
	}
	entry, err := mesh.DecodeEntry(plain)
	if err != nil {
		return nil, codeProfileInvalid, nil
	}
	cataloged, ok := entry.(*mesh.CatalogedDevice)
	if !ok || cataloged.DeviceUDF == "" || cataloged.DeviceUDF != e.GetUniqueId() { // D-48: the key text itself
		return nil, codeProfileInvalid, nil
	}
	if err := a.load(ctx); err != nil {
		return nil, 0, err
	}
	change, err = a.connected(cataloged)
	if err != nil {
		return nil, codeProfileInvalid, nil
	}
	return change, 0, nil
}

// connected verifies what a device entry claims and says it in the store's words; nil, nil when the device is not
// connected to this account.
func (a *account) connected(d *mesh.CatalogedDevice) (*DeviceChange, error) {
	if d.EnvelopedProfileDevice != nil {
		profile, err := mesh.VerifyProfileDevice(d.EnvelopedProfileDevice)
		if err != nil {
			return nil, err
		}
		if !mesh.SameUDF(profile.UDF(), d.DeviceUDF) {
			return nil, errors.New("ProfileDevice of another device")
		}
	}
	mine := d.Account(a.udf)
	if mine == nil {
		return nil, nil
	}
	if mine.EnvelopedConnectionAccount == nil {
		return nil, errors.New("no ConnectionAccount")
	}
	c, err := mesh.VerifyConnectionAccount(mine.EnvelopedConnectionAccount, a.prof)
	if err != nil {
		return nil, err
	}
	if err := of(c.Connection, d.DeviceUDF); err != nil {
		return nil, err
	}
	change := &DeviceChange{
		DeviceUDF:        udf.Canonical(d.DeviceUDF),
		AuthKID:          c.KeyAuthentication.KID(),
		SignKID:          c.KeySignature.KID(),
		SignCurve:        string(c.KeySignature.PublicParameters.Curve),
		SignKey:          c.KeySignature.PublicParameters.Octets,
		ConnectionDigest: mine.EnvelopedConnectionAccount.Digest(),
	}
	if c.SubjectUDF != "" {
		a.subjects = append(a.subjects, change.DeviceUDF)
	}
	for _, right := range mesh.RightsOf(c) {
		change.Rights |= rightOf(right)
	}
	if d.EnvelopedConnectionDevice != nil {
		m, err := mesh.VerifyConnectionDevice(d.EnvelopedConnectionDevice, a.root)
		if err != nil {
			return nil, err
		}
		if err := of(m.Connection, d.DeviceUDF); err != nil {
			return nil, err
		}
		change.MeshAuthKID = m.KeyAuthentication.KID()
	}
	return change, nil
}

// of checks the subject of a connection where it is written: the reference leaves it empty (DATA §4).
func of(c mesh.Connection, deviceUDF string) error {
	if c.SubjectUDF != "" && !mesh.SameUDF(c.SubjectUDF, deviceUDF) {
		return errors.New("connection of another device")
	}
	return nil
}
