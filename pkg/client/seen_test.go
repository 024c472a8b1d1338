package client

import (
	"errors"
	"os"
	"testing"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// Covers C-015 beyond the replica's life: a device whose replica is lost takes back what it has seen, or more, from its
// service and nothing less.
func TestSeenOutlivesTheReplica(t *testing.T) {
	history := func(s *shop, passwords ...string) *shelf {
		shelf := newShelf(t, mesh.CatalogCredential)
		for i, p := range passwords {
			c := credential(i)
			c.Password = p
			shelf.put(s.laptop, c)
		}
		return shelf
	}
	for name, c := range map[string]struct {
		grows []string // nil: the container is withheld
		fault string
	}{
		"as it was":       {grows: []string{"a", "b"}},
		"more":            {grows: []string{"a", "b", "c"}},
		"rolled back":     {grows: []string{"a"}, fault: "rollback"},
		"another history": {grows: []string{"a", "x", "c"}, fault: "fork"},
		"withheld":        {fault: "rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			full := history(s, "a", "b", "c")
			first := newShelf(t, mesh.CatalogCredential)
			for _, e := range full.frames[1:3] {
				first.place(e)
			}
			s.shelves[mesh.CatalogCredential] = first
			if _, err := s.sync(); err != nil {
				t.Fatal(err)
			}
			for _, r := range s.account.replicas {
				r.close()
			}
			s.account.replicas, s.account.seen = map[string]*replica{}, nil
			if err := os.RemoveAll(replicaDir(s.account)); err != nil {
				t.Fatal(err)
			}
			if err := s.account.loadSeen(); err != nil {
				t.Fatal(err)
			}
			switch delete(s.shelves, mesh.CatalogCredential); {
			case name == "another history":
				s.shelves[mesh.CatalogCredential] = history(s, c.grows...)
			case len(c.grows) > 0:
				now := newShelf(t, mesh.CatalogCredential)
				for _, e := range full.frames[1 : 1+len(c.grows)] {
					now.place(e)
				}
				s.shelves[mesh.CatalogCredential] = now
			}
			_, err := s.sync()
			var proof *ProofError
			if c.fault == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.As(err, &proof) || proof.Fault != c.fault || proof.Container != mesh.CatalogCredential {
				t.Errorf("%v, want %s", err, c.fault)
			}
		})
	}
}
