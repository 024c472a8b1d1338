//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// letter is a message as a device signs it (D-29): a request for contact, which anybody may send.
func (p *person) letter(recipient string) (id string, e *dare.Envelope, err error) {
	id = udf.NewNonce()
	payload, err := jbcd.Tag(mesh.TagRequestContact, &mesh.RequestContact{
		Message: mesh.Message{MessageID: id, Sender: p.address, Recipient: recipient},
		Subject: "hello",
	})
	if err != nil {
		return "", nil, err
	}
	e, err = dare.New(payload, dare.Options{
		Header:     dare.Header{EnvelopeID: udf.EnvelopeID(id)},
		Meta:       &dare.ContentMeta{UniqueID: id, MessageType: mesh.TagRequestContact, Created: &jbcd.Time{Time: time.Now()}},
		Holder:     p.holder,
		SignKIDs:   []string{p.member.Signature.KID()},
		Credential: []*dare.Envelope{p.member.Credential, p.profile},
	})
	return id, e, err
}

// dispatch posts one message and returns what became of it for each recipient.
func (p *person) dispatch(ctx context.Context, e *dare.Envelope, recipients ...string) ([]mesh.EntryResponse, error) {
	payload, err := mesh.EncodeRequest(mesh.TagPost, &mesh.PostRequest{
		Request:  mesh.Request{ID: newID()},
		Accounts: recipients,
		Message:  []*dare.Envelope{e},
	})
	if err != nil {
		return nil, err
	}
	var res mesh.PostResponse
	if err := p.ask(ctx, payload, &res); err != nil {
		return nil, err
	}
	if len(res.Entries) != len(recipients) {
		return nil, fmt.Errorf("%d results for %d recipients", len(res.Entries), len(recipients))
	}
	return res.Entries, nil
}

// count says how often a message stands in a spool.
func (p *person) count(ctx context.Context, spool, id string) (n int, err error) {
	counts, err := p.counts(ctx, spool)
	return counts[id], err
}

// counts says how often each message stands in a spool, by MessageID.
func (p *person) counts(ctx context.Context, spool string) (map[string]int, error) {
	frames, err := p.read(ctx, spool)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	for _, f := range frames[min(1, len(frames)):] { // frame 0 is the service's
		l, err := mesh.ReadLetter(f)
		if err != nil {
			return nil, err
		}
		counts[l.ID]++
	}
	return counts, nil
}

// told says what the delivery events in the sender's outbound spool say of a message: how often each Relationship.
func (p *person) told(ctx context.Context, id string) (map[string]int, error) {
	frames, err := p.read(ctx, mesh.SpoolOutbound)
	if err != nil {
		return nil, err
	}
	told := make(map[string]int)
	for _, f := range frames {
		tag, body, err := jbcd.Tagged(f.Payload)
		if err != nil || tag != mesh.TagMessageComplete {
			continue
		}
		var m mesh.MessageComplete
		if err := jbcd.Unmarshal(body, &m); err != nil {
			return nil, err
		}
		for _, r := range m.References {
			if r.MessageID == id {
				told[r.Relationship]++
			}
		}
	}
	return told, nil
}

// eventually waits for something that must come true.
func eventually(t *testing.T, what string, limit time.Duration, f func() (bool, error)) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var ok bool
		if ok, err = f(); ok {
			return
		}
	}
	t.Fatalf("%s: not within %v: %v", what, limit, errors.Join(err))
}
