package client

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

func change1(container, id, payload string) *op {
	return &op{Container: container, UniqueID: id, Envelope: &dare.Envelope{Header: []byte("{}"), Payload: []byte(payload)}}
}

func openQ(t *testing.T, path string) *queue {
	t.Helper()
	q, err := openQueue(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.close() })
	return q
}

// state shows a queue as text.
func (q *queue) state() []string {
	var s []string
	for _, o := range q.pending("") {
		mark := ""
		if q.inFlight(o.Seq) {
			mark = " sent"
		}
		if q.of(o.ref()) != o {
			mark += " superseded"
		}
		s = append(s, fmt.Sprintf("%s %s=%s%s", o.Container, o.UniqueID, o.Envelope.Payload, mark))
	}
	return s
}

func TestQueueKeepsTheLastChangeAndWhatIsOnItsWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue")
	q := openQ(t, path)
	check := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, q.state()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		again := openQ(t, path) // a process that was killed here finds the same
		if diff := cmp.Diff(want, again.state()); diff != "" {
			t.Errorf("read again (-want +got):\n%s", diff)
		}
		q = again
	}
	put := func(ops ...*op) {
		t.Helper()
		if err := q.put(ops...); err != nil {
			t.Fatal(err)
		}
	}
	put(change1("mmm_A", "a", "1"), change1("mmm_A", "b", "1"))
	put(change1("mmm_A", "a", "2"), change1("mmm_B", "a", "1"))
	check("mmm_A b=1", "mmm_A a=2", "mmm_B a=1")
	s := &sent{ID: jbcd.Binary("id"), Containers: []sentUpdate{{Container: "mmm_A", Index: 7, Seqs: []int64{q.latest[ref{"mmm_A", "a"}]}}}}
	if err := q.send(s); err != nil {
		t.Fatal(err)
	}
	check("mmm_A b=1", "mmm_A a=2 sent", "mmm_B a=1")
	put(change1("mmm_A", "a", "3"))
	check("mmm_A b=1", "mmm_A a=2 sent superseded", "mmm_B a=1", "mmm_A a=3")
	put(change1("mmm_A", "a", "4"))
	check("mmm_A b=1", "mmm_A a=2 sent superseded", "mmm_B a=1", "mmm_A a=4")
	if err := q.done(s.Containers[0].Seqs, s.ID); err != nil {
		t.Fatal(err)
	}
	check("mmm_A b=1", "mmm_B a=1", "mmm_A a=4")
	for _, o := range q.pending("") {
		if err := q.done([]int64{o.Seq}); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(queueMagic)) || info.Mode().Perm() != fileMode {
		t.Errorf("an empty queue has %d octets, mode %v (%v)", info.Size(), info.Mode(), err)
	}
}

// A crash can cut the file anywhere, or leave the last write half filled in: what had returned is there, what had not is
// gone, and the queue goes on.
func TestQueueTornAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "queue")
	q := openQ(t, path)
	if err := q.put(change1("mmm_A", "a", "1")); err != nil {
		t.Fatal(err)
	}
	whole := q.size
	if err := q.put(change1("mmm_A", "b", "2")); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := whole; n < int64(len(content)); n += 7 { // each opening costs a few syncs
		for _, tail := range [][]byte{content[whole:n], append(bytes.Clone(content[whole:n]), make([]byte, int64(len(content))-n)...)} {
			torn := filepath.Join(dir, "torn")
			if err := os.WriteFile(torn, append(bytes.Clone(content[:whole]), tail...), fileMode); err != nil {
				t.Fatal(err)
			}
			q := openQ(t, torn)
			if diff := cmp.Diff([]string{"mmm_A a=1"}, q.state()); diff != "" {
				t.Fatalf("cut at %d of %d (-want +got):\n%s", n, len(content), diff)
			}
			if err := q.put(change1("mmm_A", "c", "3")); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"mmm_A a=1", "mmm_A c=3"}, openQ(t, torn).state()); diff != "" {
				t.Fatalf("after a torn write (-want +got):\n%s", diff)
			}
		}
	}
}

func TestQueueOfAnotherProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue")
	if err := os.WriteFile(path, []byte("not a queue file at all"), fileMode); err != nil {
		t.Fatal(err)
	}
	if _, err := openQueue(path); err == nil {
		t.Error("overwritten without a word")
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "not a queue file at all" {
		t.Errorf("%q (%v)", content, err)
	}
}

// A failed write leaves the queue as it was.
func TestQueueWriteFails(t *testing.T) {
	q := openQ(t, filepath.Join(t.TempDir(), "queue"))
	if err := q.put(change1("mmm_A", "a", "1")); err != nil {
		t.Fatal(err)
	}
	good := q.file
	readOnly, err := os.Open(q.path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	q.file = readOnly
	if err := q.put(change1("mmm_A", "b", "2")); err == nil {
		t.Error("a change that is not on disk was accepted")
	}
	q.file = good
	if diff := cmp.Diff([]string{"mmm_A a=1"}, q.state()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzQueueFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "queue")
	q, err := openQueue(path)
	if err != nil {
		f.Fatal(err)
	}
	if err := q.put(change1("mmm_A", "a", "1"), change1("mmm_A", "b", "2")); err != nil {
		f.Fatal(err)
	}
	if err := q.send(&sent{ID: jbcd.Binary("id"), Containers: []sentUpdate{{Container: "mmm_A", Seqs: []int64{1}}}}); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(queueMagic))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "queue")
		if err := os.WriteFile(path, content, fileMode); err != nil {
			t.Fatal(err)
		}
		q, err := openQueue(path)
		if err != nil {
			return
		}
		defer q.close()
		want := q.state()
		again, err := openQueue(path)
		if err != nil {
			t.Fatal(err)
		}
		defer again.close()
		if diff := cmp.Diff(want, again.state()); diff != "" {
			t.Errorf("read, written, read (-want +got):\n%s", diff)
		}
	})
}
