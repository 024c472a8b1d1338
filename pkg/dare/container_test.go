package dare

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/jbcd"
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
	if _, err := OpenFile("testdata/container/Test1List"); err == nil {
		t.Error("a List opened for writing")
	}
	if _, err := OpenReadOnly("testdata/container/JBCD1"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a frame that is no envelope: %v", err)
	}
}

// build makes a container of n frames besides frame 0 and returns path and the frames as written.
func build(t testing.TB, n int) (string, []*Envelope) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mmm_Test.dcat")
	c, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first, err := FirstFrame(&ContentMeta{CTY: "application/mmm-catalog"})
	if err != nil {
		t.Fatal(err)
	}
	frames := []*Envelope{}
	for i := range n + 1 {
		e := first
		if i > 0 {
			e = &Envelope{
				Header:  fmt.Appendf(nil, "{ \"EnvelopeID\" : \"N%d\",\n  \"Unknown\":[1.0, 2e3]}", i),
				Payload: bytes.Repeat([]byte{byte(i), 0xF4, 0xF5}, i%7*50),
			}
			if i%3 == 0 {
				e.Trailer = []byte(`{"signatures": [] }`)
			}
		}
		placed, err := c.Add(e)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, placed)
	}
	return path, frames
}

func readAll(t testing.TB, c *Container) (out []*Envelope) {
	t.Helper()
	for e, err := range c.Forward(0) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// emptyIsNil: an empty payload is one thing in a file.
var emptyIsNil = cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })

// C-002: a replica made anew from the same frames is the same to the octet.
func TestContainerRoundTrip(t *testing.T) {
	path, frames := build(t, 40)
	if got := string(frames[0].Header); got != `{"ContentMetaData":"`+b64(`{"cty":"application/mmm-catalog"}`)+
		`","ContainerInfo":{"DataEncoding":"JSON","ContainerType":"Merkle","Index":0}}` {
		t.Errorf("header of frame 0: %s", got)
	}
	c, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if d := cmp.Diff(frames, readAll(t, c), emptyIsNil); d != "" {
		t.Error(d)
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
	other := filepath.Join(t.TempDir(), "again")
	again, err := Create(other)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Append(frames[0]); err != nil {
		t.Fatal(err)
	}
	if err := again.AppendAll(frames[1:]); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(path)
	b, _ := os.ReadFile(other)
	if !bytes.Equal(a, b) {
		t.Error("the same frames make another file")
	}
	if !bytes.Equal(c.Digest(), again.Digest()) || cmp.Diff(c.Peaks(), again.Peaks()) != "" {
		t.Error("the same frames have another digest")
	}
	if _, err := Create(other); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create over a container: %v", err)
	}
	if st, _ := os.Stat(other); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	for _, i := range []int64{-1, 41} {
		if _, err := c.Frame(i); !errors.Is(err, ErrNoFrame) {
			t.Errorf("frame %d: %v", i, err)
		}
	}
}

