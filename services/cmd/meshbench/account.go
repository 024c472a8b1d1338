package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// container takes the load: entries that only the account can read, as most of what people store.
const container = mesh.CatalogBookmark

// account is one client: an account with one device, its ticket, and what it knows of the container that it fills.
type account struct {
	*connection
	address                     string
	member                      *mesh.Membership
	holder                      *keys.Ring
	ticket                      *make1.Ticket
	profileMesh, profileAccount *dare.Envelope

	acknowledged dare.Peaks // the container's tree after the last answer
	entries      int        // made so far, each with a name of its own
}

// newAccount makes an account at the service, gets a ticket in profile mode and writes the first entry, whose signature
// brings the device's connection: those that are measured name the key only.
func (s *service) newAccount(ctx context.Context, http2 bool) (*account, error) {
	name := make([]byte, 8)
	rand.Read(name) // never fails: it aborts the program
	a := &account{connection: s.connect(http2), address: "bench-" + hex.EncodeToString(name) + "@" + s.domain}
	if err := a.create(ctx); err != nil {
		return nil, fmt.Errorf("create %s: %w", a.address, err)
	}
	if err := a.authenticate(ctx); err != nil {
		return nil, fmt.Errorf("authenticate %s: %w", a.address, err)
	}
	if err := a.begin(ctx); err != nil {
		return nil, fmt.Errorf("first entry of %s: %w", a.address, err)
	}
	return a, nil
}

// create makes keys and profiles and binds the address (FLOWS §2), with the device's entry.
func (a *account) create(ctx context.Context) error {
	now := time.Now()
	meshSecrets, err := mesh.NewMeshSecrets()
	if err != nil {
		return err
	}
	accountSecrets, err := mesh.NewAccountSecrets()
	if err != nil {
		return err
	}
	device := mesh.NewDeviceSecrets()
	admission := mesh.Admission{
		Mesh: meshSecrets, Account: accountSecrets, Rights: []mesh.RightName{mesh.RightAdmin, mesh.RightAll}, Now: now,
	}
	if admission.ProfileMesh, err = meshSecrets.ProfileMesh(now); err != nil {
		return err
	}
	profileMesh, err := mesh.VerifyProfileMesh(admission.ProfileMesh)
	if err != nil {
		return err
	}
	admission.ProfileAccount, err = accountSecrets.ProfileAccount(meshSecrets, mesh.AccountOptions{
		Addresses: []string{a.address}, Mesh: profileMesh, Service: a.service.profile, Now: now,
	})
	if err != nil {
		return err
	}
	if admission.ProfileDevice, err = device.ProfileDevice("meshbench", now); err != nil {
		return err
	}
	entry, err := admission.CatalogedDevice()
	if err != nil {
		return err
	}
	if a.member, err = mesh.Activate(device, entry, entry.Accounts[0].AccountUDF); err != nil {
		return err
	}
	a.holder = a.member.Holder()
	a.profileMesh, a.profileAccount = admission.ProfileMesh, admission.ProfileAccount
	first, err := dare.FirstFrame(&dare.ContentMeta{CTY: "application/mmm-catalog"})
	if err != nil {
		return err
	}
	frame, err := a.frame(mesh.CatalogDevice, entry, true)
	if err != nil {
		return err
	}
	key, err := device.Authentication()
	if err != nil {
		return err
	}
	c := make1.Client{Domain: a.service.domain, S: a.service.authentication, Holder: keys.NewRing(key), AuthKID: key.KID()}
	_, err = a.exchange(ctx, &c, make1.Credential{
		Mode: make1.Device, Account: a.address, Envelopes: []*dare.Envelope{admission.ProfileDevice},
	}, mesh.TagCreateAccount, &mesh.CreateRequest{
		Request:                mesh.Request{ID: newID()},
		AccountAddress:         a.address,
		SignedProfileMesh:      admission.ProfileMesh,
		SignedAssertionAccount: admission.ProfileAccount,
		Updates:                []mesh.ContainerUpdate{{Container: mesh.CatalogDevice, Envelopes: []*dare.Envelope{first, frame}}},
	}, new(mesh.CreateResponse))
	return err
}

