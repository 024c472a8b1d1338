//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// catalog is the container that people of these tests write to.
const catalog = mesh.CatalogBookmark

// service is a service as a stranger sees it, verified by its Hello.
type service struct {
	stack.ProviderState
	endpoint   *atomic.Pointer[string] // where it is now: `meshd dev` has other ports after each start
	http       *http.Client
	key        keys.PublicKey // S
	encryption keys.PublicKey // reads mmm_Device
	profile    *dare.Envelope // ProfileService
}

// answerTime is longer than a gateway waits for anything.
const answerTime = 20 * time.Second

// meet verifies the service of p.
func meet(t testing.TB, p stack.ProviderState) *service {
	t.Helper()
	s := &service{ProviderState: p, endpoint: new(atomic.Pointer[string]), http: browser(t, p, answerTime)}
	s.endpoint.Store(&p.Endpoint)
	hello, err := client.Hello(t.Context(), client.Config{Services: map[string]string{p.Domain: p.Endpoint}, HTTP: s.http}, p.Domain)
	if err != nil {
		t.Fatal(err)
	}
	service, err := mesh.VerifyProfileService(hello.Response.EnvelopedProfileService)
	if err != nil {
		t.Fatal(err)
	}
	host, err := mesh.VerifyProfileHost(hello.Response.EnvelopedProfileHost, service)
	if err != nil {
		t.Fatal(err)
	}
	s.profile = hello.Response.EnvelopedProfileService
	s.key, s.encryption = *host.KeyAuthentication.PublicParameters, *service.KeyEncryption.PublicParameters
	return s
}

// browser is an HTTP client that believes the CA of p and asks for its domain, wherever it listens.
func browser(t testing.TB, p stack.ProviderState, limit time.Duration) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trust(t, p), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: limit}
}

func trust(t testing.TB, p stack.ProviderState) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(p.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%s: no certificate", p.CAFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: p.Domain}
}

// post sends a body as it stands and returns the HTTP status and what came back.
func (s *service) post(ctx context.Context, body io.Reader, change ...func(*http.Request)) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, *s.endpoint.Load(), body)
	if err != nil {
		return 0, nil, err
	}
	req.Host = s.Domain
	req.Header.Set("Content-Type", "application/json")
	for _, f := range change {
		f(req)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return 0, nil, &lost{err}
	}
	defer res.Body.Close()
	content, err := io.ReadAll(io.LimitReader(res.Body, 32<<20)) // a Download has at most 16 MiB of payload
	if err != nil {
		return 0, nil, &lost{err}
	}
	return res.StatusCode, content, nil
}

// lost: no answer came. Whether the request did is not known.
type lost struct{ error }

func (l *lost) Unwrap() error { return l.error }

// refusal is a response that is no success. A hint is one that nothing authenticates.
type refusal struct {
	mesh.Response
	hint bool
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%d/%d %s", r.Status, r.StatusExtended, r.StatusDescription)
}

// again says that the same request may be sent again: nobody answered, or the service says that it cannot now. Whatever
// else a service says while its parts are killed is a fault of the service.
func again(err error) bool {
	var l *lost
	var r *refusal
	return errors.As(err, &l) || errors.As(err, &r) && r.Status == http.StatusServiceUnavailable && r.StatusExtended == 31
}

// noTicket: no key of the service opens the ticket.
func noTicket(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.hint && r.Status == http.StatusUnauthorized && r.StatusExtended == 10
}

// person has an account with one device and a ticket in profile mode. Not for concurrent use.
type person struct {
	*service
	patient bool // tries a request again until there is an answer
	retries int  // requests that were sent again
	address string
	member  *mesh.Membership
	profile *dare.Envelope // ProfileAccount, for the credentials of messages
	holder  *keys.Ring
	ticket  *make1.Ticket
	peaks   dare.Peaks // of catalog, after what was acknowledged
	written int        // entries made so far
}

