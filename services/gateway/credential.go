package gateway

import (
	"context"
	"crypto/sha512"
	"errors"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// identity is who the caller is, as far as a gateway can prove it. It holds no rights: the shard knows them.
type identity struct {
	mode       make1.Mode
	key        keys.PublicKey // C
	authKID    string
	account    string // canonical; of an account that is served here
	profileUDF string // of the ProfileAccount; service mode: of the ProfileService
	deviceUDF  string // of the ProfileDevice, which the account names and the device never proves; service mode: of the ProfileHost
	epoch      uint64

	// connection is the assertion shown, nil under a ticket.
	connection *dare.Envelope
	// provisional: the account does not exist yet, the profiles presented count, and only for CreateAccount (AUTH §3.1).
	provisional bool
}

// identify checks a credential (table of AUTH §3.1) and fills in the caller. The caller is proven only when the request
// opens under its key. Errors are of kind NotAuthenticated, UnknownAccount, or the shard's.
func (q *request) identify(ctx context.Context, c *make1.Credential) error {
	const op = "gateway.identify"
	var err error
	switch {
	case len(c.Envelopes) == 0:
		err = errors.New("no envelopes")
	case c.Mode == make1.Device:
		q.by = byDevice
		err = q.who.device(c.Envelopes, q.signedBy)
	case c.Mode == make1.Service:
		q.by = byService
		err = q.who.host(c.Envelopes, q.signedBy)
	case c.Mode == make1.Profile:
		q.by = byProfile
		err = q.profile(ctx, c)
	default:
		err = errors.New("unknown mode")
	}
	var known *mesh.Error
	if err != nil && !errors.As(err, &known) {
		err = mesh.E(op, mesh.NotAuthenticated, err)
	}
	q.who.mode = c.Mode
	return err
}

// checker says whether e is signed by key.
type checker func(e *dare.Envelope, key keys.PublicKey) error

func (id *identity) device(envelopes []*dare.Envelope, signed checker) error {
	var p mesh.ProfileDevice
	if err := object(envelopes[0], mesh.TagProfileDevice, &p); err != nil {
		return err
	}
	if err := selfSigned(envelopes[0], &p.Profile, signed); err != nil {
		return err
	}
	id.deviceUDF = p.UDF()
	return id.authenticatesBy(p.KeyAuthentication)
}

func (id *identity) host(envelopes []*dare.Envelope, signed checker) error {
	if len(envelopes) != 2 {
		return errors.New("want ProfileHost and ProfileService")
	}
	var host mesh.ProfileHost
	if err := object(envelopes[0], mesh.TagProfileHost, &host); err != nil {
		return err
	}
	var service mesh.ProfileService
	if err := object(envelopes[1], mesh.TagProfileService, &service); err != nil {
		return err
	}
	if err := checkHost(envelopes[0], &host, envelopes[1], &service, signed); err != nil {
		return err
	}
	id.profileUDF, id.deviceUDF = service.UDF(), host.UDF()
	return id.authenticatesBy(host.KeyAuthentication)
}

// checkHost checks that a host chains to its service: it is signed by itself and by the service (D-07).
func checkHost(hostEnvelope *dare.Envelope, host *mesh.ProfileHost, serviceEnvelope *dare.Envelope, service *mesh.ProfileService, signed checker) error {
	if err := selfSigned(serviceEnvelope, &service.Profile, signed); err != nil {
		return err
	}
	if err := selfSigned(hostEnvelope, &host.Profile, signed); err != nil {
		return err
	}
	return signedByProfile(hostEnvelope, &service.Profile, signed, true)
}

// profile checks a connection: of an account that is served here against what is stored, of another one against what is
// presented.
func (q *request) profile(ctx context.Context, c *make1.Credential) error {
	address, err := mesh.ParseAddress(c.Account)
	if err != nil {
		return errors.New("no account")
	}
	if q.domains[address.Domain] == nil {
		return q.who.foreign(c.Envelopes, q.signedBy)
	}
	stored, err := q.account(ctx, address.String())
	if mesh.KindOf(err) == mesh.UnknownAccount && len(c.Envelopes) > 1 {
		q.who.provisional, q.who.account = true, address.String()
		return q.who.foreign(c.Envelopes, q.signedBy)
	}
	if err != nil {
		return err
	}
	err = q.who.local(c.Envelopes, stored, q.signedBy)
	if err != nil && !stored.fetched.Equal(q.start) {
		// What was remembered may have been replaced through another gateway.
		q.accounts.forget(address.String())
		if stored, err = q.account(ctx, address.String()); err == nil {
			err = q.who.local(c.Envelopes, stored, q.signedBy)
		}
	}
	if err != nil {
		return err
	}
	if address.SINUDF != "" && !mesh.SameUDF(address.SINUDF, q.who.profileUDF) {
		return errors.New("the strong address names another profile")
	}
	q.who.account = address.String()
	return nil
}

// local checks a ConnectionAccount against the stored ProfileAccount, or a ConnectionDevice against the stored ProfileMesh.
func (id *identity) local(envelopes []*dare.Envelope, stored *account, signed checker) error {
	e := envelopes[0]
	tag, _, err := jbcd.Tagged(e.Payload)
	if err != nil {
		return err
	}
	id.profileUDF, id.epoch = stored.profile.UDF(), stored.epoch
	if tag == mesh.TagConnectionDevice {
		var c mesh.ConnectionDevice
		if err := object(e, tag, &c); err != nil {
			return err
		}
		if err := id.connected(&c.Connection, &stored.mesh.Profile, e, signed); err != nil {
			return err
		}
		return id.authenticatesBy(c.KeyAuthentication)
	}
	return id.byAccount(e, &stored.profile, signed)
}

// foreign checks a ConnectionAccount against the profiles that came with it. Its addresses are claims of its owner.
func (id *identity) foreign(envelopes []*dare.Envelope, signed checker) error {
	if len(envelopes) != 3 {
		return errors.New("want ConnectionAccount, ProfileAccount and ProfileMesh")
	}
	profile, _, err := accountProfiles(envelopes[1], envelopes[2], signed)
	if err != nil {
		return err
	}
	id.profileUDF = profile.UDF()
	return id.byAccount(envelopes[0], profile, signed)
}

func (id *identity) byAccount(e *dare.Envelope, profile *mesh.ProfileAccount, signed checker) error {
	var c mesh.ConnectionAccount
	if err := object(e, mesh.TagConnectionAccount, &c); err != nil {
		return err
	}
	if err := id.connected(&c.Connection, &profile.Profile, e, signed); err != nil {
		return err
	}
	id.connection = e
	return id.authenticatesBy(c.KeyAuthentication)
}

func (id *identity) connected(c *mesh.Connection, authority *mesh.Profile, e *dare.Envelope, signed checker) error {
	if c.AuthorityUDF != "" && !mesh.SameUDF(c.AuthorityUDF, authority.UDF()) {
		return errors.New("connection of another authority")
	}
	id.deviceUDF = c.SubjectUDF
	return signedByProfile(e, authority, signed, false)
}

func (id *identity) authenticatesBy(k *mesh.KeyData) error {
	if k == nil || k.PublicParameters == nil {
		return errors.New("no authentication key")
	}
	id.key, id.authKID = *k.PublicParameters, k.KID()
	return nil
}

// accountProfiles reads and checks a ProfileAccount with its ProfileMesh (D-12).
func accountProfiles(accountEnvelope, meshEnvelope *dare.Envelope, signed checker) (*mesh.ProfileAccount, *mesh.ProfileMesh, error) {
	owner := new(mesh.ProfileMesh)
	if err := object(meshEnvelope, mesh.TagProfileMesh, owner); err != nil {
		return nil, nil, err
	}
	if err := selfSigned(meshEnvelope, &owner.Profile, signed); err != nil {
		return nil, nil, err
	}
	profile := new(mesh.ProfileAccount)
	if err := object(accountEnvelope, mesh.TagProfileAccount, profile); err != nil {
		return nil, nil, err
	}
	if err := checkKeyData(&profile.Profile); err != nil {
		return nil, nil, err
	}
	if !mesh.SameUDF(profile.MeshProfileUDF, owner.UDF()) {
		return nil, nil, errors.New("ProfileAccount of another mesh")
	}
	if selfSigned(accountEnvelope, &profile.Profile, signed) != nil {
		if err := signedByProfile(accountEnvelope, &owner.Profile, signed, false); err != nil {
			return nil, nil, err
		}
	}
	return profile, owner, nil
}

// object reads the payload of an envelope that must be of this type.
func object(e *dare.Envelope, tag string, v any) error {
	have, body, err := jbcd.Tagged(e.Payload)
	if err != nil {
		return err
	}
	if have != tag {
		return errors.New("want a " + tag)
	}
	return jbcd.Unmarshal(body, v)
}

// selfSigned checks that a profile is signed by its own offline key.
func selfSigned(e *dare.Envelope, p *mesh.Profile, signed checker) error {
	if err := checkKeyData(p); err != nil {
		return err
	}
	return signed(e, *p.KeyOfflineSignature.PublicParameters)
}

// checkKeyData refuses a profile whose permanent name is not that of its key.
func checkKeyData(p *mesh.Profile) error {
	k := p.KeyOfflineSignature
	if k == nil || k.PublicParameters == nil {
		return errors.New("profile without offline key")
	}
	if k.UDF != "" && !mesh.SameUDF(k.UDF, k.KID()) {
		return errors.New("profile under the name of another key")
	}
	return nil
}

// signedByProfile checks that one online key of p, or its offline key when that counts too, has signed e.
func signedByProfile(e *dare.Envelope, p *mesh.Profile, signed checker, offline bool) error {
	signatures, err := e.Signatures()
	if err != nil {
		return err
	}
	for i := range signatures {
		key, ok := p.OnlineKey(signatures[i].KID)
		if !ok && offline && mesh.SameUDF(signatures[i].KID, p.UDF()) {
			key, ok = *p.KeyOfflineSignature.PublicParameters, true
		}
		if ok {
			return signed(e, key)
		}
	}
	return dare.ErrNoSignature
}

func verify(e *dare.Envelope, key keys.PublicKey) error { return e.Verify(key) }

// signatureKey says that the owner of a key has signed a payload. Once that has been seen to be so it stays so, whoever
// shows it, beside whatever signature.
type signatureKey struct {
	digest [sha512.Size]byte
	kid    string
}

// signedBy is verify with a memory: a device shows the same connection at every exchange.
func (g *Gateway) signedBy(e *dare.Envelope, key keys.PublicKey) error {
	k := signatureKey{sha512.Sum512(e.Payload), key.KID()}
	if g.verified.has(k) {
		return nil
	}
	if err := e.Verify(key); err != nil {
		return err
	}
	g.verified.add(k)
	return nil
}

// account returns what is stored of an address, or was a few seconds ago.
func (q *request) account(ctx context.Context, address string) (*account, error) {
	if a := q.accounts.get(address); a != nil {
		return a, nil
	}
	var r *shardpb.ResolveResponse
	err := q.router.Accounts(ctx, address, func(ctx context.Context, c shardpb.AccountsServiceClient) (err error) {
		r, err = c.Resolve(ctx, &shardpb.ResolveRequest{Address: address})
		return err
	})
	if err != nil {
		return nil, err
	}
	a, err := readAccount(r)
	if err != nil {
		return nil, mesh.E("gateway.account", mesh.Internal, err)
	}
	a.fetched = q.start
	q.accounts.put(address, a)
	return a, nil
}
