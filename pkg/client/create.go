package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

var zeroKey keys.PublicKey

// CreateOptions are the options of Create.
type CreateOptions struct {
	Local       bool   // stop before the service; a later Create without Local goes on
	Description string // of the device, shown to the owner: "laptop"
}

// Create makes profiles where there are none, binds the address at its service (FLOWS §2) and fetches what the service
// made of it. Mesh and device of an account that is on this machine already are used again. A pending creation is
// *PendingError: the same call goes on with it, and so it does after a *NetworkError. An address that this machine has
// bound already is *ExistsError. When the service refuses the address what was made for it is removed.
func Create(ctx context.Context, c Config, address string, o CreateOptions) (*Account, error) {
	parsed, err := mesh.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	dir := accountDir(c.Dir, parsed.String())
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	a, err := openAccount(c, parsed, dir)
	if err != nil {
		return nil, err
	}
	err = a.create(ctx, o)
	if err == nil {
		return a, nil
	}
	if err := errors.Join(err, a.Close()); !a.hopeless(err) {
		return nil, err
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// hopeless says that an account which was made for this call will never be bound: the address is taken, or not allowed.
func (a *Account) hopeless(err error) bool {
	var refusal *ServiceError
	if !a.made || a.file.State != stateLocal || !errors.As(err, &refusal) || refusal.Hint {
		return false
	}
	return refusal.Kind == mesh.AccountRegistered || refusal.Kind == mesh.NameInvalid
}

func (a *Account) create(ctx context.Context, o CreateOptions) error {
	if exists(filepath.Join(a.dir, fileAccount)) {
		if err := a.load(); err != nil {
			return err
		}
		if a.file.State == stateConnected || a.file.State == stateDeleted || o.Local {
			return &ExistsError{a.Address()}
		}
	} else if err := a.make(o); err != nil {
		return err
	}
	if o.Local {
		return nil
	}
	if err := a.bind(ctx); err != nil {
		return err
	}
	_, err := a.Sync(ctx, nil)
	return err
}

// make makes the profiles of the account, and a mesh and a device if this machine has none.
func (a *Account) make(o CreateOptions) error {
	now := a.conf.now()
	f := &accountFile{Version: accountFileVersion, Address: a.Address(), Display: a.address.Display, State: stateLocal}
	profileMesh, profileDevice, err := a.borrow(f)
	if err != nil {
		return err
	}
	if f.Secrets.Mesh == nil {
		if f.Secrets.Mesh, err = mesh.NewMeshSecrets(); err != nil {
			return err
		}
		f.Secrets.Device = *mesh.NewDeviceSecrets()
		if profileMesh, err = f.Secrets.Mesh.ProfileMesh(now); err != nil {
			return err
		}
		if profileDevice, err = f.Secrets.Device.ProfileDevice(o.Description, now); err != nil {
			return err
		}
	}
	if f.Secrets.Account, err = mesh.NewAccountSecrets(); err != nil {
		return err
	}
	f.Device = &mesh.CatalogedDevice{EnvelopedProfileMesh: profileMesh, EnvelopedProfileDevice: profileDevice}
	a.file = f
	if err := a.admit(nil); err != nil {
		return err
	}
	if err := a.save(); err != nil {
		return err
	}
	a.made = true
	if path := filepath.Join(a.conf.Dir, fileDefault); !exists(path) {
		if err := replaceFile(path, []byte(a.Address())); err != nil {
			return err
		}
	}
	return a.openQueue()
}

// borrow takes mesh and device from another account of this machine on which it is an administrator.
func (a *Account) borrow(f *accountFile) (profileMesh, profileDevice *dare.Envelope, err error) {
	all, err := Accounts(a.conf)
	if err != nil {
		return nil, nil, err
	}
	for _, address := range all {
		content, err := os.ReadFile(filepath.Join(accountDir(a.conf.Dir, address), fileAccount))
		if err != nil {
			return nil, nil, err
		}
		var other accountFile
		if err := jbcd.Unmarshal(content, &other); err != nil {
			return nil, nil, err
		}
		if other.Secrets.Mesh != nil && other.Device != nil {
			f.Secrets.Mesh, f.Secrets.Device = other.Secrets.Mesh, other.Secrets.Device
			return other.Device.EnvelopedProfileMesh, other.Device.EnvelopedProfileDevice, nil
		}
	}
	return nil, nil, nil
}

// admit signs the ProfileAccount, which names the service when there is one, and makes this device, the creating one,
// an administrator of the account.
func (a *Account) admit(service *dare.Envelope) error {
	now := a.conf.now()
	f := a.file
	profileMesh, err := mesh.VerifyProfileMesh(f.Device.EnvelopedProfileMesh)
	if err != nil {
		return err
	}
	profile, err := f.Secrets.Account.ProfileAccount(f.Secrets.Mesh, mesh.AccountOptions{
		Addresses: []string{a.Address()}, Mesh: profileMesh, Service: service, Now: now,
	})
	if err != nil {
		return err
	}
	admission := mesh.Admission{
		Mesh: f.Secrets.Mesh, ProfileMesh: f.Device.EnvelopedProfileMesh,
		Account: f.Secrets.Account, ProfileAccount: profile,
		ProfileDevice: f.Device.EnvelopedProfileDevice,
		Rights:        []mesh.RightName{mesh.RightAdmin, mesh.RightAll},
		Now:           now,
	}
	if f.Device, err = admission.CatalogedDevice(); err != nil {
		return err
	}
	return a.activate()
}

// bind asks the service for the address, with the request that it may have got already, if any.
func (a *Account) bind(ctx context.Context) error {
	s, err := a.newSession(ctx)
	if err != nil {
		return err
	}
	defer s.transport.close()
	authentication, err := a.file.Secrets.Device.Authentication()
	if err != nil {
		return err
	}
	s.holder, s.authKID = keys.NewRing(authentication), authentication.KID()
	s.cred = make1.Credential{
		Mode: make1.Device, Account: a.Address(), Envelopes: []*dare.Envelope{a.file.Device.EnvelopedProfileDevice},
	}
	if s.service == nil {
		if err := s.renew(ctx); err != nil {
			return err
		}
	}
	if len(a.file.Creation) == 0 {
		if err := a.prepareCreation(); err != nil {
			return err
		}
	}
	_, body, err := mesh.DecodeRequest(a.file.Creation)
	if err != nil {
		return err
	}
	var req mesh.CreateRequest
	if err := jbcd.Unmarshal(body, &req); err != nil {
		return err
	}
	var res mesh.CreateResponse
	if _, err := s.perform(ctx, a.file.Creation, req.ID, &res, needExchange); err != nil {
		return err
	}
	if res.Status == 300 {
		a.file.State = statePending
		req.ID = newID() // the next time it is a question of its own: under this ID the answer stays what it was (D-10)
		if a.file.Creation, err = mesh.EncodeRequest(mesh.TagCreateAccount, &req); err != nil {
			return err
		}
		return errors.Join(&PendingError{Reason: res.Reason, URL: res.URL}, a.save())
	}
	a.file.State, a.file.Creation = stateConnected, nil
	return a.save()
}

// prepareCreation makes the CreateAccount, with the first entries of mmm_Device and mmm_Contact, and keeps it: it is
// sent again to the octet until there is an answer. It is the one request besides Hello that goes into an exchange also
// over cleartext, against AUTH §7: the protocol has no ticket for it (PROTOCOL §1.6), and what it holds is public or sealed.
func (a *Account) prepareCreation() error {
	if err := a.admit(a.file.Service.ProfileService); err != nil {
		return err
	}
	entry := &a.file.Device.Accounts[0]
	self, err := a.selfContact(entry.EnvelopedProfileAccount)
	if err != nil {
		return err
	}
	req := mesh.CreateRequest{
		Request:                mesh.Request{ID: newID()},
		AccountAddress:         a.Address(),
		SignedProfileMesh:      a.file.Device.EnvelopedProfileMesh,
		SignedAssertionAccount: entry.EnvelopedProfileAccount,
	}
	for _, e := range []mesh.Entry{a.file.Device, self} {
		update, err := a.initial(mesh.ContainerOf(e.Tag()), e)
		if err != nil {
			return err
		}
		req.Updates = append(req.Updates, *update)
	}
	if a.file.Creation, err = mesh.EncodeRequest(mesh.TagCreateAccount, &req); err != nil {
		return err
	}
	return a.save()
}

// initial makes a catalog with one entry.
func (a *Account) initial(container string, e mesh.Entry) (*mesh.ContainerUpdate, error) {
	first, err := firstFrame()
	if err != nil {
		return nil, err
	}
	uniqueID, err := a.member.uniqueID(container, e.PrimaryKey())
	if err != nil {
		return nil, err
	}
	frame, err := a.member.seal(change{container: container, uniqueID: uniqueID, entry: e, introduce: true, now: a.conf.now()})
	if err != nil {
		return nil, err
	}
	return &mesh.ContainerUpdate{Container: container, Envelopes: []*dare.Envelope{first, frame}}, nil
}

// selfContact is the owner's own entry in mmm_Contact: what others will get to know of the account.
func (a *Account) selfContact(profile *dare.Envelope) (*mesh.CatalogedContact, error) {
	udf := a.member.Account.UDF()
	contact, err := mesh.NewTagged(mesh.TagContactPerson, mesh.ContactPerson{Contact: mesh.Contact{
		ID:               udf,
		Anchors:          []mesh.Anchor{{UDF: udf}},
		NetworkAddresses: []mesh.NetworkAddress{{Address: a.Address(), EnvelopedProfileAccount: profile}},
	}})
	if err != nil {
		return nil, err
	}
	return &mesh.CatalogedContact{Key: udf, Self: mesh.Bool(true), Contact: contact}, nil
}
