package gateway_test

import (
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// borrowing is a person whose ProfileAccount, signed by his mesh alone (D-12 b), has the public key of another for its own.
func borrowing(t *testing.T, victim *person, address string) *person {
	t.Helper()
	p := newPerson(t, address)
	online := p.account.Admin
	var profile, theirs mesh.ProfileAccount
	var connection mesh.ConnectionAccount
	entry := &p.device.entry.Accounts[0]
	for e, v := range map[*dare.Envelope]any{p.profileAccount: &profile, victim.profileAccount: &theirs, p.device.member.Credential: &connection} {
		_, body, err := jbcd.Tagged(e.Payload)
		if err == nil {
			err = jbcd.Unmarshal(body, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sign := func(tag string, v any, key *keys.PrivateKey) *dare.Envelope {
		t.Helper()
		return must[*dare.Envelope](t)(dare.New(must[[]byte](t)(jbcd.Tag(tag, v)), dare.Options{Holder: keys.NewRing(key), SignKIDs: []string{key.KID()}}))
	}
	profile.KeyOfflineSignature = theirs.KeyOfflineSignature
	p.udf, connection.AuthorityUDF, entry.AccountUDF = victim.udf, victim.udf, victim.udf
	p.profileAccount = sign(mesh.TagProfileAccount, profile, p.mesh.Admin)
	entry.EnvelopedProfileAccount = p.profileAccount
	entry.EnvelopedConnectionAccount = sign(mesh.TagConnectionAccount, connection, online)
	p.device.member.Credential = entry.EnvelopedConnectionAccount
	return p
}

// Covers C-191, R-28: a mesh may sign a ProfileAccount, but the UDF in it is then nobody's proof of being that profile.
func TestBorrowedUDF(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}})
	f := frontOf(t, m.Provider(t, meshtest.Alpha))
	const address = "mallory@alpha.example"
	alice := newPerson(t, "alice@alpha.example", address)
	strong := "mallory@mm--" + strings.ToLower(alice.udf) + ".alpha.example"
	p := borrowing(t, alice, address)
	p.device.byDevice(t, f).exchange(t, mesh.TagCreateAccount, p.createRequest(t, strong), nil).is(t, "CreateAccount of another's strong address", 400, 6)
	c := p.create(t, f)
	c.exchange(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: account(address)}, new(mesh.StatusResponse)).is(t, "Status", 201, 0)
	c.byTicket(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: account(address)}, new(mesh.StatusResponse)).is(t, "Status by ticket", 201, 0)
	c.exchange(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: account(strong)}, nil).is(t, "Status of another's strong address", 401, 8)
	c.byTicket(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: account(strong)}, nil).is(t, "the same by ticket", 401, 8)
	p.device.at(f, strong).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "credential of another's strong address", 401, 7)
	p.presenting(f, "eve@alpha.example").exchange(t, mesh.TagHello, mesh.HelloRequest{}, nil).is(t, "presented", 401, 7)

	alice.create(t, f).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "Status of the owner of the UDF, who also names that address", 201, 0)
}
