package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// BenchmarkUpload is the gateway's part of an Upload of one signed entry of 1 KiB by ticket, step by step; "front" is
// HTTP, opening and sealing of a whole request (a Hello, which asks no shard) without network and TLS.
func BenchmarkUpload(b *testing.B) {
	g := newLonely(b, nil)
	d := newStranger(b)
	ticket := g.ask(b, d, `{"Hello":{}}`, new(anyResponse)).ticket
	signer, err := keys.Generate(keys.Ed448)
	if err != nil {
		b.Fatal(err)
	}
	entry, err := dare.New(bytes.Repeat([]byte{'x'}, 1024), dare.Options{
		MasterKey: make([]byte, 32), Meta: &dare.ContentMeta{UniqueID: "AAAA-BBBB", Event: "New", CTY: "application/mmm/object"}, MetaAAD: true,
		Holder: keys.NewRing(signer), SignKIDs: []string{signer.KID()}, Header: dare.Header{EnvelopeID: "AAAA-BBBB"},
	})
	if err != nil {
		b.Fatal(err)
	}
	payload, err := mesh.EncodeRequest(mesh.TagUpload, mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: make([]byte, 16)}, Account: "alice@" + domainName},
		Updates:     []mesh.ContainerUpdate{{Container: mesh.CatalogBookmark, Index: mesh.Int(4), Digest: make([]byte, 64), Envelopes: []*dare.Envelope{entry}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	seal := func(payload []byte) []byte {
		e, _, err := ticket.Seal(payload, g.clock)
		if err != nil {
			b.Fatal(err)
		}
		body, err := e.MarshalJBCD()
		if err != nil {
			b.Fatal(err)
		}
		return body
	}
	body := seal(payload)
	e, err := dare.Parse(body)
	if err != nil {
		b.Fatal(err)
	}
	opened, err := make1.OpenTicket(e, domainName, g.domains[domainName].serviceU, g.ring, g.clock)
	if err != nil {
		b.Fatal(err)
	}
	var v mesh.UploadRequest
	read := func(b *testing.B) {
		_, inner, err := mesh.DecodeRequest(opened.Payload)
		if err != nil {
			b.Fatal(err)
		}
		v = mesh.UploadRequest{}
		if err := (&request{Gateway: g.Gateway}).read(inner, &v, &v.Request); err != nil {
			b.Fatal(err)
		}
	}
	read(b)
	updates, _, err := takeApartUpdates(v.Updates, nil)
	if err != nil {
		b.Fatal(err)
	}
	ask := &shardpb.UploadRequest{Caller: &shardpb.Caller{AuthKid: "AAAA", RequestId: make([]byte, 16)}, Account: "alice@" + domainName, Updates: updates}
	index := int64(4)
	answer := &mesh.UploadResponse{Response: mesh.Response{Status: 201, ID: make([]byte, 16)}, Entries: []mesh.EntryResponse{{Result: "Accept", IndexContainer: &index}}}

	for _, step := range []struct {
		name string
		run  func(b *testing.B)
	}{
		{"parse", func(b *testing.B) {
			if _, err := dare.Parse(body); err != nil {
				b.Fatal(err)
			}
		}},
		{"classify", func(b *testing.B) {
			if _, err := make1.Classify(e); err != nil {
				b.Fatal(err)
			}
		}},
		{"open", func(b *testing.B) {
			if _, err := make1.OpenTicket(e, domainName, g.domains[domainName].serviceU, g.ring, g.clock); err != nil {
				b.Fatal(err)
			}
		}},
		{"digest", func(*testing.B) { sha256.Sum256(opened.Payload) }},
		{"decode", read},
		{"takeApart", func(b *testing.B) {
			if _, _, err := takeApartUpdates(v.Updates, nil); err != nil {
				b.Fatal(err)
			}
		}},
		{"marshal", func(b *testing.B) {
			if _, err := proto.Marshal(ask); err != nil {
				b.Fatal(err)
			}
		}},
		{"answer", func(b *testing.B) {
			q := &request{Gateway: g.Gateway}
			a := q.finish(answer, func(p []byte) (*dare.Envelope, error) { return opened.Answer(p, g.clock, false) })
			if a.status != http.StatusCreated {
				b.Fatal(a.status)
			}
		}},
	} {
		b.Run(step.name, func(b *testing.B) {
			b.ReportAllocs()
			before := processor(b)
			for b.Loop() {
				step.run(b)
			}
			b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
	b.Run("front", func(b *testing.B) {
		b.ReportAllocs()
		h := g.Handler()
		for b.Loop() {
			b.StopTimer()
			body := seal([]byte(`{"Hello":{"ID":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 16)) + `"}}`))
			r := httptest.NewRequest(http.MethodPost, "https://"+domainName+"/.well-known/mmm", bytes.NewReader(body))
			w := httptest.NewRecorder()
			b.StartTimer()
			done := make(chan struct{})
			go func() { h.ServeHTTP(w, r); close(done) }() // as net/http does: a fresh stack
			<-done
			if w.Code != http.StatusCreated {
				b.Fatal(w.Code)
			}
		}
	})
}

// processor is the processor time of the process so far, in nanoseconds: it does not depend on who else is busy.
func processor(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
