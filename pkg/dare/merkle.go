package dare

// DigestSize is the length of every digest of a container: SHA-2-512.
const DigestSize = 64

// Peaks is the open right-hand edge of a container's Merkle tree (D-43): the tree digests of the frame counts
// that arise from Frames by clearing its lowest set bit again and again, the largest subtree first.
// It has popcount(Frames) digests, the last of which is the tree digest of the container.
type Peaks struct {
	Frames  int64
	Digests [][DigestSize]byte
}

// Append adds a frame with this payload digest and returns its TreeDigest: O(log n) digests.
func (p *Peaks) Append(payloadDigest []byte) [DigestSize]byte { panic("stub") }

// Digest is the tree digest of the last frame (nil when empty).
func (p *Peaks) Digest() []byte { panic("stub") }

// MarshalBinary writes the digests one after the other (Frames is kept beside it).
func (p *Peaks) MarshalBinary() ([]byte, error) { panic("stub") }

// ParsePeaks reads what MarshalBinary wrote, for a container of frames frames.
func ParsePeaks(frames int64, octets []byte) (*Peaks, error) { panic("stub") }
