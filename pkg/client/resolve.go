package client

import (
	"bytes"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// The two sides of a conflict.
const (
	keptLocal  = "local"
	keptRemote = "remote"
)

// resolve holds every waiting change against what the containers say now. Afterwards each op in the queue is a frame
// that fits behind the replica as it is.
func (r *run) resolve() error {
	fresh := map[string]bool{} // containers whose first op has been looked at
	for _, o := range r.a.queue.pending("") {
		if r.failed(o.Container) {
			continue
		}
		replica, err := r.a.replica(o.Container)
		if err != nil {
			return err
		}
		introduce := !fresh[o.Container] && !replica.written[r.a.member.signKID()]
		kept, err := r.resolveOp(replica, o, introduce)
		if err != nil {
			return err
		}
		fresh[o.Container] = fresh[o.Container] || kept
	}
	return nil
}

// resolveOp settles one op: it has arrived already, or it conflicts, or it waits on, sealed anew if what it was sealed
// upon has changed. kept says that it still waits.
func (r *run) resolveOp(replica *replica, o *op, introduce bool) (kept bool, err error) {
	meta, err := metaOf(o.Envelope)
	if err != nil {
		return false, err
	}
	newer, arrived, err := since(replica, o, meta)
	if err != nil {
		return false, err
	}
	if arrived {
		return false, r.a.queue.done([]int64{o.Seq})
	}
	labels := meta.Labels
	if newer != nil {
		label, stays, err := r.collide(replica, o, meta, newer)
		if err != nil {
			return false, err
		}
		if !stays {
			return false, r.a.queue.done([]int64{o.Seq})
		}
		if label {
			labels = []string{labelConflict}
		}
	}
	at, have := replica.chains[o.UniqueID]
	if meta.Event == eventDelete && !at.live {
		return false, r.a.queue.done([]int64{o.Seq}) // somebody else has deleted it, or it never was
	}
	if newer == nil && r.fits(o, meta, at, have, introduce) {
		return true, nil
	}
	return true, r.reseal(o, change{
		container: o.Container, uniqueID: o.UniqueID, at: at, have: have, labels: labels, introduce: introduce,
	}, meta)
}

// since returns the last frame of the op's entry that came after the frame on which the op was made, nil when there is
// none; or says that the op itself is among them: then the service had taken it, and the answer was lost.
func since(replica *replica, o *op, meta *dare.ContentMeta) (newer *dare.Envelope, arrived bool, err error) {
	base := int64(-1)
	if meta.Previous != nil {
		base = *meta.Previous
	}
	own := o.Envelope.Digest()
	at, have := replica.chains[o.UniqueID]
	for index := at.last; have && index > base; {
		e, err := replica.frame(index)
		if err != nil {
			return nil, false, err
		}
		digest := e.Digest()
		if bytes.Equal(digest, own) {
			return nil, true, nil
		}
		if bytes.Equal(digest, o.Over) { // the device's own change before this one: no stranger
			break
		}
		if newer == nil {
			newer = e
		}
		m, err := metaOf(e)
		if err != nil {
			return nil, false, err
		}
		if m.Previous == nil {
			break
		}
		index = *m.Previous
	}
	return newer, false, nil
}

// collide decides a conflict (FLOWS §4.3) and keeps the loser. label: the op stays as New of an entry that the other
// side deleted.
func (r *run) collide(replica *replica, o *op, meta *dare.ContentMeta, newer *dare.Envelope) (label, stays bool, err error) {
	local, err := o.Envelope.Open(r.a.member.holder)
	if err != nil {
		return false, false, err
	}
	remote, err := newer.Open(r.a.member.holder)
	if err != nil {
		return false, false, err
	}
	if bytes.Equal(local, remote) { // both did the same
		return false, false, nil
	}
	other, err := metaOf(newer)
	if err != nil {
		return false, false, err
	}
	loser := remote
	switch {
	case other.Event == eventDelete:
		label, stays = true, true
	case meta.Event == eventDelete:
		loser = local
	default:
		if stays = later(meta, other) && !asksOwner(o.Container); !stays {
			loser = local
		}
	}
	entry, err := mesh.DecodeEntry(local)
	if err != nil {
		return false, false, err
	}
	report := ConflictReport{Container: o.Container, Key: entry.PrimaryKey(), Kept: keptRemote}
	if stays {
		report.Kept = keptLocal
	}
	if report.Journal, err = r.a.keepLoser(o.Container, loser, r.a.conf.now()); err != nil {
		return false, false, err
	}
	r.conflict = append(r.conflict, report)
	return label, stays, nil
}

// later says whether the local change is the later one, by the clocks of the devices, which both frames seal: no
// service can turn it. In the same second the one that is there stays.
func later(local, remote *dare.ContentMeta) bool {
	if local.Modified == nil || remote.Modified == nil {
		return remote.Modified == nil && local.Modified != nil
	}
	return local.Modified.After(remote.Modified.Time)
}

// asksOwner: rights of devices are not overwritten by whichever clock is ahead. The other's version stays and the
// owner, who is told, does it again if it is still wanted.
func asksOwner(container string) bool {
	return container == mesh.CatalogDevice || container == mesh.CatalogCapability
}

// fits says whether the sealed frame can go out as it is.
func (r *run) fits(o *op, meta *dare.ContentMeta, at chain, have, introduce bool) bool {
	want := eventNew
	switch {
	case meta.Event == eventDelete:
		want = eventDelete
	case have && at.live:
		want = eventUpdate
	}
	h, err := o.Envelope.ParseHeader()
	if err != nil {
		return false
	}
	list, err := o.Envelope.Signatures()
	if err != nil || len(list) != 1 {
		return false
	}
	for _, to := range r.a.member.recipients(o.Container) {
		sealed := false
		for i := range h.Recipients {
			sealed = sealed || dare.SameKID(h.Recipients[i].KID, to.KID())
		}
		if !sealed { // made before this key was known
			return false
		}
	}
	return meta.Event == want && refers(meta.Previous, have, at.last) && refers(meta.First, have, at.first) &&
		dare.SameKID(list[0].KID, r.a.member.signKID()) && (!introduce || len(list[0].Credential) > 0)
}

// reseal makes the op's frame anew: its content and time of change, a new place. What stood in the queue is replaced.
func (r *run) reseal(o *op, c change, meta *dare.ContentMeta) error {
	var err error
	if c.entry, err = r.a.member.open(o.Envelope); err != nil {
		return err
	}
	c.now = r.a.conf.now()
	if meta.Modified != nil {
		c.now = meta.Modified.Time
	}
	n := &op{Container: o.Container, UniqueID: o.UniqueID}
	if n.Envelope, err = r.a.member.seal(c); err != nil {
		return err
	}
	return r.a.queue.put(n)
}

// wholeHeader takes out of a header what belongs to a transfer in parts (D-20).
func wholeHeader(header []byte) ([]byte, error) {
	return jbcd.Without(header, "ContentLength", "BytesOffset")
}