// join makes an account for address and writes the first entry, whose signature brings the device's connection.
func (s *service) join(ctx context.Context, address string, patient bool) (*person, error) {
	p := &person{service: s, address: address, patient: patient}
	if err := p.create(ctx); err != nil {
		return nil, fmt.Errorf("create %s: %w", address, err)
	}
	if err := p.renew(ctx); err != nil {
		return nil, fmt.Errorf("ticket of %s: %w", address, err)
	}
	first, err := dare.FirstFrame(&dare.ContentMeta{CTY: "application/mmm-catalog"})
	if err != nil {
		return nil, err
	}
	entry, err := p.entry("first", true)
	if err != nil {
		return nil, err
	}
	if _, err := p.upload(ctx, newID(), first, entry); err != nil {
		return nil, fmt.Errorf("first entry of %s: %w", address, err)
	}
	return p, nil
}

// create makes keys and profiles and binds the address (FLOWS §2), with the device's entry.
func (p *person) create(ctx context.Context) error {
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
	a := mesh.Admission{Mesh: meshSecrets, Account: accountSecrets, Rights: []mesh.RightName{mesh.RightAdmin, mesh.RightAll}, Now: now}
	if a.ProfileMesh, err = meshSecrets.ProfileMesh(now); err != nil {
		return err
	}
	profileMesh, err := mesh.VerifyProfileMesh(a.ProfileMesh)
	if err != nil {
		return err
	}
	a.ProfileAccount, err = accountSecrets.ProfileAccount(meshSecrets, mesh.AccountOptions{
		Addresses: []string{p.address}, Mesh: profileMesh, Service: p.profile, Now: now,
	})
	if err != nil {
		return err
	}
	if a.ProfileDevice, err = device.ProfileDevice("e2e", now); err != nil {
		return err
	}
	cataloged, err := a.CatalogedDevice()
	if err != nil {
		return err
	}
	if p.member, err = mesh.Activate(device, cataloged, cataloged.Accounts[0].AccountUDF); err != nil {
		return err
	}
	p.holder, p.profile = p.member.Holder(), a.ProfileAccount
	first, err := dare.FirstFrame(&dare.ContentMeta{CTY: "application/mmm-catalog"})
	if err != nil {
		return err
	}
	frame, err := p.seal(mesh.CatalogDevice, cataloged, "New", true)
	if err != nil {
		return err
	}
	key, err := device.Authentication()
	if err != nil {
		return err
	}
	// A retry after a kill is the same request: the same ID, the same octets.
	payload, err := mesh.EncodeRequest(mesh.TagCreateAccount, &mesh.CreateRequest{
		Request:                mesh.Request{ID: newID()},
		AccountAddress:         p.address,
		SignedProfileMesh:      a.ProfileMesh,
		SignedAssertionAccount: a.ProfileAccount,
		Updates:                []mesh.ContainerUpdate{{Container: mesh.CatalogDevice, Envelopes: []*dare.Envelope{first, frame}}},
	})
	if err != nil {
		return err
	}
	credential := make1.Credential{Mode: make1.Device, Account: p.address, Envelopes: []*dare.Envelope{a.ProfileDevice}}
	_, err = p.exchange(ctx, key, credential, payload, new(mesh.CreateResponse))
	return err
}

// renew gets a new ticket.
func (p *person) renew(ctx context.Context) error {
	payload, err := mesh.EncodeRequest(mesh.TagHello, &mesh.HelloRequest{Request: mesh.Request{ID: newID()}})
	if err != nil {
		return err
	}
	credential := make1.Credential{Mode: make1.Profile, Account: p.address, Envelopes: []*dare.Envelope{p.member.Credential}}
	answer, err := p.exchange(ctx, p.member.Authentication, credential, payload, new(mesh.MeshHelloResponse))
	if err == nil && answer.Ticket == nil {
		err = errors.New("no ticket")
	}
	if err == nil {
		p.ticket = answer.Ticket
	}
	return err
}

func (p *person) exchange(ctx context.Context, key *keys.PrivateKey, c make1.Credential, payload []byte, res mesh.ResponseMessage) (*make1.Answer, error) {
	m := make1.Client{Domain: p.Domain, S: p.key, Holder: keys.NewRing(key), AuthKID: key.KID()}
	return p.insist(ctx, res, func() (*dare.Envelope, *make1.Pending, error) { return m.Exchange(c, payload, time.Now()) })
}