// A frame of another place or history is refused and nothing is written (C-016).
func TestAppendRefuses(t *testing.T) {
	path, frames := build(t, 6)
	edit := func(e *Envelope, f func(h, t *Header)) *Envelope {
		h, tr, err := e.parse()
		if err != nil {
			t.Fatal(err)
		}
		f(h, tr)
		out := &Envelope{Payload: e.Payload}
		if out.Header, err = jbcd.Marshal(h); err != nil {
			t.Fatal(err)
		}
		if out.Trailer, err = jbcd.Marshal(tr); err != nil {
			t.Fatal(err)
		}
		return out
	}
	six := frames[6]
	three := int64(3)
	for name, c := range map[string]struct {
		e    *Envelope
		want error
	}{
		"good":               {six, nil},
		"payload":            {&Envelope{six.Header, append(bytes.Clone(six.Payload), 1), six.Trailer}, ErrDigest},
		"payload cut":        {&Envelope{six.Header, six.Payload[1:], six.Trailer}, ErrDigest},
		"index":              {edit(six, func(h, _ *Header) { h.ContainerInfo.Index = &three }), ErrIndex},
		"no index":           {edit(six, func(h, _ *Header) { h.ContainerInfo = nil }), ErrIndex},
		"tree":               {edit(six, func(_, t *Header) { t.TreeDigest[63] ^= 1 }), ErrTreeDigest},
		"no tree":            {edit(six, func(_, t *Header) { t.TreeDigest = nil }), ErrTreeDigest},
		"short tree":         {edit(six, func(_, t *Header) { t.TreeDigest = t.TreeDigest[:63] }), ErrTreeDigest},
		"no payload digest":  {edit(six, func(_, t *Header) { t.PayloadDigest = nil }), ErrMalformed},
		"short digest":       {edit(six, func(_, t *Header) { t.PayloadDigest = t.PayloadDigest[:32] }), ErrMalformed},
		"second digest":      {edit(six, func(h, t *Header) { h.PayloadDigest = make([]byte, 64) }), ErrDigest},
		"other dig":          {edit(six, func(h, _ *Header) { h.Dig = "SHA3" }), ErrAlgorithm},
		"earlier":            {frames[5], ErrIndex},
		"first":              {frames[0], ErrIndex},
		"no header":          {&Envelope{nil, six.Payload, six.Trailer}, ErrMalformed},
		"header not object":  {&Envelope{[]byte(`[]`), six.Payload, six.Trailer}, ErrMalformed},
		"header with spaces": {&Envelope{append([]byte(" "), six.Header...), six.Payload, six.Trailer}, ErrMalformed},
		"redacted": {edit(&Envelope{six.Header, nil, six.Trailer}, func(h, _ *Header) {
			n := int64(len(six.Payload))
			h.ContentLength = &n
		}), nil},
		"redacted, digest of another": {edit(&Envelope{six.Header, nil, six.Trailer}, func(h, t *Header) {
			n := int64(len(six.Payload))
			h.ContentLength = &n
			t.PayloadDigest[0] ^= 1
		}), ErrTreeDigest},
		"whole with ContentLength, changed": {edit(&Envelope{six.Header, append([]byte{1}, six.Payload[1:]...), six.Trailer}, func(h, _ *Header) {
			n := int64(len(six.Payload))
			h.ContentLength = &n
		}), ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "c")
			octets, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, octets, 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := OpenFile(file)
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			if err := k.TruncateTo(6); err != nil {
				t.Fatal(err)
			}
			size := k.end()
			if err := k.Append(c.e); !errors.Is(err, c.want) {
				t.Fatalf("Append: %v, want %v", err, c.want)
			}
			st, _ := os.Stat(file)
			if c.want == nil {
				if err := k.Verify(); err != nil || st.Size() <= size {
					t.Errorf("Verify %v, %d octets", err, st.Size())
				}
				return
			}
			if st.Size() != size || k.Frames() != 6 {
				t.Errorf("refused, but %d octets, %d frames", st.Size(), k.Frames())
			}
			if err := k.AppendAll([]*Envelope{six, c.e}); err == nil || k.Frames() != 6 {
				t.Errorf("batch with a wrong frame: %v, %d frames", err, k.Frames())
			}
			if err := k.Append(six); err != nil {
				t.Errorf("the right frame after a refusal: %v", err)
			}
		})
	}
}

func TestTruncate(t *testing.T) {
	path, frames := build(t, 20)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := int64(20); n >= 0; n-- {
		if err := c.TruncateTo(n); err != nil {
			t.Fatal(err)
		}
		if c.Frames() != n || c.Peaks().Frames != n {
			t.Fatalf("%d frames, want %d", c.Frames(), n)
		}
		if n > 0 {
			if _, tr, _ := frames[n-1].parse(); !bytes.Equal(c.Digest(), tr.TreeDigest) {
				t.Fatalf("cut to %d: another digest", n)
			}
		}
	}
	if err := c.TruncateTo(1); !errors.Is(err, ErrNoFrame) {
		t.Errorf("cut to more than there is: %v", err)
	}
	if err := c.AppendAll(frames); err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(whole, again) {
		t.Error("written again, the file differs")
	}
}

