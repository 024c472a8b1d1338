package mesh

import (
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// retirement is how long a service authentication key is accepted after it was replaced (AUTH §9).
const retirement = 7 * 24 * time.Hour

// backdate lets a key be good before it was made: clients with a slow clock meet a new provider too.
const backdate = time.Hour

// Provider is a service with all its keys, as it is made: ProfileService and two hosts, the front of the service and
// the forwarding worker. Deployed, each role has its part only: Gateway, Shard, Outbound.
type Provider struct {
	Domain   string
	Offline  *OfflineKeys
	Gateway  *GatewayKeys
	Shard    *ShardKeys
	Outbound *OutboundKeys
}

// OfflineKeys sign ProfileService and ProfileHosts; they stay offline.
type OfflineKeys struct {
	Domain       string `json:"Domain"`
	Service      Seed   `json:"Service"`
	Host         Seed   `json:"Host"`
	HostOutbound Seed   `json:"HostOutbound"`
}

// ServiceIdentity is the public side of a role: who the service is and which host speaks for it.
type ServiceIdentity struct {
	Domain                  string // A-labels
	EnvelopedProfileService *dare.Envelope
	EnvelopedProfileHost    *dare.Envelope
	Service                 *ProfileService
	Host                    *ProfileHost
}

// GatewayKeys are what a gateway has of a domain.
type GatewayKeys struct {
	ServiceIdentity
	Authentication []*keys.PrivateKey // S; the first is that of the ProfileHost, others are accepted as well (rollover, AUTH §9)
	Signature      *keys.PrivateKey   // of the host: signs null Hellos
}

// ShardKeys are what a shard has of a domain.
type ShardKeys struct {
	ServiceIdentity
	Encryption *keys.PrivateKey // of the service: opens the containers that the service reads
	Signature  *keys.PrivateKey // of the host: signs AcknowledgeConnections and delivery events
}

// OutboundKeys are what the forwarding worker has of a domain: a host of its own. It never has S, so who steals its keys
// can post as this service, but not forge its users' requests.
type OutboundKeys struct {
	ServiceIdentity
	Authentication *keys.PrivateKey // of its own host: service mode
	Signature      *keys.PrivateKey // of its own host
}

// NewProvider makes a provider for a domain whose service authentication keys retire after so many years.
func NewProvider(domain string, now time.Time, years int) (*Provider, error) {
	const op = "mesh.NewProvider"
	domain, err := CanonicalDomain(domain)
	if err != nil {
		return nil, E(op, NameInvalid, err)
	}
	if years < 1 {
		return nil, Errorf(op, BadRequest, "keys of no lifetime")
	}
	p, err := newProvider(domain, now, now.AddDate(years, 0, 0).Add(retirement))
	if err != nil {
		return nil, E(op, Internal, err)
	}
	return p, nil
}

func newProvider(domain string, now, end time.Time) (*Provider, error) {
	seed := func() Seed { return Seed{udf.NewSeed(udf.SeedProfileService)} }
	p := &Provider{Domain: domain, Offline: &OfflineKeys{Domain: domain, Service: seed(), Host: seed(), HostOutbound: seed()}}
	service, encryption, err := p.Offline.profileService(now)
	if err != nil {
		return nil, err
	}
	host, err := p.Offline.profileHost(p.Offline.Host, now, end)
	if err != nil {
		return nil, err
	}
	outbound, err := p.Offline.profileHost(p.Offline.HostOutbound, now, end)
	if err != nil {
		return nil, err
	}
	front, err := identity(domain, service, host.profile)
	if err != nil {
		return nil, err
	}
	worker, err := identity(domain, service, outbound.profile)
	if err != nil {
		return nil, err
	}
	p.Gateway = &GatewayKeys{ServiceIdentity: front, Authentication: []*keys.PrivateKey{host.authentication}, Signature: host.signature}
	p.Shard = &ShardKeys{ServiceIdentity: front, Encryption: encryption, Signature: host.signature}
	p.Outbound = &OutboundKeys{ServiceIdentity: worker, Authentication: outbound.authentication, Signature: outbound.signature}
	return p, nil
}

// profileService makes the ProfileService, which names the domain, and returns the service encryption key.
func (o *OfflineKeys) profileService(now time.Time) (*dare.Envelope, *keys.PrivateKey, error) {
	offline, err := keys.DeriveSeed(o.Service.Seed, keys.Ed448, labelSign)
	if err != nil {
		return nil, nil, err
	}
	encryption, err := keys.DeriveSeed(o.Service.Seed, keys.X448, labelEncrypt)
	if err != nil {
		return nil, nil, err
	}
	p := ProfileService{
		Profile:       Profile{Assertion: assertion(now), KeyOfflineSignature: keyData(offline)},
		KeyEncryption: keyData(encryption),
	}
	p.Names = []string{o.Domain}
	env, err := sign(TagProfileService, p, offline)
	return env, encryption, err
}

type newHost struct {
	profile                   *dare.Envelope
	authentication, signature *keys.PrivateKey
}

// profileHost makes a ProfileHost, signed by its own offline key and by the service (D-07). Its working keys are random:
// the offline file does not open what was sent to them.
func (o *OfflineKeys) profileHost(seed Seed, now, end time.Time) (h newHost, err error) {
	service, err := keys.DeriveSeed(o.Service.Seed, keys.Ed448, labelSign)
	if err != nil {
		return h, err
	}
	offline, err := keys.DeriveSeed(seed.Seed, keys.Ed448, labelSign)
	if err != nil {
		return h, err
	}
	if h.authentication, err = keys.Generate(keys.X448); err != nil {
		return h, err
	}
	if h.signature, err = keys.Generate(keys.Ed448); err != nil {
		return h, err
	}
	s := keyData(h.authentication)
	s.NotBefore = &jbcd.Time{Time: now.Add(-backdate).UTC().Truncate(time.Second)}
	s.NotOnOrAfter = &jbcd.Time{Time: end.UTC().Truncate(time.Second)}
	h.profile, err = sign(TagProfileHost, ProfileHost{
		Profile: Profile{
			Assertion:           assertion(now),
			KeyOfflineSignature: keyData(offline),
			KeysOnlineSignature: []KeyData{*keyData(h.signature)},
		},
		KeyAuthentication: s,
	}, offline, service)
	return h, err
}

// identity verifies what a role will show.
func identity(domain string, service, host *dare.Envelope) (ServiceIdentity, error) {
	i := ServiceIdentity{Domain: domain, EnvelopedProfileService: service, EnvelopedProfileHost: host}
	var err error
	if i.Service, err = VerifyProfileService(service); err != nil {
		return ServiceIdentity{}, err
	}
	if i.Host, err = VerifyProfileHost(host, i.Service); err != nil {
		return ServiceIdentity{}, err
	}
	return i, nil
}

// check says whether the private keys are those of the profiles: a role with another's keys must not start.
func (g *GatewayKeys) check() error {
	if len(g.Authentication) == 0 || g.Signature == nil {
		return errors.New("a key is missing")
	}
	if !g.Authentication[0].Public().Equal(*g.Host.KeyAuthentication.PublicParameters) {
		return errors.New("the first Authentication key is not that of the ProfileHost")
	}
	return g.checkSignature(g.Signature)
}

func (s *ShardKeys) check() error {
	if s.Encryption == nil || s.Signature == nil {
		return errors.New("a key is missing")
	}
	if s.Service.KeyEncryption == nil || !s.Encryption.Public().Equal(*s.Service.KeyEncryption.PublicParameters) {
		return errors.New("the Encryption key is not that of the ProfileService")
	}
	return s.checkSignature(s.Signature)
}

func (o *OutboundKeys) check() error {
	if o.Authentication == nil || o.Signature == nil {
		return errors.New("a key is missing")
	}
	if !o.Authentication.Public().Equal(*o.Host.KeyAuthentication.PublicParameters) {
		return errors.New("the Authentication key is not that of the ProfileHost")
	}
	return o.checkSignature(o.Signature)
}

func (i *ServiceIdentity) checkSignature(k *keys.PrivateKey) error {
	if _, ok := i.Host.OnlineKey(k.KID()); !ok {
		return errors.New("the Signature key is not in the ProfileHost")
	}
	return nil
}
