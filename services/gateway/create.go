package gateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// creation is a CreateAccount whose profiles have been checked.
type creation struct {
	address mesh.Address
	account *mesh.ProfileAccount
	mesh    *mesh.ProfileMesh
	request *shardpb.CreateAccountRequest
}

// create binds an address to a profile (PROTOCOL §2.2). Address, profiles and policy are checked here; that the account's
// own key vouches for the device (step 5) is checked by the shard, which alone can read the CatalogedDevice.
func (q *request) create(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	const op = "gateway.create"
	if wait, ok := q.creations.take(q.remote()); !ok {
		return nil, limited(op, wait)
	}
	var v mesh.CreateRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	c, err := q.checkCreation(&v)
	if err != nil {
		return nil, err
	}
	if err := q.fillCreation(ctx, c, &v); err != nil {
		return nil, err
	}
	var r *shardpb.CreateAccountResponse
	err = q.shard(ctx, c.address.String(), func(ctx context.Context, s shardpb.AccountsServiceClient) (err error) {
		r, err = s.CreateAccount(ctx, c.request)
		return err
	})
	q.accounts.forget(c.address.String())
	if err != nil {
		return nil, err
	}
	// The account exists now: a caller whose presented profiles counted until here gets a ticket.
	if q.who.provisional {
		q.who.provisional, q.who.epoch = false, r.GetEpoch()
	}
	if r.GetState() == shardpb.AccountState_ACCOUNT_STATE_PENDING {
		return q.pending()
	}
	return ok(q, &mesh.CreateResponse{}), nil
}

// pending is 300/5: the request has been stored and somebody has to approve it (D-14).
func (q *request) pending() (mesh.ResponseMessage, error) {
	var token [16]byte
	if _, err := rand.Read(token[:]); err != nil {
		return nil, mesh.E("gateway.pending", mesh.Internal, err)
	}
	return &mesh.CreateResponse{
		Response: mesh.Response{
			Status: http.StatusMultipleChoices, StatusExtended: int64(mesh.AccountPending.Code().Extended),
			StatusDescription: mesh.AccountPending.String(), ID: q.id,
		},
		Reason: "The provider approves new accounts by hand.",
		URL:    "https://" + q.domain.name + "/join/" + base64.RawURLEncoding.EncodeToString(token[:]),
	}, nil
}

// checkCreation checks address and profiles: steps 2 to 4 of PROTOCOL §2.2.
func (q *request) checkCreation(v *mesh.CreateRequest) (*creation, error) {
	const op = "gateway.checkCreation"
	address, err := mesh.ParseAddress(v.AccountAddress)
	if err != nil {
		return nil, err
	}
	if address.Domain != q.domain.name {
		return nil, mesh.Errorf(op, mesh.NameInvalid, "an address of another service")
	}
	if err := mesh.CheckLocal(q.domain.names, address.Local); err != nil {
		return nil, err
	}
	owner, err := mesh.VerifyProfileMesh(v.SignedProfileMesh)
	if err != nil {
		return nil, err
	}
	profile, err := mesh.VerifyProfileAccount(v.SignedAssertionAccount, owner)
	if err != nil {
		return nil, err
	}
	if err := q.fits(profile, provenUDF(profile, v.SignedAssertionAccount), address); err != nil {
		return nil, mesh.E(op, mesh.ProfileInvalid, err)
	}
	switch { // D-09
	case (q.by == byProfileTicket || q.who.provisional) && q.who.account != address.String():
		return nil, mesh.Errorf(op, mesh.NotAuthorized, "the caller is authenticated for another address")
	case q.who.provisional && !mesh.SameUDF(q.who.profileUDF, profile.UDF()):
		return nil, mesh.Errorf(op, mesh.NotAuthorized, "the caller is authenticated by another profile")
	}
	return &creation{address: address, account: profile, mesh: owner}, nil
}

// fits checks that the profile, whose UDF is proven or empty, is one of this account at this service.
func (q *request) fits(profile *mesh.ProfileAccount, proven string, address mesh.Address) error {
	if address.SINUDF != "" && !mesh.SameUDF(address.SINUDF, proven) {
		return errors.New("the strong address names another profile")
	}
	if !names(profile, address.String()) {
		return errors.New("the profile does not name the address")
	}
	if profile.EnvelopedProfileService == nil {
		return nil
	}
	service, err := mesh.VerifyProfileService(profile.EnvelopedProfileService)
	if err != nil {
		return err
	}
	if !mesh.SameUDF(service.UDF(), q.domain.serviceUDF) {
		return errors.New("the profile names another service")
	}
	return nil
}

