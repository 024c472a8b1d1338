package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
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
	key        keys.PublicKey // C
	authKID    string
	profileUDF string // of the ProfileAccount, empty when it does not prove to be that profile's; service mode: of the ProfileService
	deviceUDF  string // of the ProfileDevice, which the account names and the device never proves; service mode: of the ProfileHost

	mode    make1.Mode
	account string // canonical; of an account that is served here
	epoch   uint64
	// connection is the ConnectionAccount shown; nil in other modes, and under a ticket.
	connection *dare.Envelope
	// provisional: the account does not exist yet, the profiles presented count, and only for CreateAccount (AUTH §3.1).
	provisional bool
}

// identify checks a credential by the table of AUTH §3.1 and makes the caller q.who. The caller is proven only when the
// request opens under its key. Errors are of kind NotAuthenticated, or the shard's; that an account does not exist is no
// other answer than that a credential is not good for it: the caller is a stranger yet (AUTH §10).
func (q *request) identify(ctx context.Context, c *make1.Credential) (err error) {
	if len(c.Envelopes) == 0 {
		return mesh.Errorf("gateway.identify", mesh.NotAuthenticated, "no envelopes")
	}
	switch c.Mode {
	case make1.Device:
		q.by = byDevice
		q.who, err = q.prove("device", nil, c.Envelopes, device)
	case make1.Service:
		q.by = byService
		q.who, err = q.prove("service", nil, c.Envelopes, host)
	default:
		q.by = byProfile
		q.who, err = q.profile(ctx, c)
	}
	q.who.mode = c.Mode
	return err
}

// profile checks a connection: of an account that is served here against what is stored, of another one against what is
// presented with it.
func (q *request) profile(ctx context.Context, c *make1.Credential) (identity, error) {
	const op = "gateway.profile"
	address, err := mesh.ParseAddress(c.Account)
	if err != nil {
		return identity{}, mesh.E(op, mesh.NotAuthenticated, err)
	}
	name := address.String()
	if q.domains[address.Domain] == nil {
		return q.presented(c)
	}
	stored, err := q.account(ctx, name)
	if mesh.KindOf(err) == mesh.UnknownAccount && len(c.Envelopes) > 1 {
		id, err := q.presented(c)
		id.provisional, id.account = true, name
		return id, err
	}
	if err != nil {
		return identity{}, unknown(op, err)
	}
	id, err := q.stored(c, stored)
	if err != nil && !stored.fetched.Equal(q.start) {
		// What was remembered may have been replaced through another gateway.
		q.accounts.forget(name)
		if stored, err = q.account(ctx, name); err == nil {
			id, err = q.stored(c, stored)
		}
		err = unknown(op, err)
	}
	if err == nil && address.SINUDF != "" && !mesh.SameUDF(address.SINUDF, id.profileUDF) {
		err = mesh.Errorf(op, mesh.NotAuthenticated, "the strong address names another profile")
	}
	id.account = name
	return id, err
}

// unknown makes an account that does not exist one with which the caller is not authenticated.
func unknown(op string, err error) error {
	if mesh.KindOf(err) == mesh.UnknownAccount {
		return mesh.E(op, mesh.NotAuthenticated, err)
	}
	return err
}

// stored checks a credential against the profiles of an account that is served here.
func (q *request) stored(c *make1.Credential, a *account) (identity, error) {
	id, err := q.prove("stored", a.digest[:], c.Envelopes[:1], func(e []*dare.Envelope) (identity, error) { return connected(e[0], a) })
	id.epoch = a.epoch
	if tag(c.Envelopes[0]) == mesh.TagConnectionAccount {
		id.connection = c.Envelopes[0]
	}
	return id, err
}

// presented checks a credential that brings its profiles. Their addresses are claims of their owner.
func (q *request) presented(c *make1.Credential) (identity, error) {
	id, err := q.prove("presented", nil, c.Envelopes, foreign)
	id.connection = c.Envelopes[0]
	return id, err
}

// credentialKey names a credential together with what it was checked against.
type credentialKey [sha256.Size]byte

