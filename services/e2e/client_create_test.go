package e2e

import (
	"errors"
	"testing"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// C-192, C-193, D-14: where somebody must approve, creation is pending; the same call, with the same request, goes on with it
// until it is approved. What was put in meanwhile is sent then.
func TestClientPendingCreation(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{Policies: map[string]gateway.Policy{meshtest.Alpha: gateway.Manual}})
	m := newMachine(t, service)
	for range 2 {
		var pending *client.PendingError
		if _, err := client.Create(t.Context(), m.config, alice, client.CreateOptions{}); !errors.As(err, &pending) || pending.URL == "" || pending.Reason == "" {
			t.Fatalf("%v, want it pending with reason and URL", err)
		}
	}
	m.put(mesh.CatalogCredential, login(1, "early"))
	m.use(func(a *client.Account) {
		if state := a.Info().State; state != "pending" {
			t.Errorf("state %q", state)
		}
		var missing *client.NotFoundError
		if _, err := a.Sync(t.Context(), nil); !errors.As(err, &missing) {
			t.Errorf("Sync: %v", err)
		}
	})
	db, _ := database(t, service)
	change(t, db, `UPDATE account SET state = 2 WHERE address = ?1`, alice) // approved
	m.create(alice)
	m.use(func(a *client.Account) {
		if i := a.Info(); i.State != "connected" || i.Pending != 0 {
			t.Errorf("%+v, want it connected and all sent", i)
		}
	})
	m.forget()
	m.sync()
	if got := m.password(1); got != "early" {
		t.Errorf("password %q", got)
	}
}

// C-059: an account that was made on the machine alone, with entries in containers that the service reads and in others, goes
// to a service later. Its entries are then sealed for the service too where it reads, and nowhere else.
func TestClientLocalThenOnline(t *testing.T) {
	m := newMachine(t, meshtest.Start(t, meshtest.Options{}))
	a, err := client.Create(t.Context(), m.config, alice, client.CreateOptions{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	m.put(mesh.CatalogCredential, login(1, "local"))
	m.put(mesh.CatalogContact, &mesh.CatalogedContact{Key: "bob"})
	m.create(alice)
	var exists *client.ExistsError
	if _, err := client.Create(t.Context(), m.config, alice, client.CreateOptions{}); !errors.As(err, &exists) {
		t.Errorf("bound twice: %v", err)
	}
	m.use(func(a *client.Account) {
		if n := a.Info().Pending; n != 0 {
			t.Errorf("%d changes still wait", n)
		}
		for container, want := range map[string]int{mesh.CatalogCredential: 1, mesh.CatalogContact: 2, mesh.CatalogDevice: 2} {
			res, err := a.Download(t.Context(), []mesh.ConstraintsSelect{{Container: container, IndexMin: mesh.Int(1)}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range res.Updates[0].Envelopes {
				h, err := e.ParseHeader()
				if err != nil {
					t.Fatal(err)
				}
				if n := len(h.Recipients); n != min(want, 2) {
					t.Errorf("%s: %d recipients", container, n)
				}
			}
		}
	})
}

// C-007, site policy: a service that takes nobody, and addresses that are none, leave nothing on the machine but what may be bound yet.
func TestClientRefusedCreation(t *testing.T) {
	service := meshtest.Start(t, meshtest.Options{Policies: map[string]gateway.Policy{meshtest.Beta: gateway.Closed}})
	m := newMachine(t, service)
	for address, kind := range map[string]mesh.Kind{
		"bob@" + meshtest.Beta:    mesh.NotAuthorized,
		"a<b@" + meshtest.Alpha:   mesh.NameInvalid,
		"abuse@" + meshtest.Alpha: mesh.NameInvalid,
	} {
		_, err := client.Create(t.Context(), m.config, address, client.CreateOptions{})
		var refusal *client.ServiceError
		if !errors.As(err, &refusal) || refusal.Kind != kind || refusal.Hint {
			t.Errorf("%s: %v, want %v", address, err, kind)
		}
	}
	all, err := client.Accounts(m.config)
	if err != nil || len(all) != 1 { // that of the closed service waits for another mind
		t.Errorf("accounts %v (%v)", all, err)
	}
}
