package dare

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"math/bits"
	"slices"
)

// DigestSize is the length of every digest of a container: SHA-2-512.
const DigestSize = sha512.Size

// Peaks is the open right-hand edge of a container's Merkle tree (D-43): the tree digests of the frame counts
// that arise from Frames by clearing its lowest set bit again and again, the largest subtree first.
// It has popcount(Frames) digests, the last of which is the tree digest of the container.
//
// T(i) of D-43 reads T(i-1), T(i-2), T(i-4) … and last one more; all of them are among the peaks, since clearing the
// lowest bits of i = …0111 one after the other counts down by 1, 2, 4.
type Peaks struct {
	Frames  int64
	Digests [][DigestSize]byte
}

// Append adds a frame with this payload digest (of DigestSize octets) and returns its TreeDigest. It computes one
// digest more than Frames has trailing one bits: two on average, O(log n) at most.
func (p *Peaks) Append(payloadDigest []byte) [DigestSize]byte {
	acc := payloadDigest
	left := new([DigestSize]byte) // T(-1)
	merged := bits.TrailingZeros64(^uint64(p.Frames))
	rest := len(p.Digests) - merged
	var sum [DigestSize]byte
	for i := len(p.Digests) - 1; i >= rest; i-- {
		left = &p.Digests[i]
		sum = combine(left, acc)
		acc = sum[:]
	}
	if rest > 0 {
		left = &p.Digests[rest-1]
	} // else, with a full tree, the left side is its larger half, merged last
	sum = combine(left, acc)
	p.Digests = append(p.Digests[:rest], sum)
	p.Frames++
	return sum
}

// combine is H(left ‖ right).
func combine(left *[DigestSize]byte, right []byte) [DigestSize]byte {
	var buf [2 * DigestSize]byte
	return sha512.Sum512(append(append(buf[:0], left[:]...), right...))
}

// Digest is the tree digest of the last frame (nil when empty).
func (p *Peaks) Digest() []byte {
	if len(p.Digests) == 0 {
		return nil
	}
	return bytes.Clone(p.Digests[len(p.Digests)-1][:])
}

// Clone returns a copy that shares no memory.
func (p *Peaks) Clone() *Peaks { return &Peaks{Frames: p.Frames, Digests: slices.Clone(p.Digests)} }

// MarshalBinary writes the digests one after the other (Frames is kept beside it).
func (p *Peaks) MarshalBinary() ([]byte, error) {
	out := make([]byte, 0, len(p.Digests)*DigestSize)
	for i := range p.Digests {
		out = append(out, p.Digests[i][:]...)
	}
	return out, nil
}

// ParsePeaks reads what MarshalBinary wrote, for a container of frames frames.
func ParsePeaks(frames int64, octets []byte) (*Peaks, error) {
	if frames < 0 || len(octets) != bits.OnesCount64(uint64(frames))*DigestSize {
		return nil, fmt.Errorf("dare: peaks of %d frames have not %d octets", frames, len(octets))
	}
	p := &Peaks{Frames: frames, Digests: make([][DigestSize]byte, len(octets)/DigestSize)}
	for i := range p.Digests {
		copy(p.Digests[i][:], octets[i*DigestSize:])
	}
	return p, nil
}

// peakFrames returns the indices of the frames whose TreeDigests are the peaks of a container of n frames.
func peakFrames(n int64) []int64 {
	var at []int64
	for ; n > 0; n &= n - 1 {
		at = append(at, n-1)
	}
	slices.Reverse(at)
	return at
}
