package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// perform does what an authenticated request asks for. It always has a response: of success or of failure.
func (q *request) perform(ctx context.Context, payload, nonce []byte) mesh.ResponseMessage {
	q.nonce, q.sum = nonce, sha256.Sum256(payload)
	r, err := q.transaction(ctx, payload)
	if err != nil {
		q.fault = err
		return mesh.Failure(err, q.id)
	}
	return r
}

func (q *request) transaction(ctx context.Context, payload []byte) (mesh.ResponseMessage, error) {
	const op = "gateway.transaction"
	tag, body, err := mesh.DecodeRequest(payload)
	if err != nil {
		return nil, err
	}
	q.rule = q.rules[tag]
	switch {
	case q.rule == nil:
		q.readID(body)
		return nil, mesh.Errorf(op, mesh.UnknownOperation, "no such transaction")
	case q.size > q.rule.body:
		return nil, mesh.Errorf(op, mesh.RequestSize, "%s of %d octets", tag, q.size)
	case q.who.provisional && tag != mesh.TagCreateAccount:
		return nil, mesh.Errorf(op, mesh.NotAuthenticated, "only CreateAccount can be asked for an account that does not exist")
	}
	if err := q.rule.permit(q.by, q.ticketAge(), q.local()); err != nil {
		q.readID(body)
		return nil, err
	}
	switch tag {
	case mesh.TagHello:
		return q.hello(body)
	case mesh.TagCreateAccount:
		return q.create(ctx, body)
	case mesh.TagDeleteAccount:
		return q.remove(ctx, body)
	case mesh.TagStatus:
		return q.status(ctx, body)
	case mesh.TagDownload:
		return q.download(ctx, body)
	case mesh.TagUpload:
		return q.upload(ctx, body)
	case mesh.TagPost:
		return q.post(ctx, body)
	}
	q.readID(body)
	return nil, mesh.Errorf(op, mesh.UnknownOperation, "%s is not built", tag)
}

// ticketAge is how old the ticket is, negative under an exchange.
func (q *request) ticketAge() time.Duration {
	if q.issued.IsZero() {
		return -1
	}
	return max(0, q.now().Sub(q.issued))
}

// local says whether the caller is a device of an account of the virtual service that it asks.
func (q *request) local() bool {
	_, domain, _ := bytes.Cut([]byte(q.who.account), []byte{'@'})
	return q.who.account != "" && string(domain) == q.domain.name
}

// read reads a request. ID is known afterwards, also when another member is wrong: it is echoed in the refusal.
func (q *request) read(body jbcd.Raw, v any, base *mesh.Request) error {
	const op = "gateway.read"
	if err := jbcd.Unmarshal(body, v); err != nil {
		q.readID(body)
		return mesh.E(op, mesh.BadRequest, err)
	}
	return q.setID(base.ID)
}

// maxID bounds `ID`: ours has 16 octets, and it is kept for a quarter of an hour.
const maxID = 64

func (q *request) setID(id jbcd.Binary) error {
	if len(id) > maxID {
		return mesh.Errorf("gateway.setID", mesh.ProfileInvalid, "ID of %d octets", len(id))
	}
	q.id = id
	return nil
}

// readID reads nothing but ID, of a request that is refused whatever else it says.
func (q *request) readID(body jbcd.Raw) {
	var base mesh.Request
	if jbcd.Unmarshal(body, &base) == nil {
		_ = q.setID(base.ID) // too long to be echoed
	}
}

// acting returns the account that a request acts on (D-09): that of the credential, which `Account` may only repeat,
// in any of its forms, or name by a second address, which is answered by the first one.
func (q *request) acting(ctx context.Context, u *mesh.RequestUser) (string, error) {
	const op = "gateway.acting"
	if u.DeviceProfile != nil {
		p, err := mesh.VerifyProfileDevice(u.DeviceProfile)
		if err != nil || !mesh.SameUDF(p.UDF(), q.who.deviceUDF) {
			return "", mesh.Errorf(op, mesh.NotAuthenticated, "DeviceProfile is not that of the credential")
		}
	}
	if u.Account == "" || u.Account == q.who.account {
		return q.who.account, nil
	}
	a, err := mesh.ParseAddress(u.Account)
	if err != nil {
		return "", mesh.E(op, mesh.NotAuthorized, err)
	}
	if a.SINUDF != "" && !mesh.SameUDF(a.SINUDF, q.who.profileUDF) {
		return "", mesh.Errorf(op, mesh.NotAuthorized, "the strong address names another profile")
	}
	if a.String() == q.who.account {
		return q.who.account, nil
	}
	if a.Domain == q.domain.name {
		other, err := q.account(ctx, a.String())
		switch {
		case mesh.KindOf(err) == mesh.Overloaded:
			return "", err
		case err == nil && other.redirect == q.who.account: // only an account of the same profile and mesh became one (firstAddress)
			return "", redirect(op, q.who.account)
		}
	}
	return "", mesh.Errorf(op, mesh.NotAuthorized, "another account")
}

// redirect is 303/20 with the address that counts; it is the caller's own.
func redirect(op, address string) error { return mesh.Errorf(op, mesh.Redirect, "%s", address) }

// limited is the refusal of one who asks too often.
func limited(op string, wait time.Duration) error {
	return mesh.E(op, mesh.RateLimited, rpc.RetryAfter(wait))
}

// shard calls the shard of an address.
func (q *request) shard(ctx context.Context, address string, f func(context.Context, shardpb.AccountsServiceClient) error) error {
	return q.router.Accounts(ctx, address, f)
}

func timestamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }
