package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mathmesh/meshd/pkg/mesh"
	faultpb "github.com/mathmesh/meshd/proto/mesh/fault/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// RetryAfter is the inner error of a mesh.RateLimited or mesh.Overloaded that knows when to try again: it crosses the wire.
type RetryAfter time.Duration

// Error implements error.
func (r RetryAfter) Error() string { return "try again in " + time.Duration(r).String() }

// ToStatus makes the gRPC error of a mesh.Error: a status whose only detail is a Fault, no inner text. The epoch of a
// shardmap.Stale and the time of a RetryAfter cross the wire. A gRPC status
// stays what it is; an error of neither kind is Internal.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	var e *mesh.Error
	if !errors.As(err, &e) {
		if _, ok := status.FromError(err); ok {
			return err
		}
		e = mesh.E("rpc", mesh.Internal, nil)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			e.Kind = mesh.Overloaded
		}
	}
	fault := &faultpb.Fault{Kind: wireName(e.Kind), Op: e.Op}
	var stale shardmap.Stale
	if errors.As(e.Err, &stale) {
		fault.Epoch = stale.Epoch
	}
	var retry RetryAfter
	if errors.As(e.Err, &retry) {
		fault.RetryAfter = durationpb.New(time.Duration(retry))
	}
	if e.Kind == mesh.Redirect && e.Err != nil {
		fault.Target = e.Err.Error()
	}
	st, detailErr := status.New(wireCode(e.Kind), e.Kind.String()).WithDetails(fault)
	if detailErr != nil {
		return status.Error(codes.Internal, mesh.Internal.String())
	}
	return st.Err()
}

// FromStatus makes a *mesh.Error of a gRPC error; transport faults are mesh.Overloaded: the caller may try again, as
// every verb is idempotent by its request ID. A *mesh.Error stays what it is.
func FromStatus(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *mesh.Error
	if errors.As(err, &e) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return mesh.E(op, mesh.Overloaded, err)
	}
	st, ok := status.FromError(err)
	if !ok {
		return mesh.E(op, mesh.Internal, err)
	}
	for _, d := range st.Details() {
		fault, ok := d.(*faultpb.Fault)
		if !ok {
			continue
		}
		return mesh.E(fault.GetOp(), kindOfWire(fault.GetKind()), inner(fault))
	}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Aborted:
		return mesh.E(op, mesh.Overloaded, err)
	}
	// A refusal by the allow-list, an unknown method: our deployment is at fault, not the caller of the Mesh.
	return mesh.E(op, mesh.Internal, err)
}

func inner(fault *faultpb.Fault) error {
	switch {
	case fault.GetTarget() != "":
		return errors.New(fault.GetTarget())
	case fault.GetEpoch() != 0:
		return shardmap.Stale{Epoch: fault.GetEpoch()}
	case fault.GetRetryAfter() != nil:
		return RetryAfter(fault.GetRetryAfter().AsDuration())
	}
	return nil
}

// wireName is the registry's name of the kind, or ours where the registry has one name for several kinds.
func wireName(k mesh.Kind) string {
	switch k {
	case mesh.Overloaded:
		return "Overloaded"
	case mesh.WrongShard:
		return "WrongShard"
	}
	return k.String()
}

// kindOfWire is the inverse of wireName; the name of a newer build is Internal.
func kindOfWire(name string) mesh.Kind {
	for _, k := range mesh.Kinds() {
		if wireName(k) == name {
			return k
		}
	}
	return mesh.Internal
}

// wireCode is what general gRPC tools see: dashboards, access logs. Our roles read the Fault.
func wireCode(k mesh.Kind) codes.Code {
	switch k {
	case mesh.Internal:
		return codes.Internal
	case mesh.AccountRegistered:
		return codes.AlreadyExists
	case mesh.UnknownAccount, mesh.ResponseNotFound, mesh.UnknownContainer, mesh.PublicationNotFound, mesh.CapabilityNotFound:
		return codes.NotFound
	case mesh.NotAuthenticated, mesh.TicketExpired, mesh.TicketInvalid, mesh.RequestStale:
		return codes.Unauthenticated
	case mesh.Conflict:
		return codes.Aborted
	case mesh.QuotaExceeded, mesh.RateLimited:
		return codes.ResourceExhausted
	case mesh.Overloaded:
		return codes.Unavailable
	case mesh.UnknownOperation:
		return codes.Unimplemented
	case mesh.AccountPending, mesh.Redirect, mesh.ResponsePending, mesh.WrongShard:
		return codes.FailedPrecondition
	case mesh.NotAuthorized, mesh.ServiceBlockedSender, mesh.ServiceBlockedService, mesh.RecipientBlockedSender,
		mesh.RecipientBlockedService, mesh.InsufficientPrivilege, mesh.ClaimInvalid, mesh.ResponseRefused,
		mesh.EncryptionRequired, mesh.Unaccredited:
		return codes.PermissionDenied
	}
	return codes.InvalidArgument
}
