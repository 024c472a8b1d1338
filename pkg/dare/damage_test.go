package dare

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

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
	n := 0
	check := func(octets []byte, what string) {
		t.Helper()
		torn := scanner{file: bytes.NewReader(octets), size: int64(len(octets))}
		if found, err := torn.frames(); err != nil || len(found) != len(ends)-1 {
			t.Fatalf("%s: %d frames, %v", what, len(found), err)
		}
		if n++; n%17 != 1 { // each file costs an fsync
			return
		}
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
	path, _ := build(t, 3)
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
		open := OpenReadOnly
		if i%41 == 0 { // to write costs an fsync
			open = OpenFile
		}
		c, err := open(file)
		if err == nil {
			if c.Frames() != 4 || c.Cut() != 0 {
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

// After a write that failed the file is not written again: what the kernel has of it is not known.
func TestBroken(t *testing.T) {
	path, frames := build(t, 3)
	c, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.TruncateTo(3); err != nil {
		t.Fatal(err)
	}
	if err := c.file.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Append(frames[3]); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Append: %v", err)
		}
	}
	if c.Frames() != 3 || c.broken == nil {
		t.Errorf("%d frames, broken: %v", c.Frames(), c.broken)
	}
	if err := c.TruncateTo(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("TruncateTo: %v", err)
	}
	again, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Append(frames[3]); err != nil {
		t.Error(err)
	}
}

// What is not a frame is refused by its octets alone.
func TestSplitFrameRefuses(t *testing.T) {
	good := []byte{0xF4, 6, 0xF0, 2, '{', '}', 0xF0, 0, 6, 0xF4}
	if records, n, err := splitFrame(append(bytes.Clone(good), 0xF4)); err != nil || n != len(good) || len(records) != 2 {
		t.Fatalf("%d records, %d octets, %v", len(records), n, err)
	}
	for name, in := range map[string][]byte{
		"nothing":                 {},
		"tag only":                {0xF4},
		"another tag":             {0xF0, 6, 0xF0, 2, '{', '}', 0xF0, 0, 6, 0xF0},
		"tail of another length":  {0xF4, 6, 0xF0, 2, '{', '}', 0xF0, 0, 5, 0xF4},
		"tail of another tag":     {0xF4, 6, 0xF0, 2, '{', '}', 0xF0, 0, 6, 0xF5},
		"tail not reversed":       {0xF4, 6, 0xF0, 2, '{', '}', 0xF0, 0, 0xF4, 6},
		"cut in the tail":         good[:9],
		"cut before the tail":     good[:8],
		"cut in the body":         good[:5],
		"length not shortest":     {0xF5, 0, 6, 0xF0, 2, '{', '}', 0xF0, 0, 6, 0, 0xF5},
		"8 octets of length":      {0xF7, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0},
		"record not shortest":     {0xF4, 7, 0xF1, 0, 2, '{', '}', 0xF0, 0, 7, 0xF4},
		"record beyond the frame": {0xF4, 6, 0xF0, 5, '{', '}', 0xF0, 0, 6, 0xF4},
		"record with frame tag":   {0xF4, 6, 0xF4, 2, '{', '}', 0xF0, 0, 6, 0xF4},
		"four records":            {0xF4, 10, 0xF0, 2, '{', '}', 0xF0, 0, 0xF0, 0, 0xF0, 0, 10, 0xF4},
	} {
		if records, _, err := splitFrame(in); err == nil {
			t.Errorf("%s: %d records", name, len(records))
		}
	}
	for name, in := range map[string][]byte{
		"no record":        {0xF4, 0, 0, 0xF4},
		"header no object": {0xF4, 4, 0xF0, 2, '[', ']', 4, 0xF4},
		"two frames":       append(bytes.Clone(good), good...),
	} {
		if e, err := parseFrame(in); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// A torn end does not excuse damage before it.
func TestDamageBeforeTornEnd(t *testing.T) {
	path, _ := build(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, first, err := splitFrame(whole)
	if err != nil {
		t.Fatal(err)
	}
	octets := append(bytes.Clone(whole), make([]byte, 100)...)
	octets[first-2] ^= 1 // the length at the end of frame 0
	s := scanner{file: bytes.NewReader(octets), size: int64(len(octets))}
	if ends, err := s.frames(); !errors.Is(err, ErrDamaged) {
		t.Errorf("%d frames, %v", len(ends), err)
	}
}

// The last frame is what a crash hits: opening to write checks its digests.
func TestDamageOfLastFrame(t *testing.T) {
	path, frames := build(t, 3)
	octets, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	octets[bytes.LastIndex(octets, frames[3].Payload)] ^= 1
	if err := os.WriteFile(path, octets, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path); !errors.Is(err, ErrDamaged) || !errors.Is(err, ErrDigest) {
		t.Errorf("OpenFile: %v", err)
	}
}