// prove is f with a memory: a device shows the same credential at every exchange, and checking it costs up to four
// signatures. What was good once stays good as long as the authority is the same; whether the device is still one of the
// account is asked of the shard every time.
func (g *Gateway) prove(how string, authority []byte, envelopes []*dare.Envelope, f func([]*dare.Envelope) (identity, error)) (identity, error) {
	h := sha256.New()
	part := func(octets []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(octets)))
		h.Write(n[:])
		h.Write(octets)
	}
	part([]byte(how))
	part(authority)
	for _, e := range envelopes {
		part(e.Header)
		part(e.Payload)
		part(e.Trailer)
	}
	k := credentialKey(h.Sum(nil))
	if id, ok := g.proven.get(k); ok {
		return id, nil
	}
	id, err := f(envelopes)
	if err != nil {
		return identity{}, mesh.E("gateway.prove", mesh.NotAuthenticated, err)
	}
	g.proven.add(k, id)
	return id, nil
}

// device: [ProfileDevice], self-signed.
func device(e []*dare.Envelope) (identity, error) {
	p, err := mesh.VerifyProfileDevice(e[0])
	if err != nil {
		return identity{}, err
	}
	return authenticates(p.KeyAuthentication, "", p.UDF())
}

// host: [ProfileHost, ProfileService], the host signed by itself and by the service (D-07). Whether the service may send
// us anything is accreditation, D-38.
func host(e []*dare.Envelope) (identity, error) {
	if len(e) != 2 {
		return identity{}, errors.New("want ProfileHost and ProfileService")
	}
	s, err := mesh.VerifyProfileService(e[1])
	if err != nil {
		return identity{}, err
	}
	h, err := mesh.VerifyProfileHost(e[0], s)
	if err != nil {
		return identity{}, err
	}
	return authenticates(h.KeyAuthentication, s.UDF(), h.UDF())
}

// foreign: [ConnectionAccount, ProfileAccount, ProfileMesh].
func foreign(e []*dare.Envelope) (identity, error) {
	if len(e) != 3 {
		return identity{}, errors.New("want ConnectionAccount, ProfileAccount and ProfileMesh")
	}
	owner, err := mesh.VerifyProfileMesh(e[2])
	if err != nil {
		return identity{}, err
	}
	// By its own signature only: the caller is known by the UDF of this profile, and a mesh can put anybody's key into
	// a profile that it signs.
	profile, err := mesh.VerifyProfileAccount(e[1], nil)
	if err != nil {
		return identity{}, err
	}
	if !mesh.SameUDF(profile.MeshProfileUDF, owner.UDF()) {
		return identity{}, errors.New("the ProfileMesh is another's")
	}
	c, err := mesh.VerifyConnectionAccount(e[0], profile)
	if err != nil {
		return identity{}, err
	}
	return authenticates(c.KeyAuthentication, profile.UDF(), c.SubjectUDF)
}

// connected: a ConnectionAccount under the stored ProfileAccount, or a ConnectionDevice under the stored ProfileMesh.
func connected(e *dare.Envelope, a *account) (identity, error) {
	if tag(e) == mesh.TagConnectionDevice {
		c, err := mesh.VerifyConnectionDevice(e, &a.mesh)
		if err != nil {
			return identity{}, err
		}
		return authenticates(c.KeyAuthentication, provenUDF(&a.profile, a.signed), c.SubjectUDF)
	}
	c, err := mesh.VerifyConnectionAccount(e, &a.profile)
	if err != nil {
		return identity{}, err
	}
	return authenticates(c.KeyAuthentication, provenUDF(&a.profile, a.signed), c.SubjectUDF)
}

func authenticates(k *mesh.KeyData, profileUDF, deviceUDF string) (identity, error) {
	if k == nil || k.PublicParameters == nil {
		return identity{}, errors.New("no authentication key")
	}
	return identity{key: *k.PublicParameters, authKID: k.KID(), profileUDF: profileUDF, deviceUDF: deviceUDF}, nil
}

// tag is the type of the payload, empty when it has none.
func tag(e *dare.Envelope) string {
	t, _, err := jbcd.Tagged(e.Payload)
	if err != nil {
		return ""
	}
	return t
}

// account returns what is stored of an address, or was a few seconds ago.
func (q *request) account(ctx context.Context, address string) (*account, error) {
	if a := q.accounts.get(address); a != nil {
		return a, nil
	}
	var r *shardpb.ResolveResponse
	err := q.shard(ctx, address, func(ctx context.Context, c shardpb.AccountsServiceClient) (err error) {
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
