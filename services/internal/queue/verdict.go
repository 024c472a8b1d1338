package queue

import (
	"context"

	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
)

// SendVerdict tells a waiting gateway, best effort: nobody learns whether it arrived. waiter is Delivery.Waiter; empty: nobody waits,
// and nothing is sent.
func (c *Conn) SendVerdict(waiter string, v *eventpb.Verdict) error { return errTODO }

// Waiter receives the verdicts for one gateway process. Safe for concurrent use; one for the process is enough.
type Waiter struct{}

// Waiter makes one, which receives until ctx ends or the Conn is closed.
func (c *Conn) Waiter(ctx context.Context) (*Waiter, error) { return nil, errTODO }

// Token goes into Delivery.Waiter.
func (w *Waiter) Token() string { return "" }

// Wait returns what came for the delivery ids, when all are there or ctx ends. Verdicts that come before Wait are kept for 5 s, a
// bounded number of them.
func (w *Waiter) Wait(ctx context.Context, ids []string) map[string]*eventpb.Verdict { return nil }
