package dare

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/vectors"
)

// containerVectors are those of dare-container.json whose files stand beside it.
func containerVectors(t testing.TB) []vectors.Vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/dare-container.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []vectors.Vector `json:"vectors"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Vectors
}

func containerVector(t testing.TB, id string) vectors.Vector {
	t.Helper()
	for _, v := range containerVectors(t) {
		if v.ID == id {
			return v
		}
	}
	t.Fatalf("no vector %s", id)
	return vectors.Vector{}
}

func vectorFile(t testing.TB, v vectors.Vector) (path string, octets []byte) {
	t.Helper()
	path = filepath.Join("testdata/container", filepath.Base(v.Inputs.Text("file")))
	octets, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, octets
}

// C-156: framing of the published container files, forward, and the same octets when written again.
func TestPublishedFrames(t *testing.T) {
	n := 0
	for _, v := range containerVectors(t) {
		if v.Kind != "container.frames" {
			continue
		}
		n++
		t.Run(v.ID, func(t *testing.T) {
			_, octets := vectorFile(t, v)
			want := v.Want()
			if sum := sha256.Sum256(octets); hex.EncodeToString(sum[:]) != want.Text("sha256") {
				t.Fatal("not the published file")
			}
			var starts []int64
			var lengths [][]int
			at := 0
			var again []byte
			for at < len(octets) {
				records, size, err := splitFrame(octets[at:])
				if err != nil {
					t.Fatal(err)
				}
				var ls []int
				for _, r := range records {
					ls = append(ls, len(r))
				}
				starts, lengths = append(starts, int64(at)), append(lengths, ls)
				again = appendRecords(again, records...)
				at += size
			}
			if !bytes.Equal(again, octets) {
				t.Error("written again, the file differs")
			}
			var wantStarts []int64
			var wantLengths [][]int
			want.Decode("starts", &wantStarts)
			want.Decode("record_lengths", &wantLengths)
			if d := cmp.Diff(wantStarts, starts); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(wantLengths, lengths); d != "" {
				t.Error(d)
			}
			s := scanner{file: bytes.NewReader(octets), size: int64(len(octets))}
			ends, err := s.frames()
			if err != nil || len(ends) != want.Int("frame_count") || ends[len(ends)-1] != int64(len(octets)) {
				t.Errorf("scanner: %d frames, %v", len(ends), err)
			}
		})
	}
	if n < 4 {
		t.Fatalf("only %d vectors", n)
	}
}

// The framing that the example prints, with its empty trailer in frame 0.
func TestPublishedFraming(t *testing.T) {
	v := containerVector(t, "container-list-framing")
	var frames []struct {
		Header  string `json:"header"`
		Payload int    `json:"payload_length"`
		Trailer bool   `json:"empty_trailer"`
	}
	var framing []string
	var sums []string
	v.Inputs.Decode("frames", &frames)
	v.Want().Decode("framing", &framing)
	v.Computed.Decode("frame_sha256", &sums)
	for i, f := range frames {
		payload := make([]byte, f.Payload)
		for j := range payload {
			payload[j] = byte(j)
		}
		records := [][]byte{[]byte(f.Header), payload}
		if f.Trailer {
			records = append(records, nil)
		}
		out := appendRecords(nil, records...)
		if sum := sha256.Sum256(out); hex.EncodeToString(sum[:]) != sums[i] {
			t.Errorf("frame %d differs from the published one", i)
		}
		words := strings.Fields(framing[i])
		head, tail := words[0], words[len(words)-1]
		if got := hex.EncodeToString(out); !strings.HasPrefix(got, head+words[1]) || !strings.HasSuffix(got, tail) {
			t.Errorf("frame %d: begins %s, ends %s, want %s", i, got[:12], got[len(got)-8:], framing[i])
		}
	}
}

// Files of 2018: the layout is read, payload digests and (where the writer was right) tree digests are as D-43 says.
func TestOldLayout(t *testing.T) {
	for _, v := range containerVectors(t) {
		if v.Kind != "container.filedigests" || v.ID == "container-test1chain-digests" || v.ID == "container-old-chain1-digests" {
			continue // chains are another kind
		}
		t.Run(v.ID, func(t *testing.T) {
			path, octets := vectorFile(t, v)
			c, err := OpenReadOnly(path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Kind() != "Merkle" {
				t.Errorf("kind %q", c.Kind())
			}
			if err := c.Verify(); !errors.Is(err, ErrReadOnly) {
				t.Errorf("Verify of the old layout: %v", err)
			}
			if err := c.Append(&Envelope{}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("Append to the old layout: %v", err)
			}
			var p Peaks
			right := true
			var forward []int64
			for e, err := range c.Forward(0) {
				if err != nil {
					t.Fatal(err)
				}
				h, tr, err := e.parse()
				if err != nil {
					t.Fatal(err)
				}
				info, legacy, err := containerInfo(e)
				if err != nil || !legacy || info.Index == nil {
					t.Fatalf("info %+v legacy %v, %v", info, legacy, err)
				}
				forward = append(forward, *info.Index)
				digest, err := frameDigest(e, h, tr)
				if err != nil {
					t.Fatal(err)
				}
				tree := p.Append(digest)
				right = right && bytes.Equal(tree[:], treeDigest(h, tr))
			}
			if want := v.Want().Bool("tree_digests_as_intended"); right != want {
				t.Errorf("tree digests of the file right: %v, want %v", right, want)
			}
			var backward []int64
			for e, err := range c.Backward() {
				if err != nil {
					t.Fatal(err)
				}
				info, _, err := containerInfo(e)
				if err != nil {
					t.Fatal(err)
				}
				backward = append([]int64{*info.Index}, backward...)
			}
			if d := cmp.Diff(forward, backward); d != "" {
				t.Error(d)
			}
			if c.end() != int64(len(octets)) || c.Cut() != 0 {
				t.Errorf("read %d of %d octets", c.end(), len(octets))
			}
		})
	}
	for _, name := range []string{"Test1List", "Test1Merkle"} {
		if _, err := OpenFile("testdata/container/" + name); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s opened for writing: %v", name, err)
		}
	}
	if _, err := OpenReadOnly("testdata/container/JBCD1"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a frame that is no envelope: %v", err)
	}
}
