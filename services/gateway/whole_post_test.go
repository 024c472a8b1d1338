package gateway_test

import (
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// message is one of the device, signed as D-29 says.
func (p *person) message(t *testing.T, tag string, d *device) *dare.Envelope {
	t.Helper()
	id := udf.NewNonce()
	payload := must[[]byte](t)(jbcd.Tag(tag, mesh.RequestContact{Message: mesh.Message{MessageID: id, Sender: p.addresses[0]}, Subject: "hello"}))
	return must[*dare.Envelope](t)(dare.New(payload, dare.Options{
		Meta: &dare.ContentMeta{UniqueID: id, MessageType: tag}, Holder: d.member.Holder(),
		SignKIDs: []string{d.member.Connection.KeySignature.KID()}, Credential: []*dare.Envelope{d.member.Credential, p.profileAccount},
	}))
}

// Covers C-123, C-124, C-126, C-142, C-146, C-228: from one account of a provider to another, through shard, relay, queue,
// access control and back, within the time that the sender waits.
func TestPostDelivered_C142(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}})
	f := frontOf(t, m.Provider(t, meshtest.Alpha))
	alice, bob := newPerson(t, "alice@alpha.example"), newPerson(t, "bob@alpha.example")
	from, to := alice.create(t, f), bob.create(t, f)
	from.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "Hello", 201, 0)
	to.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "Hello", 201, 0)

	frames := func(c *caller, container string) int64 {
		t.Helper()
		var s mesh.StatusResponse
		c.byTicket(t, mesh.TagStatus, mesh.StatusRequest{Spools: []string{container}}, &s).is(t, "Status", 201, 0)
		if len(s.ContainerStatus) != 1 {
			t.Fatalf("%d containers", len(s.ContainerStatus))
		}
		return *s.ContainerStatus[0].Index
	}
	post := func(what string, extended int64, want string, e *dare.Envelope) {
		t.Helper()
		var r mesh.PostResponse
		from.byTicket(t, mesh.TagPost, mesh.PostRequest{Accounts: []string{bob.addresses[0]}, Message: []*dare.Envelope{e}}, &r).is(t, what, 201, extended)
		if len(r.Entries) != 1 || r.Entries[0].Result+r.Entries[0].Reason != want {
			t.Errorf("%s: %+v, want %s", what, r.Entries, want)
		}
	}
	request := alice.message(t, mesh.TagRequestContact, alice.device)
	before := frames(to, mesh.SpoolInbound)
	for _, what := range []string{"contact request", "the same again"} {
		post(what, 0, mesh.ResultAccept, request)
		if n := frames(to, mesh.SpoolInbound); n != before+1 {
			t.Errorf("%s: %d frames in the recipient's spool, want %d", what, n, before+1)
		}
	}
	post("a stranger's text", 19, "RejectMeshMessageInsufficientPrivilege", alice.message(t, mesh.TagMessageText, alice.device))
	post("by a device that was never admitted", 13, "RejectMeshMessageInvalid", alice.message(t, mesh.TagRequestContact, alice.admit(t, mesh.RightMessage)))
	if n := frames(to, mesh.SpoolInbound); n != before+1 {
		t.Errorf("%d frames in the recipient's spool after what was refused", n)
	}
	var d mesh.DownloadResponse
	to.byTicket(t, mesh.TagDownload, mesh.DownloadRequest{Select: []mesh.ConstraintsSelect{{Container: mesh.SpoolInbound, IndexMin: mesh.Int(before)}}}, &d).is(t, "Download", 201, 0)
	if len(d.Updates) != 1 || len(d.Updates[0].Envelopes) != 1 || string(d.Updates[0].Envelopes[0].Payload) != string(request.Payload) {
		t.Fatalf("downloaded %+v", d.Updates)
	}
	if _, err := mesh.VerifyMessage(d.Updates[0].Envelopes[0]); err != nil {
		t.Errorf("the recipient cannot verify it: %v", err)
	}

	var r mesh.PostResponse
	from.byTicket(t, mesh.TagPost, mesh.PostRequest{Accounts: []string{"nobody@alpha.example"}, Message: []*dare.Envelope{request}, Self: []*dare.Envelope{alice.message(t, mesh.TagMessagePIN, alice.device)}}, &r).is(t, "to nobody", 201, 3)
	if len(r.Entries) != 2 || r.Entries[0].Reason != mesh.UnknownAccount.String() || r.Entries[1].Result != mesh.ResultAccept || r.Entries[1].IndexContainer == nil {
		t.Errorf("to nobody: %+v", r.Entries)
	}
	if n := frames(from, mesh.SpoolLocal); n != 2 {
		t.Errorf("%d frames in mmm_Local, want frame 0 and Self", n)
	}
}
