package shard

import (
	"context"
	"fmt"
	"slices"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// CreateAccount implements AccountsService: PROTOCOL §2.2 from step 5 on.
func (s *Server) CreateAccount(ctx context.Context, r *shardpb.CreateAccountRequest) (*shardpb.CreateAccountResponse, error) {
	caller := callerOf(r.GetCaller())
	a := &account{server: s, partition: shardmap.Of(r.GetAddress()), address: r.GetAddress(), domain: caller.Domain}
	if err := a.set(r.GetProfileAccount(), r.GetProfileMesh()); err != nil { // the presented ones
		return nil, err
	}
	c := Creation{
		Partition:      a.partition,
		Address:        a.address,
		Caller:         caller,
		ProfileUDF:     r.GetProfileUdf(),
		MeshUDF:        r.GetMeshUdf(),
		ProfileUpdated: timeOf(r.GetProfileUpdated()),
		ProfileMesh:    r.GetProfileMesh(),
		ProfileAccount: r.GetProfileAccount(),
		Redirect:       r.GetRedirect(),
		State:          Connected,
		Fresh:          r.GetTicketIsFresh(),
		OnlyExisting:   r.GetPolicy() == shardpb.CreateAccountRequest_POLICY_CLOSED,
	}
	if r.GetPolicy() == shardpb.CreateAccountRequest_POLICY_MANUAL {
		c.State = Pending
	}

	// An address that is bound already needs no vouching: the store compares profiles, and asks for a current device with
	// Admin before it replaces any. Addresses are never unbound, so the order of this look and the verb does not matter.
	_, err := s.store.Resolve(ctx, a.partition, a.address)
	exists := err == nil
	if err != nil && mesh.KindOf(err) != mesh.UnknownAccount {
		return nil, err
	}
	event := Update
	if !exists {
		event = New
		if c.Updates, err = s.updates(ctx, a, r.GetUpdates()); err != nil {
			return nil, err
		}
		if err := firstReject(c.Updates); err != nil {
			return nil, err
		}
		if err := a.vouch(caller, r.GetConnection(), c.Updates); err != nil {
			return nil, err
		}
		if c.Redirect != "" {
			c.Updates = nil // a redirect record has no containers
		}
	}
	if c.AccountFrame, err = accountFrame(r, event); err != nil {
		return nil, err
	}
	created, err := s.store.Create(ctx, c)
	if err != nil {
		return nil, err
	}
	if created.Created {
		s.metrics.appended(ctx, c.Updates, 0, created.Entries)
	}
	return &shardpb.CreateAccountResponse{
		Created: created.Created,
		Epoch:   created.Epoch,
		State:   stateToWire(created.State),
		Entries: resultsToWire(created.Entries),
	}, nil
}

// firstReject fails a creation for the first initial entry that has a fault: an account without the device that asked
// for it would be nobody's.
func firstReject(updates []ContainerUpdate) error {
	for _, u := range updates {
		for _, e := range u.Entries {
			if e.Reject != 0 {
				kind := mesh.KindOfCode(mesh.Code{Extended: int(e.Reject)})
				return mesh.Errorf("shard.CreateAccount", kind, "initial entry of %s", u.Container)
			}
		}
	}
	return nil
}

// vouch checks that the account's own key vouches for the device that asks (§2.2 step 5): in device mode by a
// CatalogedDevice among the initial entries whose connection names the device – one without a subject could be any that
// somebody saw in a message signature –, in profile mode by the connection that was shown, whose key the caller has.
// Who cannot make a connection under the account's key cannot bind its profile to an address.
func (a *account) vouch(caller Caller, connection []byte, updates []ContainerUpdate) error {
	const op = "shard.vouch"
	switch caller.Mode {
	case ModeDevice:
		for _, u := range updates {
			if u.Container != mesh.CatalogDevice {
				continue
			}
			for _, e := range u.Entries {
				if e.Event != Delete && e.Device != nil && mesh.SameUDF(e.Device.DeviceUDF, caller.DeviceUDF) &&
					slices.Contains(a.subjects, e.Device.DeviceUDF) {
					return nil
				}
			}
		}
		return mesh.Errorf(op, mesh.NotAuthorized, "no connection of the device among the initial entries")
	case ModeProfile:
		e, err := dare.Parse(connection)
		if err != nil {
			return mesh.Errorf(op, mesh.NotAuthorized, "no connection shown: %w", err)
		}
		c, err := mesh.VerifyConnectionAccount(e, a.prof)
		if err != nil {
			return mesh.E(op, mesh.NotAuthorized, err)
		}
		if err := of(c.Connection, caller.DeviceUDF); err != nil {
			return mesh.E(op, mesh.NotAuthorized, err)
		}
		if !dare.SameKID(c.KeyAuthentication.KID(), caller.AuthKID) {
			return mesh.Errorf(op, mesh.NotAuthorized, "the connection has another authentication key")
		}
		return nil
	}
	return mesh.Errorf(op, mesh.NotAuthorized, "mode %d", caller.Mode)
}

// accountPersonal is AccountEntry and AccountPersonal of the account catalog (DATA §5, service side).
type accountPersonal struct {
	AccountAddress         string   `json:"AccountAddress,omitempty"`
	Status                 string   `json:"Status,omitempty"`
	SignedProfileMesh      jbcd.Raw `json:"SignedProfileMesh,omitempty"`
	SignedAssertionAccount jbcd.Raw `json:"SignedAssertionAccount,omitempty"`
}

// accountFrame is the entry of mmms_Account: a replica (D-41) rebuilds accounts from it.
func accountFrame(r *shardpb.CreateAccountRequest, event Event) (Entry, error) {
	const op = "shard.accountFrame"
	status, name := "Connected", "New"
	if r.GetPolicy() == shardpb.CreateAccountRequest_POLICY_MANUAL {
		status = "Pending"
	}
	if event == Update {
		name = "Update"
	}
	payload, err := jbcd.Tag("AccountPersonal", accountPersonal{
		AccountAddress:         r.GetAddress(),
		Status:                 status,
		SignedProfileMesh:      r.GetProfileMesh(),
		SignedAssertionAccount: r.GetProfileAccount(),
	})
	if err != nil {
		return Entry{}, mesh.E(op, mesh.Internal, err)
	}
	return catalogFrame(op, r.GetAddress(), name, event, payload)
}

// deletionFrame is the entry of mmms_Account that ends the one of accountFrame (D-57).
func deletionFrame(address string) (Entry, error) {
	const op = "shard.deletionFrame"
	payload, err := mesh.EncodeEntry(&mesh.CatalogedDelete{Key: address})
	if err != nil {
		return Entry{}, mesh.E(op, mesh.Internal, err)
	}
	return catalogFrame(op, address, "Delete", Delete, payload)
}

// catalogFrame is an entry of mmms_Account, whose key is the address.
func catalogFrame(op, address, name string, event Event, payload []byte) (Entry, error) {
	e, err := dare.New(payload, dare.Options{
		Header: dare.Header{EnvelopeID: address},
		Meta:   &dare.ContentMeta{UniqueID: address, Event: name, CTY: "application/mmm/object"},
	})
	if err != nil {
		return Entry{}, mesh.E(op, mesh.Internal, err)
	}
	return Entry{
		Header:        e.Header,
		Payload:       e.Payload,
		Trailer:       e.Trailer,
		PayloadDigest: e.Digest(),
		EnvelopeID:    address,
		UniqueID:      address,
		Event:         event,
	}, nil
}

// decodeProfile reads the payload of a stored envelope without verifying it again.
func decodeProfile(envelope []byte, want string, into any) error {
	e, err := dare.Parse(envelope)
	if err != nil {
		return err
	}
	tag, body, err := jbcd.Tagged(e.Payload)
	if err != nil {
		return err
	}
	if tag != want {
		return fmt.Errorf("a %s where a %s should be", tag, want)
	}
	return jbcd.Unmarshal(body, into)
}
