package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

func TestFaultRoundTrip(t *testing.T) {
	const secret = "driver text: password authentication failed"
	for _, kind := range mesh.Kinds() {
		err := rpc.ToStatus(fmt.Errorf("wrapped: %w", mesh.Errorf("shard.Upload", kind, secret)))
		st, ok := status.FromError(err)
		if !ok || st.Code() == codes.OK || st.Code() == codes.Unknown {
			t.Errorf("%v: not a proper status: %v", kind, err)
		}
		if kind != mesh.Redirect && strings.Contains(fmt.Sprint(st.Proto()), secret) {
			t.Errorf("%v: the inner text crosses the wire: %v", kind, st.Proto())
		}
		back := rpc.FromStatus("caller", err)
		var e *mesh.Error
		if !errors.As(back, &e) || e.Kind != kind || e.Op != "shard.Upload" {
			t.Errorf("kind %d (%v) came back as %#v", kind, kind, back)
		}
	}
}

func TestFaultDetails(t *testing.T) {
	back := rpc.FromStatus("", rpc.ToStatus(mesh.E("op", mesh.Redirect, errors.New("alice@alpha.example"))))
	var e *mesh.Error
	if !errors.As(back, &e) || e.Err == nil || e.Err.Error() != "alice@alpha.example" {
		t.Errorf("redirect target lost: %v", back)
	}
	var stale shardmap.Stale
	back = rpc.FromStatus("", rpc.ToStatus(mesh.E("op", mesh.WrongShard, shardmap.Stale{Epoch: 7})))
	if !errors.As(back, &stale) || stale.Epoch != 7 {
		t.Errorf("epoch lost: %v", back)
	}
	var after rpc.RetryAfter
	back = rpc.FromStatus("", rpc.ToStatus(mesh.E("op", mesh.RateLimited, rpc.RetryAfter(1500*time.Millisecond))))
	if !errors.As(back, &after) || time.Duration(after) != 1500*time.Millisecond {
		t.Errorf("delay lost: %v", back)
	}
}

func TestFromStatusOfTransport(t *testing.T) {
	for _, c := range []struct {
		err  error
		want mesh.Kind
	}{
		{status.Error(codes.Unavailable, "connection refused"), mesh.Overloaded},
		{status.Error(codes.DeadlineExceeded, ""), mesh.Overloaded},
		{context.DeadlineExceeded, mesh.Overloaded},
		{status.Error(codes.PermissionDenied, "role"), mesh.Internal},
		{status.Error(codes.Unimplemented, "method"), mesh.Internal},
		{errors.New("other"), mesh.Internal},
	} {
		if got := mesh.KindOf(rpc.FromStatus("op", c.err)); got != c.want {
			t.Errorf("%v: kind %v, want %v", c.err, got, c.want)
		}
	}
	if rpc.FromStatus("op", nil) != nil || rpc.ToStatus(nil) != nil {
		t.Error("nil is an error")
	}
	own := mesh.E("gateway", mesh.Conflict, nil)
	if got := rpc.FromStatus("op", own); !errors.Is(got, own) || mesh.KindOf(got) != mesh.Conflict {
		t.Errorf("a mesh.Error was changed: %v", got)
	}
	if got := mesh.KindOf(rpc.FromStatus("op", rpc.ToStatus(context.DeadlineExceeded))); got != mesh.Overloaded {
		t.Errorf("the shard's deadline became %v", got)
	}
}
