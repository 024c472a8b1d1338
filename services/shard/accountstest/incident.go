package accountstest

import (
	"fmt"
	"iter"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

// reported wants the index of an incident.
func (b *bench) reported(what string, partition uint16, e shard.Entry, want int64) {
	b.Helper()
	got, err := b.store.Report(b.ctx, partition, e)
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
	b.same(what, got, want)
}

func (b *bench) incidents(partition uint16, first int64, limit int) []shard.Frame {
	b.Helper()
	got, err := b.store.Incidents(b.ctx, partition, first, limit)
	b.ok(err)
	return got
}

func payloads(frames []shard.Frame) []string {
	var all []string
	for _, f := range frames {
		all = append(all, fmt.Sprint(f.Index, " ", string(f.Payload)))
	}
	return all
}

// checkIncidents checks the container mmms_Incident of a partition as it lies.
func (b *bench) checkIncidents(partition uint16, want int64) {
	b.Helper()
	w, err := b.walk(b.ctx)
	b.ok(err)
	defer func() { b.ok(w.Close()) }()
	found := false
	b.ok(w.Walk(b.ctx, func(c shard.RawContainer, frames iter.Seq2[shard.RawFrame, error]) error {
		if c.Partition != partition || c.Account != 0 || c.Name != "mmms_Incident" {
			return nil
		}
		found = true
		peaks := new(dare.Peaks)
		var digests, trees [][]byte
		for f, err := range frames {
			if err != nil {
				return err
			}
			b.same("index", f.Index, int64(len(digests)))
			digests, trees = append(digests, f.PayloadDigest), append(trees, f.TreeDigest)
			peaks.Append(f.PayloadDigest)
		}
		b.same("tree digests", trees, treeDigests(digests))
		b.same("frames", []int64{c.Frames, int64(len(digests))}, []int64{want, want})
		octets, err := peaks.MarshalBinary()
		b.same("peaks", c.Peaks, octets)
		return err
	}))
	b.same("there is one", found, want > 0)
}

var incidentCases = []testCase{
	{"incident/report", func(b *bench) {
		b.same("none", len(b.incidents(5, 0, 10)), 0)
		b.checkIncidents(5, 0)
		a := message("a")
		a.Header, a.Trailer, a.DigestWritten = []byte(`{ "x" : 1 }`), []byte(`{ "y" : 2 }`), true
		b.reported("first", 5, a, 1)
		b.reported("second", 5, message("b"), 2)
		b.reported("again", 5, a, 1)
		b.reported("of that name, with another text", 5, named("b", "another text"), 2)
		b.reported("in another partition", 6, message("a"), 1)
		b.reported("without name", 5, named("", "nameless"), 3)
		b.reported("without name nothing is a duplicate", 5, named("", "nameless"), 4)
		got := b.incidents(5, 0, 10)
		b.same("payloads", payloads(got), []string{"1 message a", "2 message b", "3 nameless", "4 nameless"})
		b.same("octets", []string{string(got[0].Header), string(got[0].Trailer), got[0].EnvelopeID}, []string{`{ "x" : 1 }`, `{ "y" : 2 }`, "a"})
		b.same("digests", []any{got[0].PayloadDigest, got[0].DigestWritten, len(got[0].TreeDigest)}, []any{a.PayloadDigest, true, 64})
		b.received(&got[0])
		b.same("from an index", payloads(b.incidents(5, 2, 10)), []string{"2 message b", "3 nameless", "4 nameless"})
		b.same("at most", payloads(b.incidents(5, 2, 2)), []string{"2 message b", "3 nameless"})
		b.same("no room", len(b.incidents(5, 0, 0)), 0)
		b.same("beyond the end", len(b.incidents(5, 5, 10)), 0)
		b.same("of the other partition", payloads(b.incidents(6, 0, 10)), []string{"1 message a"})
		b.checkIncidents(5, 5)
		b.checkIncidents(6, 2)
	}},
	{"incident/beside the account catalog", func(b *bench) {
		b.reported("first", b.stranger("alice").partition, message("a"), 1)
		u := b.user("alice")
		b.reported("second", u.partition, message("b"), 2)
		b.ok(u.delete())
		b.catalog("accounts", u.partition, "1 "+u.address+" account of "+u.address, "3 "+u.address+" end of "+u.address)
		b.checkIncidents(u.partition, 3)
	}},
	{"incident/faults", func(b *bench) {
		bad := message("a")
		bad.Reject = 13
		short := message("a")
		short.PayloadDigest = nil
		for what, c := range map[string]struct {
			partition uint16
			e         shard.Entry
			want      mesh.Kind
		}{
			"found before": {5, bad, mesh.MessageInvalid}, "NUL in a name": {5, named("a\x00b", "x"), mesh.MessageInvalid},
			"no digest": {5, short, mesh.Internal}, "partition": {4096, message("a"), mesh.Internal},
		} {
			_, err := b.store.Report(b.ctx, c.partition, c.e)
			b.kind(what, err, c.want)
		}
		_, err := b.store.Incidents(b.ctx, 4096, 0, 1)
		b.kind("partition", err, mesh.WrongShard)
		b.same("nothing stored", len(b.incidents(5, 0, 10)), 0)
	}},
	{"concurrent/incidents", func(b *bench) {
		parallel(6, func(i int) {
			for n := range 6 {
				for _, id := range []string{fmt.Sprint(i, " ", n), fmt.Sprint("same ", n)} {
					if _, err := b.store.Report(b.ctx, 5, message(id)); err != nil {
						b.Error(err)
					}
				}
			}
		})
		b.checkIncidents(5, 6*6+6+1)
	}},
}