// ask sends a request under the ticket. The same payload sent again is a retry, not another request.
func (p *person) ask(ctx context.Context, payload []byte, res mesh.ResponseMessage) error {
	seal := func() (*dare.Envelope, *make1.Pending, error) { return p.ticket.Seal(payload, time.Now()) }
	_, err := p.insist(ctx, res, seal)
	for p.patient && noTicket(err) { // `meshd dev` makes a new ring with each start
		if err := p.renew(ctx); err != nil {
			return err
		}
		p.retries++
		_, err = p.insist(ctx, res, seal)
	}
	return err
}

// pause between two tries: a client would wait longer, a test wants many requests under way at the moment of a kill.
const pause = 20 * time.Millisecond

// insist sends a request; a patient person does so, sealed anew, until it is answered.
func (p *person) insist(ctx context.Context, res mesh.ResponseMessage, seal func() (*dare.Envelope, *make1.Pending, error)) (*make1.Answer, error) {
	for {
		e, pending, err := seal()
		if err != nil {
			return nil, err
		}
		a, err := p.send(ctx, e, pending, res)
		if !p.patient || err == nil || !again(err) {
			return a, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w, the last answer: %w", ctx.Err(), err)
		}
		p.retries++
		time.Sleep(pause)
	}
}

func (p *person) send(ctx context.Context, e *dare.Envelope, pending *make1.Pending, res mesh.ResponseMessage) (*make1.Answer, error) {
	body, err := e.MarshalJBCD()
	if err != nil {
		return nil, err
	}
	_, content, err := p.post(ctx, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return p.open(content, pending, res)
}

// open reads an answer. Its error is a *refusal when the service answered, but not with 201.
func (p *person) open(content []byte, pending *make1.Pending, res mesh.ResponseMessage) (*make1.Answer, error) {
	e, err := dare.Parse(content)
	if err != nil {
		return nil, err
	}
	a, err := pending.Open(e)
	var hint *make1.Hint
	if errors.As(err, &hint) {
		r := &refusal{hint: true}
		if _, err := mesh.DecodeResponse(hint.Payload, &r.Response); err != nil {
			return nil, err
		}
		return nil, r
	}
	if err != nil {
		return nil, err
	}
	if _, err := mesh.DecodeResponse(a.Payload, res); err != nil {
		return nil, err
	}
	if b := res.Base(); b.Status != http.StatusCreated {
		return a, &refusal{Response: *b}
	}
	return a, nil
}

// entry makes the frame of a bookmark.
func (p *person) entry(title string, introduce bool) (*dare.Envelope, error) {
	p.written++
	return p.seal(catalog, &mesh.CatalogedBookmark{URI: "https://example.com/", Title: title, Path: fmt.Sprintf("e2e/%08d", p.written)}, "New", introduce)
}

// seal seals and signs an entry as our client does (PROTOCOL D-57); event: New, Update. introduce: the signature brings
// the connection.
func (p *person) seal(container string, e mesh.Entry, event string, introduce bool) (*dare.Envelope, error) {
	plain, err := mesh.EncodeEntry(e)
	if err != nil {
		return nil, err
	}
	id, err := mesh.EntryID(p.member.AccountEncryption, container, e.PrimaryKey())
	if err != nil {
		return nil, err
	}
	o := dare.Options{
		Header:     dare.Header{EnvelopeID: id},
		Meta:       &dare.ContentMeta{UniqueID: id, CTY: "application/mmm/object", Event: event, Modified: &jbcd.Time{Time: time.Now().UTC().Truncate(time.Second)}},
		Recipients: []keys.PublicKey{p.member.AccountEncryption.Public()},
		MetaAAD:    true,
		Holder:     p.holder,
		SignKIDs:   []string{p.member.Signature.KID()},
	}
	if mesh.ServiceReadable(container) {
		o.Recipients = append(o.Recipients, p.encryption)
	}
	if introduce {
		o.Credential = []*dare.Envelope{p.member.Credential}
	}
	return dare.New(plain, o)
}

// uploadPayload is an Upload of frames to the catalog, in the state that the person knows.
func (p *person) uploadPayload(id jbcd.Binary, frames ...*dare.Envelope) ([]byte, error) {
	return mesh.EncodeRequest(mesh.TagUpload, &mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: id}, Account: p.address},
		Updates:     []mesh.ContainerUpdate{{Container: catalog, Index: mesh.Int(p.peaks.Frames), Digest: p.peaks.Digest(), Envelopes: frames}},
	})
}

