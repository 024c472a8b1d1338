package dare

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"

	"github.com/mathmesh/meshd/pkg/keys"
)

// compare runs ours and theirs in turn and reports the ratio of their times: what surrounds them slows both.
func compare(b *testing.B, ours, theirs func()) {
	b.ReportAllocs()
	var a, c time.Duration
	for b.Loop() {
		t0 := time.Now()
		ours()
		t1 := time.Now()
		theirs()
		a, c = a+t1.Sub(t0), c+time.Since(t1)
	}
	b.ReportMetric(float64(a.Nanoseconds())/float64(b.N), "ours-ns/op")
	b.ReportMetric(float64(c.Nanoseconds())/float64(b.N), "circl-ns/op")
	b.ReportMetric(float64(a)/float64(c), "ratio")
}

// BenchmarkSign: an envelope of 1 KiB against circl's Ed448 of 64 octets.
func BenchmarkSign(b *testing.B) {
	p := newParty(b)
	_, theirs, err := ed448.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	payload, digest := make([]byte, 1<<10), make([]byte, 64)
	kids := []string{p.sign.KID()}
	compare(b, func() { mustNew(b, payload, Options{Holder: p.ring, SignKIDs: kids}) }, func() { ed448.Sign(theirs, digest, "") })
}

// BenchmarkVerify: Parse and Verify of an envelope of 1 KiB against circl's Ed448 of 64 octets.
func BenchmarkVerify(b *testing.B) {
	p := newParty(b)
	public, private, err := ed448.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := make([]byte, 64)
	signature := ed448.Sign(private, digest, "")
	text, err := mustNew(b, make([]byte, 1<<10), Options{Holder: p.ring, SignKIDs: []string{p.sign.KID()}}).MarshalJBCD()
	if err != nil {
		b.Fatal(err)
	}
	key := p.sign.Public()
	compare(b, func() {
		if err := mustParse(b, text).Verify(key); err != nil {
			b.Fatal(err)
		}
	}, func() { ed448.Verify(public, digest, signature, "") })
}

func BenchmarkParse(b *testing.B) {
	p := newParty(b)
	e := mustNew(b, make([]byte, 1<<10), Options{
		Recipients: []keys.PublicKey{p.agree.Public()}, Meta: &ContentMeta{UniqueID: "U", Event: "New"}, MetaAAD: true,
		Holder: p.ring, SignKIDs: []string{p.sign.KID()},
	})
	text, err := e.MarshalJBCD()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("envelope", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			mustParse(b, text)
		}
	})
	b.Run("header", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.ParseHeader(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Open(p.ring); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Stored(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkContainer: a batch of 1,000 entries of 1 KiB with its fsync, and what opening and checking it costs.
func BenchmarkContainer(b *testing.B) {
	var peaks Peaks
	frames := make([]*Envelope, 1000)
	for i := range frames {
		e := &Envelope{Header: fmt.Appendf(nil, `{"EnvelopeID":"N%d"}`, i), Payload: make([]byte, 1<<10)}
		index := peaks.Frames
		tree := peaks.Append(e.Digest())
		placed, err := e.Placed(Place{Info: Info{Index: &index}, PayloadDigest: e.Digest(), TreeDigest: tree[:]})
		if err != nil {
			b.Fatal(err)
		}
		frames[i] = placed
	}
	dir := b.TempDir()
	n := 0
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			n++
			c, err := Create(filepath.Join(dir, fmt.Sprint(n)))
			if err != nil {
				b.Fatal(err)
			}
			if err := c.AppendAll(frames); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	path := filepath.Join(dir, "1")
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			c, err := OpenFile(path)
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	b.Run("verify", func(b *testing.B) {
		c, err := OpenFile(path)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		for b.Loop() {
			if err := c.Verify(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
