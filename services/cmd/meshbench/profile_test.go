package main

import (
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// Every stack belongs to one part, by the innermost function that has an owner.
func TestClassify(t *testing.T) {
	const module = "github.com/mathmesh/meshd/"
	owners := owners()
	for _, c := range []struct {
		want  part
		stack []string
	}{
		{partTLS, []string{"crypto/internal/fips140/aes/gcm.seal", "crypto/tls.(*halfConn).encrypt", "crypto/tls.(*Conn).Write", "net/http.(*http2serverConn).serve"}},
		{partHTTP, []string{"syscall.write", "internal/poll.(*FD).Write", "net.(*conn).Write", "crypto/tls.(*Conn).write", "net/http.(*http2serverConn).serve"}},
		{partGRPCTLS, []string{"crypto/internal/fips140/aes/gcm.open", "crypto/tls.(*Conn).Read", "google.golang.org/grpc/internal/transport.(*http2Server).HandleStreams"}},
		{partGRPC, []string{"syscall.read", "internal/poll.(*FD).Read", "crypto/tls.(*Conn).Read", "google.golang.org/grpc/internal/transport.(*http2Client).reader"}},
		{partGRPC, []string{"golang.org/x/net/http2.(*Framer).ReadFrame", "google.golang.org/grpc/internal/transport.(*http2Client).reader"}},
		{partHTTP, []string{"syscall.read", "internal/poll.(*FD).Read", "crypto/tls.(*Conn).Read", module + "services/gateway.(*headConn).Read", "net/http.(*conn).serve"}},
		{partTLS, []string{"crypto/internal/fips140/mlkem.ntt", "crypto/tls.(*Conn).HandshakeContext"}},
		{partDARE, []string{"crypto/internal/fips140/sha512.blockAVX2", module + "pkg/make1.hash", module + "services/gateway.(*request).ticket", "net/http.serverHandler.ServeHTTP"}},
		{partJSON, []string{"unicode/utf8.Valid", module + "pkg/jbcd.(*scanner).init", module + "pkg/dare.Parse"}},
		{partGateway, []string{"runtime.mallocgc", module + "services/gateway.(*request).upload", "net/http.serverHandler.ServeHTTP"}},
		{partSignature, []string{"github.com/cloudflare/circl/math/fp448.mulAmd64", "github.com/cloudflare/circl/ecc/goldilocks.(*twistPoint).Double", module + "services/shard.(*Server).checkSignatures"}},
		{partShard, []string{module + "services/shard.callerOf", module + "services/shard.(*Server).Upload", "google.golang.org/grpc.(*Server).processRPC"}},
		{partStore, []string{"syscall.write", "internal/poll.(*FD).Write", "github.com/jackc/pgx/v5/pgconn.(*PgConn).flush", module + "services/shard/postgres.(*Store).Apply"}},
		{partCollection, []string{"runtime.scanObject", "runtime.gcDrain", "runtime.gcBgMarkWorker"}},
		{partCollection, []string{"runtime.gcAssistAlloc", "runtime.mallocgc", module + "pkg/jbcd.readString"}},
		{partScheduling, []string{"runtime.futex", "runtime.findRunnable", "runtime.schedule", "runtime.mcall"}},
		{partOther, []string{"main.main"}},
	} {
		got, socket := classify(c.stack, owners)
		if want := strings.HasPrefix(c.stack[0], "syscall."); got != c.want || socket != want {
			t.Errorf("%v: %s, socket %t; want %s, %t", c.stack, got, socket, c.want, want)
		}
	}
}

func TestShares(t *testing.T) {
	name := func(s string) *profile.Location {
		return &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: s}}}}
	}
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples"}, {Type: "cpu"}},
		Sample: []*profile.Sample{
			{Value: []int64{1, 30}, Location: []*profile.Location{name("net/http.(*conn).serve")}},
			{Value: []int64{1, 10}, Location: []*profile.Location{name("runtime.mcall")}},
		},
	}
	b, err := breakdownOf(p, 200)
	if err != nil {
		t.Fatal(err)
	}
	if b.Parts[partHTTP] != 150 || b.Parts[partScheduling] != 50 || b.Own != 200 || b.Total != 200 {
		t.Errorf("%+v", b)
	}
	if _, _, err := shares(&profile.Profile{SampleType: p.SampleType}); err == nil {
		t.Error("a profile without samples has shares")
	}
	if _, _, err := shares(&profile.Profile{}); err == nil {
		t.Error("a heap profile has shares")
	}
}
