package dare

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math/bits"
	"testing"
)

// naiveTrees is D-43 as it is written, with all earlier digests at hand.
func naiveTrees(payloadDigests [][]byte) [][DigestSize]byte {
	h := func(l, r []byte) []byte {
		d := sha512.Sum512(append(bytes.Clone(l), r...))
		return d[:]
	}
	trees := make([][DigestSize]byte, len(payloadDigests))
	tree := func(i int) []byte {
		if i < 0 {
			return make([]byte, DigestSize)
		}
		return trees[i][:]
	}
	for i, acc := range payloadDigests {
		n, k := i+1, 0
		for ; n%2 == 0; k++ {
			acc = h(tree(i-1<<k), acc)
			n /= 2
		}
		prev := i - 1<<k
		if n == 1 {
			prev = (1<<k)/2 - 1
		}
		copy(trees[i][:], h(tree(prev), acc))
	}
	return trees
}

func testDigests(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		d := sha512.Sum512(fmt.Append(nil, i))
		out[i] = d[:]
	}
	return out
}

// C-178: the digest of a container is what its reader computes by D-43.
func TestPeaksAreD43(t *testing.T) {
	digests := testDigests(5000)
	want := naiveTrees(digests)
	var p Peaks
	for i, d := range digests {
		if got := p.Append(d); got != want[i] {
			t.Fatalf("frame %d: tree digest differs from D-43", i)
		}
		if p.Frames != int64(i+1) || len(p.Digests) != bits.OnesCount64(uint64(i+1)) {
			t.Fatalf("after frame %d: %d frames, %d peaks", i, p.Frames, len(p.Digests))
		}
		if !bytes.Equal(p.Digest(), want[i][:]) {
			t.Fatalf("frame %d: Digest is not the tree digest", i)
		}
		at := peakFrames(p.Frames)
		for j, f := range at {
			if p.Digests[j] != want[f] {
				t.Fatalf("after frame %d: peak %d is not the tree digest of frame %d", i, j, f)
			}
		}
		if i%61 == 0 { // a restart anywhere changes nothing
			octets, err := p.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			q, err := ParsePeaks(p.Frames, octets)
			if err != nil {
				t.Fatal(err)
			}
			p = *q
		}
	}
}

func TestPeaksEmpty(t *testing.T) {
	var p Peaks
	if p.Digest() != nil {
		t.Error("an empty container has a digest")
	}
	clone := p.Clone()
	clone.Append(make([]byte, DigestSize))
	if p.Frames != 0 || len(p.Digests) != 0 {
		t.Error("a clone shares its original")
	}
}

func TestParsePeaksRefuses(t *testing.T) {
	for _, c := range []struct {
		frames int64
		octets int
	}{{-1, 64 * 64}, {0, 64}, {1, 0}, {1, 63}, {3, 64}, {4, 128}, {7, 3*64 + 1}} {
		if _, err := ParsePeaks(c.frames, make([]byte, c.octets)); err == nil {
			t.Errorf("%d frames with %d octets of peaks accepted", c.frames, c.octets)
		}
	}
}

// The published digests, those that are right and the corrected ones (ALGORITHMS §4).
func TestPublishedTreeDigests(t *testing.T) {
	payload := make([]byte, 300)
	for i := range payload {
		payload[i] = byte(i)
	}
	digest := sha512.Sum512(payload)
	empty := sha512.Sum512(nil)
	want := containerVector(t, "container-tree-published").Want()
	var trees []string
	want.Decode("tree_digest", &trees)
	var p Peaks
	p.Append(empty[:]) // frame 0 has no payload; the list begins with frame 1
	for i, text := range trees {
		got := p.Append(digest[:])
		if base64.RawURLEncoding.EncodeToString(got[:]) != text {
			t.Errorf("frame %d: tree digest %s, want %s", i+1, base64.RawURLEncoding.EncodeToString(got[:]), text)
		}
	}
}

// BenchmarkPeaksAppend appends to containers of so many frames; digests/op must grow with the logarithm at most.
func BenchmarkPeaksAppend(b *testing.B) {
	digest := make([]byte, DigestSize)
	for _, frames := range []int64{1, 1_000, 1_000_000} {
		b.Run(fmt.Sprintf("frames=%d", frames), func(b *testing.B) {
			octets := make([]byte, bits.OnesCount64(uint64(frames))*DigestSize)
			p, err := ParsePeaks(frames, octets)
			if err != nil {
				b.Fatal(err)
			}
			var digests, most int
			for b.Loop() {
				n := 1 + bits.TrailingZeros64(^uint64(p.Frames))
				digests += n
				most = max(most, n)
				p.Append(digest)
			}
			b.ReportMetric(float64(digests)/float64(b.N), "digests/op")
			b.ReportMetric(float64(most), "digests-most")
		})
	}
}
