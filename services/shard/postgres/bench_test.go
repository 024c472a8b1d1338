package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/internal/pgtest"
	"github.com/mathmesh/meshd/services/shard"
)

// BenchmarkApply is an Upload of one bookmark of 1 KiB, of 64 accounts at once, to a server that flushes what it commits. It tells
// the processor time of this process (cpu-µs/op), most of which is the client of PostgreSQL, and of the server's processes that
// serve it (pg-µs/op).
func BenchmarkApply(b *testing.B) {
	const accounts = 64
	durable := pgtest.Server{Migrate: Migrate, Durable: true}
	b.Cleanup(func() {
		if err := durable.Stop(); err != nil {
			b.Error(err)
		}
	})
	url := durable.Database(b)
	s := open(b, url)
	if err := s.SetPartitions(b.Context(), 0, accounts-1, shard.PartitionOpen, 1); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 1<<10)
	_, _ = rand.Read(payload)
	digest := sha512.Sum512(payload)
	request := func(partition uint16, id string) shard.Application {
		a := application("mmm_Bookmark", id)
		a.Partition, a.Caller.ProfileUDF = partition, "MPRO"
		e := &a.Updates[0].Entries[0]
		e.Header, e.Trailer = bytes.Repeat([]byte(`{"n":1},`), 64), bytes.Repeat([]byte(`{"n":1},`), 40)
		e.Payload, e.PayloadDigest, e.DigestWritten = payload, digest[:], true
		return a
	}
	for p := range uint16(accounts) {
		_, err := s.Create(b.Context(), shard.Creation{
			Partition: p, Address: address, Caller: caller("create"), ProfileUDF: "MPRO", MeshUDF: "MMSH",
			ProfileMesh: []byte(`[]`), ProfileAccount: []byte(`[]`), AccountFrame: item(address), State: shard.Connected,
		})
		if err != nil {
			b.Fatal(err)
		}
		device := application("mmm_Device", "device")
		device.Partition, device.Updates[0].Entries[0].Device = p, &shard.DeviceChange{AuthKID: kid, Rights: shard.Bookmark}
		for _, a := range []shard.Application{device, request(p, "first")} {
			if _, err := s.Apply(b.Context(), a); err != nil {
				b.Fatal(err)
			}
		}
	}
	conn := connect(b, url)
	served := func() (sum time.Duration) {
		b.Helper()
		var pids []int32
		if err := conn.QueryRow(b.Context(), `SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name = 'meshd shard'`).Scan(&pids); err != nil {
			b.Fatal(err)
		}
		for _, pid := range pids {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
			if err != nil {
				continue // another kind of machine, or another machine
			}
			before, _, _ := bytes.Cut(text, []byte(" "))
			n, _ := strconv.ParseInt(string(before), 10, 64)
			sum += time.Duration(n)
		}
		return sum
	}

	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	theirs := served()
	b.ReportAllocs()
	b.ResetTimer()
	ours := processor(b)
	for p := range uint16(accounts) {
		all.Go(func() {
			for {
				n := left.Add(-1)
				if n < 0 {
					return
				}
				ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second) // as every request of a gateway has
				_, err := s.Apply(ctx, request(p, strconv.FormatInt(n, 10)))
				cancel()
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	ours = processor(b) - ours
	b.StopTimer()
	theirs = served() - theirs
	b.ReportMetric(float64(ours.Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(theirs.Nanoseconds())/1e3/float64(b.N), "pg-µs/op")
}

// processor is the time that this process has spent.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
