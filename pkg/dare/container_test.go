package dare

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

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

func TestEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	c, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := Create(filepath.Join(t.TempDir(), "no", "c")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", err)
	}
	again, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Frames() != 0 || again.Digest() != nil || again.Verify() != nil || again.AppendAll(nil) != nil {
		t.Errorf("%d frames, digest %x", again.Frames(), again.Digest())
	}
	var zero int64
	frame, err := (&Envelope{}).Placed(Place{Info: Info{ContainerType: "List", Index: &zero}, PayloadDigest: make([]byte, 64), TreeDigest: make([]byte, 64)})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Append(frame); !errors.Is(err, ErrMalformed) {
		t.Errorf("frame 0 of a List: %v", err)
	}
}

// Readers go on while a writer appends.
func TestConcurrent(t *testing.T) {
	path, frames := build(t, 30)
	c, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.TruncateTo(1); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for c.Frames() < 31 {
				n := int64(0)
				for e, err := range c.Forward(0) {
					if err != nil || !bytes.Equal(e.Header, frames[n].Header) {
						t.Errorf("frame %d: %v", n, err)
						return
					}
					n++
				}
			}
		})
	}
	for _, e := range frames[1:] {
		if err := c.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
}