// upload appends frames to the catalog.
func (p *person) upload(ctx context.Context, id jbcd.Binary, frames ...*dare.Envelope) (*mesh.UploadResponse, error) {
	payload, err := p.uploadPayload(id, frames...)
	if err != nil {
		return nil, err
	}
	res := new(mesh.UploadResponse)
	if err := p.ask(ctx, payload, res); err != nil {
		return nil, err
	}
	return res, p.accepted(res, frames)
}

// accepted wants every entry at the place that follows what the person knows, and takes them over.
func (p *person) accepted(res *mesh.UploadResponse, frames []*dare.Envelope) error {
	if len(res.Entries) != len(frames) {
		return fmt.Errorf("%d results for %d entries", len(res.Entries), len(frames))
	}
	for i, r := range res.Entries {
		if r.Result != mesh.ResultAccept || r.IndexContainer == nil || *r.IndexContainer != p.peaks.Frames+int64(i) {
			return fmt.Errorf("entry %d: %s %s at %v, want Accept at %d", i, r.Result, r.Reason, r.IndexContainer, p.peaks.Frames+int64(i))
		}
	}
	for _, f := range frames {
		p.peaks.Append(f.Digest())
	}
	return nil
}

// write stores one more entry.
func (p *person) write(ctx context.Context) error {
	frame, err := p.entry("an entry", false)
	if err != nil {
		return err
	}
	_, err = p.upload(ctx, newID(), frame)
	return err
}

// status asks for the catalog's state.
func (p *person) status(ctx context.Context) (frames int64, digest []byte, err error) {
	payload, err := mesh.EncodeRequest(mesh.TagStatus, &mesh.StatusRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: newID()}, Account: p.address},
		Catalogs:    []string{catalog},
	})
	if err != nil {
		return 0, nil, err
	}
	var res mesh.StatusResponse
	if err := p.ask(ctx, payload, &res); err != nil {
		return 0, nil, err
	}
	if len(res.ContainerStatus) != 1 || res.ContainerStatus[0].Index == nil {
		return 0, nil, fmt.Errorf("%d containers, want %s alone", len(res.ContainerStatus), catalog)
	}
	return *res.ContainerStatus[0].Index, res.ContainerStatus[0].Digest, nil
}

// unchanged fails the test when the catalog is not as the person last knew it.
func (p *person) unchanged(t testing.TB, after string) {
	t.Helper()
	frames, digest, err := p.status(t.Context())
	if err != nil {
		t.Fatalf("after %s: %v", after, err)
	}
	if frames != p.peaks.Frames || !bytes.Equal(digest, p.peaks.Digest()) {
		t.Fatalf("after %s the catalog has %d frames and digest %x, want %d and %x", after, frames, digest[:8], p.peaks.Frames, p.peaks.Digest()[:8])
	}
}

// download reads the whole catalog.
func (p *person) download(ctx context.Context) ([]*dare.Envelope, error) { return p.read(ctx, catalog) }

// read reads a whole container.
func (p *person) read(ctx context.Context, container string) (frames []*dare.Envelope, err error) {
	for {
		payload, err := mesh.EncodeRequest(mesh.TagDownload, &mesh.DownloadRequest{
			RequestUser: mesh.RequestUser{Request: mesh.Request{ID: newID()}, Account: p.address},
			Select:      []mesh.ConstraintsSelect{{Container: container, IndexMin: mesh.Int(int64(len(frames)))}},
		})
		if err != nil {
			return nil, err
		}
		var res mesh.DownloadResponse
		if err := p.ask(ctx, payload, &res); err != nil {
			return nil, err
		}
		if len(res.Updates) != 1 || len(res.Updates[0].Envelopes) == 0 {
			return frames, nil
		}
		frames = append(frames, res.Updates[0].Envelopes...)
		if n := res.Updates[0].Index; n != nil && int64(len(frames)) >= *n {
			return frames, nil
		}
	}
}

func newID() jbcd.Binary {
	id := make([]byte, 16)
	rand.Read(id) // never fails (crypto/rand)
	return id
}

// someone is a new name at a domain.
func someone(domain string) string { return "p" + hex.EncodeToString(newID()[:6]) + "@" + domain }