// authenticate gets a ticket in profile mode.
func (a *account) authenticate(ctx context.Context) error {
	c := make1.Client{Domain: a.service.domain, S: a.service.authentication, Holder: a.holder, AuthKID: a.member.Authentication.KID()}
	answer, err := a.exchange(ctx, &c, make1.Credential{
		Mode: make1.Profile, Account: a.address, Envelopes: []*dare.Envelope{a.member.Credential},
	}, mesh.TagHello, &mesh.HelloRequest{Request: mesh.Request{ID: newID()}}, new(mesh.MeshHelloResponse))
	if err != nil {
		return err
	}
	if answer.Ticket == nil {
		return fmt.Errorf("no ticket")
	}
	a.ticket = answer.Ticket
	return nil
}

// exchange makes one transaction under an exchange.
func (a *account) exchange(ctx context.Context, c *make1.Client, cred make1.Credential, tag string, req any, res mesh.ResponseMessage) (*make1.Answer, error) {
	payload, err := mesh.EncodeRequest(tag, req)
	if err != nil {
		return nil, err
	}
	e, pending, err := c.Exchange(cred, payload, time.Now())
	if err != nil {
		return nil, err
	}
	body, err := e.MarshalJBCD()
	if err != nil {
		return nil, err
	}
	got, err := a.post(ctx, body)
	if err != nil {
		return nil, err
	}
	answer, err := pending.Open(got)
	if err != nil {
		return nil, err
	}
	return answer, success(answer.Payload, res)
}

// success reads a response and wants 201.
func success(payload []byte, res mesh.ResponseMessage) error {
	if _, err := mesh.DecodeResponse(payload, res); err != nil {
		return err
	}
	if b := res.Base(); b.Status != 201 {
		return fmt.Errorf("%d/%d %s", b.Status, b.StatusExtended, b.StatusDescription)
	}
	return nil
}

// begin makes the container, with frame 0 and an entry whose signature carries the credential.
func (a *account) begin(ctx context.Context) error {
	first, err := dare.FirstFrame(&dare.ContentMeta{CTY: "application/mmm-catalog"})
	if err != nil {
		return err
	}
	frame, err := a.bookmark(1<<10, true)
	if err != nil {
		return err
	}
	s, err := a.sealUpload(&dare.Peaks{}, first, frame)
	if err != nil {
		return err
	}
	if err := s.send(ctx, a); err != nil {
		return err
	}
	a.acknowledged = *s.after
	return nil
}

// bookmark makes the frame of a new entry whose payload has about size octets before it is sealed.
func (a *account) bookmark(size int, introduce bool) (*dare.Envelope, error) {
	a.entries++
	const frame = 110 // what is left of an entry without description
	filler := make([]byte, max(0, size-frame)/2)
	rand.Read(filler)
	return a.frame(container, &mesh.CatalogedBookmark{
		URI: "https://example.com/", Title: "Bench", Path: fmt.Sprintf("bench/%08d", a.entries), Description: hex.EncodeToString(filler),
	}, introduce)
}

// frame seals and signs a new entry as our client does (PROTOCOL D-57).
func (a *account) frame(container string, e mesh.Entry, introduce bool) (*dare.Envelope, error) {
	plain, err := mesh.EncodeEntry(e)
	if err != nil {
		return nil, err
	}
	id, err := mesh.EntryID(a.member.AccountEncryption, container, e.PrimaryKey())
	if err != nil {
		return nil, err
	}
	o := dare.Options{
		Header: dare.Header{EnvelopeID: id},
		Meta: &dare.ContentMeta{
			UniqueID: id, CTY: "application/mmm/object", Event: "New", Modified: &jbcd.Time{Time: time.Now().UTC().Truncate(time.Second)},
		},
		Recipients: []keys.PublicKey{a.member.AccountEncryption.Public()},
		MetaAAD:    true,
		Holder:     a.holder,
		SignKIDs:   []string{a.member.Signature.KID()},
	}
	if mesh.ServiceReadable(container) {
		o.Recipients = append(o.Recipients, a.service.encryption)
	}
	if introduce {
		o.Credential = []*dare.Envelope{a.member.Credential}
	}
	return dare.New(plain, o)
}

func newID() jbcd.Binary {
	id := make([]byte, 16)
	rand.Read(id)
	return id
}
