package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// checkService: a service is not the one that was pinned, or its description does not verify.
const checkService check = "service"

// service is who a domain's service is, verified.
type service struct {
	udf     string         // of the ProfileService: what is pinned
	key     keys.PublicKey // S, the service authentication key
	encrypt keys.PublicKey // ProfileService.KeyEncryption; zero when it has none
	profile *dare.Envelope // ProfileService
	host    *dare.Envelope // ProfileHost
	hello   *mesh.MeshHelloResponse
}

// ServiceInfo is what Hello said, verified.
type ServiceInfo struct {
	Domain, Endpoint string
	Response         *mesh.MeshHelloResponse
	ServiceUDF       string
}

// Hello asks a domain's service for its description, unauthenticated (AUTH §8), and verifies the answer: host
// signature over an answer that echoes this request's ID, host by service, service by TLS or by pin.
func Hello(ctx context.Context, c Config, domain string) (*ServiceInfo, error) {
	domain, err := mesh.CanonicalDomain(domain)
	if err != nil {
		return nil, mesh.E("client.Hello", mesh.NameInvalid, err)
	}
	t, err := newTransport(ctx, &c, domain, personal())
	if err != nil {
		return nil, err
	}
	defer t.close()
	s, err := hello(ctx, t, &c, c.Pins[domain])
	if err != nil {
		return nil, err
	}
	return &ServiceInfo{Domain: domain, Endpoint: t.endpointURL(), Response: s.hello, ServiceUDF: s.udf}, nil
}

// hello makes a null Hello and verifies the answer. pin is the UDF of the ProfileService, empty when there is none yet.
func hello(ctx context.Context, t *transport, c *Config, pin string) (*service, error) {
	if pin == "" && t.cleartext() {
		return nil, fmt.Errorf("neither TLS nor a pin says who the service of %s is (AUTH §8)", t.domain)
	}
	id := newID()
	payload, err := mesh.EncodeRequest(mesh.TagHello, &mesh.HelloRequest{Request: mesh.Request{ID: id}})
	if err != nil {
		return nil, err
	}
	var waited, pause time.Duration
	for {
		r, err := t.post(ctx, func() (*dare.Envelope, error) { return &dare.Envelope{Header: []byte("{}"), Payload: payload}, nil })
		if err != nil {
			return nil, err
		}
		s, err := readHello(r, id, c.now())
		var refusal *ServiceError
		if errors.As(err, &refusal) && refusal.Temporary() {
			pause = max(2*pause, patienceStep)
			wait := jitter(max(pause, refusal.RetryAfter))
			if waited += wait; waited <= t.bounds.patience && sleep(ctx, wait) == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if pin != "" && !mesh.SameUDF(pin, s.udf) {
			return nil, &ProofError{
				Fault: string(checkService), Index: -1,
				Err: fmt.Errorf("the service of %s is %s, pinned is %s", t.domain, s.udf, pin),
			}
		}
		return s, nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// readHello verifies the answer to a null Hello with this ID. A refusal is unsigned, a hint. What comes from the wrong
// service, or nobody, is a *NetworkError: as long as nothing verifies there is no service that could have lied.
func readHello(r *reply, id []byte, now time.Time) (*service, error) {
	if r.envelope == nil {
		return nil, refusedByHTTP(r)
	}
	var res mesh.MeshHelloResponse
	if _, err := mesh.DecodeResponse(r.envelope.Payload, &res); err != nil {
		return nil, &NetworkError{err}
	}
	if refusal := refused(&res.Response, r, true); refusal != nil {
		return nil, refusal
	}
	s, err := verifyService(res.EnvelopedProfileService, res.EnvelopedProfileHost, now)
	if err != nil {
		return nil, &NetworkError{err}
	}
	if err := signedByHost(r.envelope, s.host); err != nil {
		return nil, &NetworkError{fmt.Errorf("Hello is not signed by the host: %w", err)}
	}
	if !bytes.Equal(res.ID, id) { // else an old answer with a retired S would pass
		return nil, &NetworkError{errors.New("Hello answers another request")}
	}
	s.hello = &res
	return s, nil
}

// verifyService verifies both profiles of a service: those of Hello, or those kept since.
func verifyService(profile, host *dare.Envelope, now time.Time) (*service, error) {
	ps, err := mesh.VerifyProfileService(profile)
	if err != nil {
		return nil, err
	}
	ph, err := mesh.VerifyProfileHost(host, ps)
	if err != nil {
		return nil, err
	}
	if err := ph.KeyAuthentication.ValidAt(now); err != nil {
		return nil, fmt.Errorf("service authentication key: %w", err)
	}
	s := &service{udf: ps.UDF(), key: *ph.KeyAuthentication.PublicParameters, profile: profile, host: host}
	if ps.KeyEncryption != nil {
		s.encrypt = *ps.KeyEncryption.PublicParameters
	}
	return s, nil
}

// signedByHost checks the host signature of an answer to a null Hello.
func signedByHost(e, host *dare.Envelope) error {
	ps := new(mesh.ProfileHost)
	if err := decodeTagged(host.Payload, mesh.TagProfileHost, ps); err != nil {
		return err
	}
	for i := range ps.KeysOnlineSignature {
		err := e.Verify(*ps.KeysOnlineSignature[i].PublicParameters)
		if !errors.Is(err, dare.ErrNoSignature) {
			return err
		}
	}
	return dare.ErrNoSignature
}
