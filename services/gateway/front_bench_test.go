package gateway

import (
	"bytes"
	"context"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// benchClients is how many connections ask at once, each one request at a time, as in meshbench compare.
const benchClients = 64

// BenchmarkFront is what a gateway spends on whole requests by ticket: HTTP/1.1 over TLS 1.3 over a loopback socket, with
// a shard that answers at once. The clients write octets that were sealed beforehand and read answers by their length;
// "floor" is what they, TLS and the socket cost alone, so that what a gateway takes is the difference of "cpu-µs/op".
func BenchmarkFront(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(300)) // as meshd does
	u := newUploader(b)
	for _, what := range []struct {
		name    string
		payload []byte
	}{{"upload", u.upload(b, kilobyte)}, {"status", u.status(b)}} {
		b.Run(what.name, func(b *testing.B) {
			l := listen(b)
			s := u.TLSServer(u.tls)
			go s.Serve(l)
			defer s.Shutdown(context.Background())
			u.load(b, l.Addr().String(), what.payload)
		})
	}
	b.Run("floor", func(b *testing.B) {
		l := listen(b)
		defer l.Close()
		one := u.request(b, u.upload(b, kilobyte))
		go echo(tls.NewListener(l, u.tls), len(one))
		u.load(b, l.Addr().String(), u.upload(b, kilobyte))
	})
}