// A machine that stops in the middle of a write loses the frame that was not acknowledged, and no other.
func TestTornTail(t *testing.T) {
	path, _ := build(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := scanner{file: bytes.NewReader(whole), size: int64(len(whole))}
	ends, err := s.frames()
	if err != nil {
		t.Fatal(err)
	}
	last := ends[len(ends)-2]
	file := filepath.Join(t.TempDir(), "c")
	check := func(octets []byte, what string) {
		t.Helper()
		if err := os.WriteFile(file, octets, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenFile(file)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer c.Close()
		if c.Frames() != int64(len(ends)-1) || c.Cut() != int64(len(octets))-last {
			t.Fatalf("%s: %d frames, %d octets cut", what, c.Frames(), c.Cut())
		}
		if err := c.Verify(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if st, _ := os.Stat(file); st.Size() != last {
			t.Fatalf("%s: the torn frame is still there", what)
		}
	}
	for n := last + 1; n < int64(len(whole)); n++ {
		check(whole[:n], fmt.Sprintf("cut at %d", n))
	}
	for n := last; n < int64(len(whole)); n += 3 { // the file has its length, but not its last octets
		zeroed := bytes.Clone(whole)
		clear(zeroed[n:])
		check(zeroed, fmt.Sprintf("zero from %d", n))
	}
}

// Damage that is not a torn end is named, and nothing is cut off.
func TestDamage(t *testing.T) {
	path, _ := build(t, 5)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "c")
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenFile(file)
		if err == nil {
			if c.Frames() != 6 {
				t.Fatalf("octet %d: only %d frames left", i, c.Frames())
			}
			// Digests cover payloads and order, not headers: a header octet may pass here, and its signature or
			// additional data catch it.
			err = c.Verify()
			if err == nil && !inHeader(t, whole, i) {
				t.Errorf("octet %d changed and not noticed", i)
			}
			c.Close()
		}
		if st, _ := os.Stat(file); st.Size() != int64(len(whole)) {
			t.Fatalf("octet %d: %d octets were cut off (%v)", i, int64(len(whole))-st.Size(), err)
		}
	}
}

// inHeader says whether octet i lies in a header record, or in a trailer outside of its digests.
func inHeader(t *testing.T, file []byte, i int) bool {
	at := 0
	for at < len(file) {
		records, n, err := splitFrame(file[at:])
		if err != nil {
			t.Fatal(err)
		}
		if i < at+n {
			e := Envelope{Header: records[0], Payload: records[1], Trailer: records[2]}
			header := bytes.Index(file[at:at+n], e.Header)
			trailer := bytes.LastIndex(file[at:at+n], e.Trailer)
			digests := bytes.Index(e.Trailer, []byte(`"PayloadDigest"`))
			return i-at >= header && i-at < header+len(e.Header) ||
				i-at >= trailer && i-at < trailer+digests
		}
		at += n
	}
	return false
}

// An unchanged container stays as it is when a service stores its frames and serves them again (D-24).
func TestStoredPlaced(t *testing.T) {
	in := &Envelope{
		Header:  []byte(`{ "Received":"2020-07-27T00:00:00Z", "EnvelopeID" : "N1","ContainerInfo":{"Index":7},"Odd":[1] , "ContentLength":5 }`),
		Payload: []byte("hello"),
		Trailer: []byte(`{"PayloadDigest":"` + b64(string((&Envelope{Payload: []byte("hello")}).Digest())) + `", "TreeDigest":"AAAA"}`),
	}
	stored, err := in.Stored()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(stored.Header), "Received") || strings.Contains(string(stored.Header), "ContainerInfo") ||
		strings.Contains(string(stored.Header), "ContentLength") || strings.Contains(string(stored.Trailer), "TreeDigest") {
		t.Errorf("stored form %s %s", stored.Header, stored.Trailer)
	}
	two := int64(2)
	placed, err := stored.Placed(Place{Info: Info{Index: &two}, PayloadDigest: in.Digest(), TreeDigest: make([]byte, 64)})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(placed.Trailer), "PayloadDigest"); n != 1 {
		t.Errorf("%d PayloadDigests", n)
	}
	again, err := placed.Stored()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(stored, again); d != "" {
		t.Error(d)
	}
	if _, err := placed.Placed(Place{Info: Info{Index: &two}, PayloadDigest: in.Digest(), TreeDigest: make([]byte, 64)}); err == nil {
		t.Error("placed twice")
	}
	if _, err := stored.Placed(Place{Info: Info{Index: &two}, PayloadDigest: in.Digest()}); !errors.Is(err, ErrMalformed) {
		t.Errorf("without a tree digest: %v", err)
	}
}