func names(profile *mesh.ProfileAccount, address string) bool {
	for _, text := range profile.AccountAddresses {
		if a, err := mesh.ParseAddress(text); err == nil && a.String() == address {
			return true
		}
	}
	return false
}

// fillCreation makes the shard's request.
func (q *request) fillCreation(ctx context.Context, c *creation, v *mesh.CreateRequest) error {
	const op = "gateway.fillCreation"
	updates, _, err := takeApartUpdates(v.Updates, nil)
	if err != nil {
		return err
	}
	for _, u := range updates {
		if u.GetContainer() != mesh.CatalogDevice && u.GetContainer() != mesh.CatalogContact {
			return mesh.Errorf(op, mesh.ProfileInvalid, "Updates of another container than devices and contacts")
		}
		for _, e := range u.GetEntries() {
			if e.GetReject() != 0 { // the response has no place for the fate of an entry
				return mesh.Errorf(op, mesh.MessageInvalid, "an entry of Updates")
			}
		}
	}
	r := &shardpb.CreateAccountRequest{
		Caller: q.caller(), Address: c.address.String(), Display: c.address.Display,
		ProfileUdf: c.account.UDF(), MeshUdf: c.mesh.UDF(), Updates: updates, Policy: q.domain.policy.proto(),
		TicketIsFresh: q.by == byProfileTicket && q.ticketAge() <= freshness,
	}
	if q.rule.may[q.by] == replacing {
		r.Policy = shardpb.CreateAccountRequest_POLICY_CLOSED
	}
	if c.account.Updated != nil {
		r.ProfileUpdated = timestamppb.New(c.account.Updated.Time)
	}
	if r.ProfileMesh, err = v.SignedProfileMesh.MarshalJBCD(); err != nil {
		return mesh.E(op, mesh.ProfileInvalid, err)
	}
	if r.ProfileAccount, err = v.SignedAssertionAccount.MarshalJBCD(); err != nil {
		return mesh.E(op, mesh.ProfileInvalid, err)
	}
	if q.who.connection != nil {
		if r.Connection, err = q.who.connection.MarshalJBCD(); err != nil {
			return mesh.E(op, mesh.ProfileInvalid, err)
		}
	}
	c.request = r
	r.Redirect, err = q.firstAddress(ctx, c)
	return err
}

// maxAddresses bounds the addresses of a profile that are looked up: each is a call to a shard.
const maxAddresses = 16

// firstAddress returns the address under which the profile already has an account on this service: then this one
// becomes a redirect record. Empty when there is none. Another mesh's profile of that UDF is not the same: its owner
// need not have the account's key (D-12 b).
func (q *request) firstAddress(ctx context.Context, c *creation) (string, error) {
	looked := 0
	for _, text := range c.account.AccountAddresses {
		a, err := mesh.ParseAddress(text)
		if err != nil || a.Domain != q.domain.name || a.String() == c.address.String() {
			continue
		}
		if looked++; looked > maxAddresses {
			return "", mesh.Errorf("gateway.firstAddress", mesh.ProfileInvalid, "more than %d addresses", maxAddresses)
		}
		other, err := q.account(ctx, a.String())
		switch {
		case mesh.KindOf(err) == mesh.UnknownAccount:
		case err != nil:
			return "", err
		case other.state == shardpb.AccountState_ACCOUNT_STATE_CONNECTED && other.redirect == "" &&
			mesh.SameUDF(other.profile.UDF(), c.account.UDF()) && mesh.SameUDF(other.mesh.UDF(), c.mesh.UDF()):
			return a.String(), nil
		}
	}
	return "", nil
}

// remove deletes an account (PROTOCOL §2.3). That the ticket is fresh has been checked.
func (q *request) remove(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	var v mesh.DeleteRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	account, err := q.acting(ctx, &v.RequestUser)
	if err != nil {
		return nil, err
	}
	err = q.shard(ctx, account, func(ctx context.Context, s shardpb.AccountsServiceClient) error {
		_, err := s.DeleteAccount(ctx, &shardpb.DeleteAccountRequest{Caller: q.caller(), Account: account})
		return err
	})
	q.accounts.forget(account)
	if err != nil {
		return nil, err
	}
	return ok(q, &mesh.DeleteResponse{}), nil
}
