package client

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Catalog is one encrypted catalog, as last synchronised with local changes on top. It is a view: nothing in it
// outlives a Sync.
type Catalog struct {
	a         *Account
	container string
}

// Catalog returns the catalog of a container (mesh.CatalogBookmark, or an alias); spools are refused.
func (a *Account) Catalog(container string) (*Catalog, error) {
	name, ok := mesh.CanonicalContainer(container)
	if !ok || mesh.IsSpool(name) {
		return nil, mesh.Errorf("client.Catalog", mesh.UnknownContainer, "%q is no catalog", container)
	}
	return &Catalog{a: a, container: name}, nil
}

// Entry is a live catalog entry.
type Entry struct {
	Key     string    // primary key text
	Tag     string    // CatalogedCredential …
	Body    jbcd.Raw  // its structure, as inside the tag
	Labels  []string  // of its frame: "conflict" when it was kept against a deletion
	Updated time.Time // by the clock of the device that wrote it; zero when it did not say
	Pending bool      // a local change not yet at the service
}

// Decode reads the entry into its structure of package mesh.
func (e Entry) Decode() (mesh.Entry, error) {
	payload, err := jbcd.Tag(e.Tag, e.Body)
	if err != nil {
		return nil, err
	}
	return mesh.DecodeEntry(payload)
}

// current returns the envelope of the entry's last change, local ones on top; nil when the entry is not there.
func (c *Catalog) current(r *replica, uniqueID string) (e *dare.Envelope, pending bool, err error) {
	if o := c.a.queue.of(ref{c.container, uniqueID}); o != nil {
		meta, err := metaOf(o.Envelope)
		if err != nil || meta.Event == eventDelete {
			return nil, true, err
		}
		return o.Envelope, true, nil
	}
	if at, ok := r.chains[uniqueID]; ok && at.live {
		e, err := r.frame(at.last)
		return e, false, err
	}
	return nil, false, nil
}

func metaOf(e *dare.Envelope) (*dare.ContentMeta, error) {
	h, err := e.ParseHeader()
	if err != nil {
		return nil, err
	}
	return h.ParseMeta()
}

// read decrypts an entry.
func (c *Catalog) read(e *dare.Envelope, pending bool) (Entry, error) {
	plain, err := e.Open(c.a.member.holder)
	if err != nil {
		return Entry{}, err
	}
	tag, body, err := jbcd.Tagged(plain)
	if err != nil {
		return Entry{}, err
	}
	entry, err := mesh.DecodeEntry(plain)
	if err != nil {
		return Entry{}, err
	}
	meta, err := metaOf(e)
	if err != nil {
		return Entry{}, err
	}
	out := Entry{Key: entry.PrimaryKey(), Tag: tag, Body: body, Labels: meta.Labels, Pending: pending}
	if meta.Modified != nil {
		out.Updated = meta.Modified.Time
	}
	return out, nil
}