// load sends b.N requests with this payload and wants success of each.
func (u *uploader) load(b *testing.B, address string, payload []byte) {
	one := len(u.request(b, payload))
	requests := outside(b, b.N*one)
	for i := range b.N {
		copy(requests[i*one:], u.request(b, payload))
	}
	conns := make([]*tls.Conn, benchClients)
	for i := range conns {
		var err error
		if conns[i], err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before := processor(b)
	for _, c := range conns {
		wg.Go(func() {
			answer := make([]byte, 16<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := roundTrip(c, requests[i*one:(i+1)*one], answer); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(processor(b)-before)/1e3/float64(b.N), "cpu-µs/op")
}

// roundTrip writes a request and reads its answer.
func roundTrip(c *tls.Conn, request, answer []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	for n, whole := 0, -1; n != whole; {
		m, err := c.Read(answer[n:])
		if n += m; err != nil {
			return err
		}
		if whole >= 0 {
			continue
		}
		head, _, ok := bytes.Cut(answer[:n], []byte("\r\n\r\n"))
		if !ok {
			continue
		}
		_, length, _ := bytes.Cut(head, []byte("Content-Length: "))
		length, _, _ = bytes.Cut(length, []byte("\r\n"))
		size, err := strconv.Atoi(string(length))
		if err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 201 ")) {
			return fmt.Errorf("the answer is %q", head)
		}
		whole = len(head) + 4 + size
	}
	return nil
}

// echo reads requests of a length and answers each with as much as an Upload gets.
func echo(l net.Listener, length int) {
	answer := fmt.Appendf(nil, "HTTP/1.1 201 Created\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nDate: Sat, 01 Aug 2026 00:00:00 GMT\r\nContent-Length: 400\r\n\r\n%0400d", 0)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			request := make([]byte, length)
			for {
				if _, err := io.ReadFull(c, request); err != nil {
					return
				}
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// outside is memory that the collector does not know: what waits to be sent must not make it run less often.
func outside(b *testing.B, n int) []byte {
	b.Helper()
	m, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = syscall.Munmap(m) })
	return m
}

// uploader is a device of an account with a ticket, and the gateway that gave it.
type uploader struct {
	*lonely
	ticket *make1.Ticket
	key    *keys.PrivateKey // signs
	tls    *tls.Config

	uploads *[]*shardpb.UploadRequest // what the shard was asked, when somebody wants to know
}

var kilobyte = strings.Repeat("x", 1<<10)

const uploaderAddress = "alice@" + domainName

func newUploader(b testing.TB) *uploader {
	b.Helper()
	now := time.Now()
	device := mesh.NewDeviceSecrets()
	a := mesh.Admission{Rights: mesh.Rights(), Now: now}
	var entry *mesh.CatalogedDevice
	var member *mesh.Membership
	var owner *mesh.ProfileMesh
	ca, err := rpc.NewCA("bench", now)
	var certPEM, keyPEM, profileMesh, profileAccount []byte
	for _, step := range []func() error{
		func() (err error) { a.Mesh, err = mesh.NewMeshSecrets(); return },
		func() (err error) { a.Account, err = mesh.NewAccountSecrets(); return },
		func() (err error) { a.ProfileMesh, err = a.Mesh.ProfileMesh(now); return },
		func() (err error) { owner, err = mesh.VerifyProfileMesh(a.ProfileMesh); return },
		func() (err error) {
			a.ProfileAccount, err = a.Account.ProfileAccount(a.Mesh, mesh.AccountOptions{Addresses: []string{uploaderAddress}, Mesh: owner, Now: now})
			return
		},
		func() (err error) { a.ProfileDevice, err = device.ProfileDevice("a device", now); return },
		func() (err error) { entry, err = a.CatalogedDevice(); return },
		func() (err error) { member, err = mesh.Activate(device, entry, entry.Accounts[0].AccountUDF); return },
		func() (err error) { profileMesh, err = a.ProfileMesh.MarshalJBCD(); return },
		func() (err error) { profileAccount, err = a.ProfileAccount.MarshalJBCD(); return },
		func() (err error) { certPEM, keyPEM, err = ca.IssueServer([]string{domainName}, nil, now); return },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		b.Fatal(err)
	}
	u := &uploader{tls: &tls.Config{Certificates: []tls.Certificate{cert}}, key: member.Signature}
	u.lonely = newLonely(b, func(c *Config) {
		c.Router = routerOf(b, func(request, reply any) error {
			if r, ok := request.(*shardpb.UploadRequest); ok && u.uploads != nil {
				*u.uploads = append(*u.uploads, r)
			}
			return instant(reply, profileMesh, profileAccount)
		})
	})
	e, p, err := u.client(member.Authentication).Exchange(make1.Credential{
		Mode: make1.Profile, Account: uploaderAddress, Envelopes: []*dare.Envelope{member.Credential},
	}, []byte(`{"Hello":{}}`), u.clock)
	if err != nil {
		b.Fatal(err)
	}
	r := send(b, u.Handler(), e, p, new(anyResponse))
	if u.ticket = r.ticket; u.ticket == nil {
		b.Fatalf("no ticket: %+v", r.Response)
	}
	return u
}

// routerOf is a router to shards whose calls answer fills in the replies of.
func routerOf(b testing.TB, answer func(request, reply any) error) *rpc.Router {
	b.Helper()
	nobody, err := shardmap.NewStatic(shardmap.Even(1, "127.0.0.1:1"))
	if err != nil {
		b.Fatal(err)
	}
	return rpc.NewRouter(nobody, func(target string) (*grpc.ClientConn, error) {
		return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(
			func(_ context.Context, _ string, request, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption) error {
				return answer(request, reply)
			}))
	})
}

// instant is what a shard with one account says.
func instant(reply any, profileMesh, profileAccount []byte) error {
	switch r := reply.(type) {
	case *shardpb.ResolveResponse:
		r.State, r.Epoch, r.ProfileMesh, r.ProfileAccount = shardpb.AccountState_ACCOUNT_STATE_CONNECTED, 1, profileMesh, profileAccount
	case *shardpb.UploadResponse:
		index := int64(4)
		r.Entries = []*shardpb.EntryResult{{Result: shardpb.EntryResult_RESULT_ACCEPT, Index: &index}}
	case *shardpb.StatusResponse:
		for _, name := range []string{mesh.CatalogBookmark, mesh.CatalogDevice, mesh.CatalogContact} {
			r.Containers = append(r.Containers, &shardpb.ContainerStatus{Container: name, Frames: 7, Digest: make([]byte, sha512.Size)})
		}
	default:
		return errors.New("not asked here")
	}
	return nil
}

// upload is the payload of an Upload of one signed bookmark.
func (u *uploader) upload(b testing.TB, content string) []byte {
	b.Helper()
	entry, err := dare.New([]byte(content), dare.Options{
		MasterKey: make([]byte, 32), Meta: &dare.ContentMeta{UniqueID: "AAAA-BBBB", Event: "New", CTY: "application/mmm/object"}, MetaAAD: true,
		Holder: keys.NewRing(u.key), SignKIDs: []string{u.key.KID()}, Header: dare.Header{EnvelopeID: "AAAA-BBBB"},
	})
	if err != nil {
		b.Fatal(err)
	}
	return encode(b, mesh.TagUpload, mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: make([]byte, 16)}, Account: uploaderAddress},
		Updates:     []mesh.ContainerUpdate{{Container: mesh.CatalogBookmark, Index: mesh.Int(4), Digest: make([]byte, 64), Envelopes: []*dare.Envelope{entry}}},
	})
}

// status is the payload of a Status of all containers.
func (u *uploader) status(b testing.TB) []byte {
	b.Helper()
	return encode(b, mesh.TagStatus, mesh.StatusRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: make([]byte, 16)}, Account: uploaderAddress}, ProfileMasterDigest: make([]byte, 64),
	})
}

func encode(b testing.TB, tag string, v any) []byte {
	b.Helper()
	payload, err := mesh.EncodeRequest(tag, v)
	if err != nil {
		b.Fatal(err)
	}
	return payload
}

// request seals a payload anew, as Go's HTTP client would send it. All requests with one payload are of one length.
func (u *uploader) request(b testing.TB, payload []byte) []byte {
	b.Helper()
	e, _, err := u.ticket.Seal(payload, u.clock)
	if err != nil {
		b.Fatal(err)
	}
	body, err := e.MarshalJBCD()
	if err != nil {
		b.Fatal(err)
	}
	head := fmt.Appendf(nil, "POST /.well-known/mmm HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n", domainName, len(body))
	return append(head, body...)
}
