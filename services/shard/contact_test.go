package shard

import (
	"slices"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// What an entry of mmm_Contact grants is read with the service's key, and nothing is granted by what cannot be read (D-39, C-140).
func TestReadContact(t *testing.T) {
	service, err := keys.Generate(keys.X448)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.Generate(keys.X448)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	person := func(addresses ...string) mesh.Tagged {
		c := &mesh.ContactPerson{}
		for _, a := range addresses {
			c.NetworkAddresses = append(c.NetworkAddresses, mesh.NetworkAddress{Address: a})
		}
		tagged, err := mesh.NewTagged(mesh.TagContactPerson, c)
		if err != nil {
			t.Fatal(err)
		}
		return tagged
	}
	many := make([]string, MaxContactAddresses+5)
	for i := range many {
		many[i] = "bob@" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example"
	}
	inactive := person("old@beta.example")
	var withInactive mesh.ContactPerson
	if err := inactive.Decode(&withInactive); err != nil {
		t.Fatal(err)
	}
	withInactive.NetworkAddresses[0].Inactive = &yes
	if inactive, err = mesh.NewTagged(mesh.TagContactPerson, &withInactive); err != nil {
		t.Fatal(err)
	}
	rights := []mesh.Permission{{Name: "Confirmation"}, {Name: "Message"}, {Name: "Everything"}}
	for what, c := range map[string]struct {
		entry mesh.Entry
		to    []*keys.PrivateKey
		want  *ContactChange
	}{
		"plain":        {&mesh.CatalogedContact{Key: "k", Permissions: rights, Contact: person("Bob@Beta.Example")}, nil, &ContactChange{Addresses: []string{"bob@beta.example"}, Rights: MayConfirm | MayMessage}},
		"sealed":       {&mesh.CatalogedContact{Key: "k", Permissions: rights, Contact: person("bob@beta.example")}, []*keys.PrivateKey{other, service}, &ContactChange{Addresses: []string{"bob@beta.example"}, Rights: MayConfirm | MayMessage}},
		"not for us":   {&mesh.CatalogedContact{Key: "k", Permissions: rights, Contact: person("bob@beta.example")}, []*keys.PrivateKey{other}, nil},
		"oneself":      {&mesh.CatalogedContact{Key: "k", Self: &yes, Permissions: rights, Contact: person("bob@beta.example")}, nil, nil},
		"no contact":   {&mesh.CatalogedBookmark{Path: "k"}, nil, nil},
		"no address":   {&mesh.CatalogedContact{Key: "k", Permissions: rights, Contact: person("bob", "@", "bob@beta.example\n")}, nil, &ContactChange{Rights: MayConfirm | MayMessage}},
		"many":         {&mesh.CatalogedContact{Key: "k", Contact: person(many...)}, nil, &ContactChange{Addresses: many[:MaxContactAddresses]}},
		"not any more": {&mesh.CatalogedContact{Key: "k", Permissions: rights, Contact: inactive}, nil, &ContactChange{Rights: MayConfirm | MayMessage}},
	} {
		payload, err := mesh.EncodeEntry(c.entry)
		if err != nil {
			t.Fatal(err)
		}
		var o dare.Options
		for _, k := range c.to {
			o.Recipients = append(o.Recipients, k.Public())
		}
		e, err := dare.New(payload, o)
		if err != nil {
			t.Fatal(err)
		}
		got := readContact(e, keys.NewRing(service))
		switch {
		case (got == nil) != (c.want == nil):
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		case got != nil && (got.Rights != c.want.Rights || !slices.Equal(got.Addresses, c.want.Addresses) || got.ProfileUDF != c.want.ProfileUDF):
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}

// A PIN lives until it expires, as far as the service can read that (FLOWS §9 step 6).
func TestLivePIN(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	typed := func(tag string, expire *jbcd.Time) *Frame {
		e, err := dare.New([]byte("{}"), dare.Options{Meta: &dare.ContentMeta{UniqueID: "A", MessageType: tag, Expire: expire}})
		if err != nil {
			t.Fatal(err)
		}
		return &Frame{Header: e.Header}
	}
	pin := func(expire *jbcd.Time) *Frame { return typed(mesh.TagMessagePIN, expire) }
	for what, c := range map[string]struct {
		pin  *Frame
		want bool
	}{
		"none":       {nil, false},
		"no end":     {pin(nil), true},
		"still good": {pin(&jbcd.Time{Time: now.Add(time.Minute)}), true},
		"over":       {pin(&jbcd.Time{Time: now}), false},
		"a claim":    {typed(mesh.TagMessageClaim, nil), false},
		"no meta":    {&Frame{Header: []byte("{}")}, false},
		"unreadable": {&Frame{Header: []byte("{")}, false},
	} {
		if got := live(c.pin, now); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
