package dare

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// seeds are the envelopes of the vectors.
func seeds(f *testing.F) {
	for _, name := range []string{"dare-envelope", "profiles"} {
		for _, v := range load(f, name) {
			if v.Inputs.Has("body_b64") {
				f.Add(vectorEnvelope(v))
			}
		}
	}
	for _, text := range []string{`[{},""]`, `[{},"AA",null]`, `[{"signatures":[{"Credential":[[{},"",{}]]}]},"AA\n"]`} {
		f.Add([]byte(text))
	}
}

// What is read is written so that it reads the same, and written again with the same octets. Reading in place reads the
// same.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := Parse(in)
		own, ownErr := ParseInPlace(bytes.Clone(in))
		if (err == nil) != (ownErr == nil) || cmp.Diff(e, own, emptyIsNil) != "" {
			t.Fatalf("in place: %v and %v, %s", err, ownErr, cmp.Diff(e, own, emptyIsNil))
		}
		if err != nil {
			return
		}
		if len(e.Header)+len(e.Payload)+len(e.Trailer) > len(in) {
			t.Fatal("more came out than went in")
		}
		out, err := e.MarshalJBCD()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		if d := cmp.Diff(e, again, emptyIsNil); d != "" {
			t.Fatal(d)
		}
		twice, err := again.MarshalJBCD()
		if err != nil || !bytes.Equal(out, twice) {
			t.Fatalf("%q, then %q, %v", out, twice, err)
		}
		stored, err := e.Stored()
		if err != nil {
			t.Fatal(err)
		}
		if s, err := stored.Stored(); err != nil || cmp.Diff(stored, s, emptyIsNil) != "" {
			t.Fatalf("stored form of a stored form differs: %v", err)
		}
	})
}

// Nothing that stands in a header makes its readers panic, and no stranger's envelope opens or verifies.
func FuzzHeader(f *testing.F) {
	for _, name := range []string{"dare-envelope", "profiles"} {
		for _, v := range load(f, name) {
			if v.Inputs.Has("body_b64") {
				e := mustParse(f, vectorEnvelope(v))
				f.Add(e.Header, e.Trailer, e.Payload)
			}
		}
	}
	p := newParty(f)
	mine := mustNew(f, []byte("content"), Options{
		Recipients: []keys.PublicKey{p.agree.Public(), p.agree2559.Public()}, Holder: p.ring, SignKIDs: []string{p.sign.KID()},
		Meta: &ContentMeta{UniqueID: "U"}, MetaAAD: true, Header: Header{ContainerInfo: &Info{Index: new(int64)}},
	})
	f.Add(mine.Header, mine.Trailer, mine.Payload)
	mk := make([]byte, 32)
	mkid := udf.SymmetricKey(mk)
	f.Fuzz(func(t *testing.T, header, trailer, payload []byte) {
		e := Envelope{Header: header, Trailer: trailer, Payload: payload}
		if h, err := e.ParseHeader(); err == nil {
			_, _ = h.ParseMeta()
			if plain, _, err := h.open(payload, mk); err == nil && h.Enc != encCBC && h.KID != mkid {
				t.Fatalf("opened under a key of nobody: %q", plain)
			}
		}
		_, _ = e.Signatures()
		_ = e.CheckDigest()
		if err := e.Verify(p.sign.Public()); err == nil && !bytes.Equal(payload, mine.Payload) {
			t.Fatal("verified")
		}
		if plain, err := e.Open(p.ring); err == nil && !bytes.Equal(plain, payload) && string(plain) != "content" {
			t.Fatalf("opened: %q", plain)
		}
		_, _ = e.Annotations(p.ring)
		var peaks Peaks
		if err := peaks.Next(&e); err == nil && peaks.Frames != 1 || err != nil && peaks.Frames != 0 {
			t.Fatalf("%v, %d frames", err, peaks.Frames)
		}
	})
}

// A file that reads as frames is the one that its frames make; another is refused without reading beyond its end.
func FuzzFrames(f *testing.F) {
	files, err := filepath.Glob("testdata/container/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no files", err)
	}
	for _, path := range files {
		octets, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(octets[:min(len(octets), 4<<10)])
	}
	path, _ := build(f, 3)
	octets, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(octets)
	f.Add(octets[:len(octets)-5])
	f.Fuzz(func(t *testing.T, in []byte) {
		s := scanner{file: bytes.NewReader(in), size: int64(len(in))}
		ends, err := s.frames()
		if err != nil {
			return
		}
		at := int64(0)
		for i, end := range ends {
			records, n, err := splitFrame(in[at:])
			if err == nil && int64(n) != end-at {
				t.Fatalf("frame %d: %d octets, the scanner says %d", i, n, end-at)
			}
			if err == nil && !bytes.Equal(appendRecords(nil, records...), in[at:end]) {
				t.Fatalf("frame %d: written again it differs", i)
			}
			if e, err := parseFrame(in[at:end]); err == nil {
				again, err := parseFrame(appendFrame(nil, e))
				if err != nil || cmp.Diff(e, again, emptyIsNil) != "" {
					t.Fatalf("frame %d: written again it reads otherwise: %v", i, err)
				}
			}
			at = end
		}
		if at > int64(len(in)) {
			t.Fatal("beyond the end")
		}
	})
}
