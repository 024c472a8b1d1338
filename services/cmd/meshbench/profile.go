package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// part is a piece of the work of meshd for one request.
type part string

// The parts, in the order in which they are printed. Every sample of a processor profile belongs to exactly one.
const (
	partTLS        part = "TLS"
	partHTTP       part = "HTTP"
	partDARE       part = "DARE and MAKE-1"
	partJSON       part = "JSON"
	partGateway    part = "gateway"
	partGRPC       part = "gRPC"
	partGRPCTLS    part = "gRPC: TLS"
	partShard      part = "shard"
	partSignature  part = "signature check"
	partStore      part = "store client"
	partTelemetry  part = "telemetry"
	partCollection part = "garbage collection"
	partScheduling part = "scheduling and polling"
	partOther      part = "other"
)

func parts() []part {
	return []part{
		partTLS, partHTTP, partDARE, partJSON, partGateway, partGRPC, partGRPCTLS, partShard, partSignature, partStore,
		partTelemetry, partCollection, partScheduling, partOther,
	}
}

// ours says whether a part counts as our own time: all but the cryptography that the protocol asks for, Ed448 and TLS.
func (p part) ours() bool { return p != partTLS && p != partGRPCTLS && p != partSignature }

// owner says to which part the functions of a package belong.
type owner struct {
	prefix string
	part   part
}

// owners are tried in this order. Packages that serve several parts (crypto, net, syscall, runtime, sync) are not among
// them: their time is that of who called them.
func owners() []owner {
	const module = "github.com/mathmesh/meshd/"
	return []owner{
		{"github.com/cloudflare/circl/sign/ed448", partSignature},
		{"github.com/cloudflare/circl/ecc/goldilocks", partSignature},
		{module + "services/shard.(*Server).checkSignatures", partSignature},
		{module + "pkg/make1", partDARE},
		{module + "pkg/dare", partDARE},
		{module + "pkg/udf", partDARE},
		{module + "pkg/keys", partDARE},
		{module + "pkg/jbcd", partJSON},
		{module + "services/shard/postgres", partStore},
		{module + "services/shard/sqlite", partStore},
		{"github.com/jackc/", partStore},
		{"modernc.org/", partStore},
		{"database/sql", partStore},
		{"go.opentelemetry.io/", partTelemetry},
		{"github.com/prometheus/", partTelemetry},
		{"log/slog", partTelemetry},
		{module + "services/shard", partShard},
		{module + "services/gateway.(*headConn)", partHTTP}, // wraps the connections of HTTP/1
		{module + "services/gateway", partGateway},
		{module + "pkg/mesh", partGateway},
		{module + "proto", partGRPC},
		{module + "services/internal/rpc", partGRPC},
		{"google.golang.org/", partGRPC},
		{"golang.org/x/net/http2", partGRPC}, // net/http has its own copy
		{"net/http", partHTTP},
	}
}

// classify finds the part of a stack, the innermost function first. Time in crypto/tls belongs to TLS, the reads and
// writes of sockets below it to whoever has the connection; socket says that it is such a read or write.
func classify(stack []string, owners []owner) (p part, socket bool) {
	tls := false
	for _, f := range stack {
		switch {
		case isCollection(f):
			return partCollection, false
		case strings.HasPrefix(f, "internal/poll."):
			socket = true
		case strings.HasPrefix(f, "crypto/tls."):
			tls = tls || !socket
		}
		for _, o := range owners {
			if !strings.HasPrefix(f, o.prefix) {
				continue
			}
			switch {
			case tls && o.part == partGRPC:
				return partGRPCTLS, socket
			case tls && (o.part == partHTTP || o.part == partGateway):
				return partTLS, socket
			}
			return o.part, socket
		}
	}
	if tls {
		return partTLS, socket // a handshake, before there is a request
	}
	if len(stack) > 0 && strings.HasPrefix(stack[len(stack)-1], "runtime.") {
		return partScheduling, socket // no function of anybody: the scheduler, the poller, timers
	}
	return partOther, socket
}

// isCollection knows the garbage collector's work: its own goroutines, and what it makes those do that allocate.
func isCollection(f string) bool {
	switch f {
	case "runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart",
		"runtime.gcMarkDone", "runtime.gcMarkTermination", "runtime.deductSweepCredit", "runtime.gcDrain":
		return true
	}
	return false
}

// shares is the share of each part in a profile's time; they add up to 1. sockets is the share of reads and writes of
// sockets, which is in those of their parts too.
func shares(p *profile.Profile) (byPart map[part]float64, sockets float64, err error) {
	value := -1
	for i, t := range p.SampleType {
		if t.Type == "cpu" {
			value = i
		}
	}
	if value < 0 {
		return nil, 0, errors.New("not a processor profile")
	}
	owners := owners()
	sums := make(map[part]float64)
	var total float64
	var stack []string
	for _, s := range p.Sample {
		stack = stack[:0]
		for _, l := range s.Location {
			for _, line := range l.Line { // innermost inlined function first
				if line.Function != nil {
					stack = append(stack, line.Function.Name)
				}
			}
		}
		v := float64(s.Value[value])
		part, socket := classify(stack, owners)
		sums[part] += v
		total += v
		if socket {
			sockets += v
		}
	}
	if total == 0 {
		return nil, 0, errors.New("no samples: the process did nothing")
	}
	for k := range sums {
		sums[k] /= total
	}
	return sums, sockets / total, nil
}

const (
	// maxProfile is as long as one profile may be: the admin listener of meshd refuses longer ones.
	maxProfile = 8 * time.Second
	// profileTime is how long compare looks: at a hundred samples a second a part of one percent then has some ten.
	profileTime = 15 * time.Second
)

// saveProfile writes a profile for `go tool pprof`.
func saveProfile(path string, p *profile.Profile) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(p.Write(f), f.Close())
}

// fetchProfile takes a processor profile of the process behind an admin listener: one after the other and put together
// when it is to be longer than one may be.
func fetchProfile(ctx context.Context, admin string, d time.Duration) (*profile.Profile, error) {
	var pieces []*profile.Profile
	for left := max(d, time.Second); left >= time.Second; left -= maxProfile {
		raw, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, int(min(left, maxProfile).Seconds())))
		if err != nil {
			return nil, err
		}
		p, err := profile.Parse(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, p)
	}
	return profile.Merge(pieces)
}