// Entries lists live entries, by key. It decrypts them all: a thousand take a fraction of a second.
func (c *Catalog) Entries() ([]Entry, error) {
	r, err := c.a.replica(c.container)
	if err != nil {
		return nil, err
	}
	var ids []string
	for id := range r.chains {
		ids = append(ids, id)
	}
	for ref := range c.a.queue.latest {
		if _, have := r.chains[ref.uniqueID]; !have && ref.container == c.container {
			ids = append(ids, ref.uniqueID)
		}
	}
	found := make([]*Entry, len(ids))
	err = parallel(len(ids), func(i int) error {
		e, pending, err := c.current(r, ids[i])
		if e == nil || err != nil {
			return err
		}
		entry, err := c.read(e, pending)
		found[i] = &entry
		return err
	})
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(found))
	for _, e := range found {
		if e != nil {
			entries = append(entries, *e)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, nil
}

// parallel runs n independent pieces of work on the processors that there are, and returns the first error.
func parallel(n int, work func(i int) error) error {
	var next atomic.Int64
	workers := min(runtime.GOMAXPROCS(0), n)
	failed := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := work(i); err != nil {
					failed[w] = err
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// find returns the UniqueID under which the entry of a key lies, or lay, or will lie.
func (c *Catalog) find(r *replica, key string) (string, error) {
	ids := c.a.member.uniqueIDs(c.container, key)
	for _, id := range ids {
		if _, ok := r.chains[id]; ok || c.a.queue.of(ref{c.container, id}) != nil {
			return id, nil
		}
	}
	if len(ids) == 0 {
		return "", errors.New("no account encryption key")
	}
	return ids[0], nil
}

// Get returns a live entry; only this one is decrypted.
func (c *Catalog) Get(key string) (Entry, bool, error) {
	r, err := c.a.replica(c.container)
	if err != nil {
		return Entry{}, false, err
	}
	id, err := c.find(r, key)
	if err != nil {
		return Entry{}, false, err
	}
	e, pending, err := c.current(r, id)
	if e == nil || err != nil {
		return Entry{}, false, err
	}
	entry, err := c.read(e, pending)
	return entry, err == nil, err
}

// Put queues entries, New or Update, with one durable write; Sync sends them. Each lies under its PrimaryKey; the last
// of a key counts. One that is there with the same content is not queued. An entry without key, too large, or of
// another catalog is an error, and nothing is queued.
func (c *Catalog) Put(entries ...mesh.Entry) error {
	r, err := c.a.replica(c.container)
	if err != nil {
		return err
	}
	byKey := map[string]mesh.Entry{}
	var keys []string
	for _, e := range entries {
		key := e.PrimaryKey()
		if home := mesh.ContainerOf(e.Tag()); key == "" || e.Tag() == mesh.TagCatalogedDelete || home != "" && home != c.container {
			return mesh.Errorf("client.Put", mesh.BadRequest, "%s without key, or not of %s", e.Tag(), c.container)
		}
		if _, have := byKey[key]; !have {
			keys = append(keys, key)
		}
		byKey[key] = e
	}
	ops := make([]*op, len(keys))
	introduce := !r.written[c.a.member.signKID()] && len(c.a.queue.pending(c.container)) == 0
	err = parallel(len(keys), func(i int) (err error) {
		ops[i], err = c.change(r, keys[i], byKey[keys[i]], introduce && i == 0)
		return err
	})
	if err != nil {
		return err
	}
	return c.a.queue.put(slices.DeleteFunc(ops, func(o *op) bool { return o == nil })...)
}

// change seals a change of one entry; nil when it changes nothing.
func (c *Catalog) change(r *replica, key string, e mesh.Entry, introduce bool) (*op, error) {
	id, err := c.find(r, key)
	if err != nil {
		return nil, err
	}
	if same, err := c.same(r, id, e); same || err != nil {
		return nil, err
	}
	o := &op{Container: c.container, UniqueID: id}
	at, have := r.chains[id]
	o.Envelope, err = c.a.member.seal(change{
		container: c.container, uniqueID: id, entry: e, at: at, have: have,
		introduce: introduce, now: c.a.conf.now(),
	})
	if err != nil {
		return nil, err
	}
	// What a service does not take in one phase needs the two-phase upload, which this client does not have.
	if _, most := c.a.limits(); len(o.Envelope.Payload) > most {
		return nil, mesh.Errorf("client.Put", mesh.RequestSize, "%s of %d octets, the most is %d", e.Tag(), len(o.Envelope.Payload), most)
	}
	if before := c.a.queue.of(o.ref()); before != nil {
		o.Over = before.Over
		if c.a.queue.inFlight(before.Seq) {
			o.Over = before.Envelope.Digest()
		}
	}
	return o, nil
}

// same says whether the entry is there with this very content.
func (c *Catalog) same(r *replica, id string, e mesh.Entry) (bool, error) {
	now, _, err := c.current(r, id)
	if now == nil || err != nil {
		return false, err
	}
	have, err := now.Open(c.a.member.holder)
	if err != nil {
		return false, err
	}
	want, err := mesh.EncodeEntry(e)
	return bytes.Equal(have, want), err
}

// Delete queues a Delete; false when there is no such entry.
func (c *Catalog) Delete(key string) (bool, error) {
	r, err := c.a.replica(c.container)
	if err != nil {
		return false, err
	}
	id, err := c.find(r, key)
	if err != nil {
		return false, err
	}
	if now, _, err := c.current(r, id); now == nil || err != nil {
		return false, err
	}
	q := c.a.queue
	before := q.of(ref{c.container, id})
	if before != nil && before.Over == nil && !q.inFlight(before.Seq) && !r.chains[id].live { // it was never anywhere else
		return true, q.done([]int64{before.Seq})
	}
	o, err := c.change(r, key, &mesh.CatalogedDelete{Key: key}, false)
	if err != nil {
		return false, fmt.Errorf("deletion: %w", err)
	}
	return true, q.put(o)
}
