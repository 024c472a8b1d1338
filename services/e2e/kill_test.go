//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// acknowledgement is a line of a writer's log: the service has said that it has this entry at this place.
type acknowledgement struct {
	Address string
	Index   int64
	Digest  string // of the payload: a ciphertext, so no two entries share it
}

// writer stores entries as fast as it is answered and logs every acknowledgement to disk before it sends the next one.
type writer struct {
	*person
	log    *os.File
	device string // makes the entries' names differ where several write to one account
	blind  bool   // changes one entry over and over, and does not say in which state it believes the catalog
	acks   int
	err    error
}

// crew is everybody who writes while things are killed.
type crew struct {
	service *service
	dir     string
	writers []*writer
	group   sync.WaitGroup
	stop    context.CancelFunc
}

// recruit makes accounts, several on each shard, with one writer each and a last one with two.
func recruit(t *testing.T, s *service, accounts int) *crew {
	t.Helper()
	c := &crew{service: s, dir: t.TempDir()}
	for i := range accounts {
		own := *s
		own.http = browser(t, s.ProviderState, answerTime) // a connection of his own
		p, err := own.join(t.Context(), someone(s.Domain), true)
		if err != nil {
			t.Fatal(err)
		}
		c.hire(t, p, "a", false)
		if i == accounts-1 {
			other := *p
			c.writers[i].blind = true
			c.hire(t, &other, "b", true)
		}
	}
	return c
}

func (c *crew) hire(t *testing.T, p *person, device string, blind bool) {
	t.Helper()
	log, err := os.Create(filepath.Join(c.dir, fmt.Sprintf("%d.log", len(c.writers))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	c.writers = append(c.writers, &writer{person: p, log: log, device: device, blind: blind})
}

// start lets everybody write until halt.
func (c *crew) start(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for _, w := range c.writers {
		c.group.Go(func() { w.err = w.run(ctx, t.Context()) })
	}
}

// halt lets everybody get the answer to what he has asked, and ends.
func (c *crew) halt(t *testing.T) {
	t.Helper()
	c.stop()
	c.group.Wait()
	total, retries := 0, 0
	for _, w := range c.writers {
		if w.err != nil {
			t.Errorf("%s: %v", w.address, w.err)
		}
		total, retries = total+w.acks, retries+w.retries
	}
	t.Logf("%d writes acknowledged, %d requests sent again", total, retries)
	if total == 0 || retries == 0 {
		t.Error("nothing was under way: the test shows nothing")
	}
}

func (w *writer) run(ctx, life context.Context) error {
	for ctx.Err() == nil {
		// What is under way when the end comes is finished: what it did must be known.
		answered, cancel := context.WithTimeout(life, time.Minute)
		err := w.writeLogged(answered)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writeLogged(ctx context.Context) error {
	bookmark, event := &mesh.CatalogedBookmark{URI: "https://example.com/", Title: "written under fire", Path: fmt.Sprintf("%s/%08d", w.device, w.acks)}, "New"
	if w.blind { // an Update that is repeated is accepted again, unless the service knows the request
		if bookmark.Path = w.device; w.acks > 0 {
			event = "Update"
		}
	}
	frame, err := w.seal(catalog, bookmark, event, false)
	if err != nil {
		return err
	}
	update := mesh.ContainerUpdate{Container: catalog, Envelopes: []*dare.Envelope{frame}}
	if !w.blind {
		update.Index, update.Digest = mesh.Int(w.peaks.Frames), w.peaks.Digest()
	}
	payload, err := mesh.EncodeRequest(mesh.TagUpload, &mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: newID()}, Account: w.address}, Updates: []mesh.ContainerUpdate{update},
	})
	if err != nil {
		return err
	}
	var res mesh.UploadResponse
	if err := w.ask(ctx, payload, &res); err != nil {
		return err
	}
	if w.blind {
		if len(res.Entries) != 1 || res.Entries[0].Result != mesh.ResultAccept || res.Entries[0].IndexContainer == nil {
			return fmt.Errorf("the answer to one entry: %+v", res.Entries)
		}
	} else if err := w.accepted(&res, update.Envelopes); err != nil {
		return err
	}
	line, err := json.Marshal(acknowledgement{w.address, *res.Entries[0].IndexContainer, hex.EncodeToString(frame.Digest())})
	if err != nil {
		return err
	}
	w.acks++
	_, err = w.log.Write(append(line, '\n'))
	return errors.Join(err, w.log.Sync())
}

// check compares what the logs on disk say with what the service has: everything once, in its place, and nothing else.
func (c *crew) check(t *testing.T) {
	t.Helper()
	logged := map[string][]acknowledgement{}
	files, err := filepath.Glob(filepath.Join(c.dir, "*.log"))
	if err != nil || len(files) != len(c.writers) {
		t.Fatalf("%d logs of %d writers: %v", len(files), len(c.writers), err)
	}
	for _, name := range files {
		for _, a := range readLog(t, name) {
			logged[a.Address] = append(logged[a.Address], a)
		}
	}
	seen := map[string]bool{}
	for _, w := range c.writers {
		if seen[w.address] {
			continue
		}
		seen[w.address] = true
		for _, fault := range w.compare(t, logged[w.address]) {
			t.Errorf("%s: %s", w.address, fault)
		}
	}
}

func readLog(t *testing.T, name string) (all []acknowledgement) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var a acknowledgement
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, a)
	}
	return all
}

// compare says in what the service's catalog differs from what was acknowledged.
func (w *writer) compare(t *testing.T, logged []acknowledgement) (faults []string) {
	t.Helper()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.renew(ctx); err != nil {
		t.Fatalf("%s: %v", w.address, err)
	}
	frames, err := w.download(ctx)
	if err != nil {
		t.Fatalf("%s: %v", w.address, err)
	}
	var peaks dare.Peaks
	places := map[string][]int64{}
	for i, f := range frames {
		h, err := f.ParseHeader()
		if err != nil || h.ContainerInfo == nil || h.ContainerInfo.Index == nil || *h.ContainerInfo.Index != int64(i) {
			t.Fatalf("%s: frame %d is not at its index: %v", w.address, i, err)
		}
		digest := hex.EncodeToString(f.Digest())
		places[digest] = append(places[digest], int64(i))
		peaks.Append(f.Digest())
	}
	for _, a := range logged {
		switch at := places[a.Digest]; {
		case len(at) == 0:
			fault("the entry %.16s was acknowledged at %d and is missing", a.Digest, a.Index)
		case len(at) > 1:
			fault("the entry %.16s is there %d times, at %v", a.Digest, len(at), at)
		case at[0] != a.Index:
			fault("the entry %.16s was acknowledged at %d and is at %d", a.Digest, a.Index, at[0])
		}
	}
	// Frame 0, the first entry, and what was acknowledged: every request was answered in the end.
	if want := 2 + len(logged); len(frames) != want {
		fault("%d frames, want %d", len(frames), want)
	}
	n, digest, err := w.status(ctx)
	if err != nil || n != peaks.Frames || !bytes.Equal(digest, peaks.Digest()) {
		fault("Status says %d frames and %x, the frames make %d and %x (%v)", n, digest, peaks.Frames, peaks.Digest(), err)
	}
	return faults
}

// The checker is itself checked: each way in which a service could have lost or doubled a write is found.
func TestCheckerFindsFaults(t *testing.T) {
	d := &dev{t: t, bin: binaries(t), dir: shortDir(t), store: stack.SQLite}
	d.start()
	c := recruit(t, meet(t, d.provider()), 1)
	w := c.writers[1] // writes Updates
	for range 3 {
		if err := w.writeLogged(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	truth := readLog(t, w.log.Name())
	if faults := w.compare(t, truth); len(truth) != 3 || len(faults) > 0 {
		t.Fatalf("%d lines, and an honest service has faults: %v", len(truth), faults)
	}
	for name, plant := range map[string]func(a []acknowledgement) []acknowledgement{
		"an acknowledged entry is missing": func(a []acknowledgement) []acknowledgement { a[2].Digest = "00"; return a },
		"an entry is at another place":     func(a []acknowledgement) []acknowledgement { a[0].Index, a[1].Index = a[1].Index, a[0].Index; return a },
		"a frame that nobody wrote":        func(a []acknowledgement) []acknowledgement { return a[:2] },
	} {
		if faults := w.compare(t, plant(slices.Clone(truth))); len(faults) == 0 {
			t.Errorf("not found: %s", name)
		}
	}
	// A service that had forgotten a request would do it again: the same entry, as another request.
	frames, err := w.download(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stored, err := frames[len(frames)-1].Stored()
	if err != nil {
		t.Fatal(err)
	}
	w.peaks = dare.Peaks{}
	for _, f := range frames {
		w.peaks.Append(f.Digest())
	}
	if _, err := w.upload(t.Context(), newID(), stored); err != nil {
		t.Fatal(err)
	}
	if faults := w.compare(t, append(truth, truth[2])); len(faults) == 0 {
		t.Error("not found: an effect that happened twice")
	}
}

// victim is something that can be killed and comes back.
type victim struct {
	name string
	kill func()
	back func()
}

// rampage kills each victim in turn, at a random moment, and brings it back; then once these together.
func rampage(t *testing.T, rounds int, victims, together []victim) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	wait := func(most time.Duration) { time.Sleep(time.Duration(random.Int64N(int64(most)))) }
	for range rounds {
		for _, i := range random.Perm(len(victims)) {
			wait(time.Second)
			victims[i].kill()
			wait(300 * time.Millisecond) // its clients go on without it
			victims[i].back()
		}
	}
	wait(time.Second)
	for _, v := range together {
		v.kill()
	}
	for _, v := range together {
		v.back()
	}
	wait(time.Second)
}
