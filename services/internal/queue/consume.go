package queue

import (
	"context"
	"time"

	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
)

// Message is a delivery that came out of a stream. handle settles it before it returns, by one of Ack, Retry and Fail; one that it
// leaves unsettled comes again after the ack wait (30 s).
type Message struct {
	Delivery  *eventpb.Delivery
	ID        string    // with which it was published
	Tries     int       // this one included
	Published time.Time // by the server's clock
}

// Consume gives messages of a stream to handle until ctx ends: concurrently, at most inFlight, no more than that is taken from the
// server. It goes on over lost connections and absent streams; an error is ctx's.
//
// handle's context carries the trace of the publisher, and does not end with ctx: what was begun is finished, within drainTime. A
// message that came more often than maxTries, or that cannot be parsed, goes to DEAD instead.
func (c *Conn) Consume(ctx context.Context, s Stream, inFlight int, handle func(context.Context, *Message)) error {
	return errTODO
}

// Ack says that the message is done with: settled, or back in its row. It returns when the server has heard it, as do Retry and Fail;
// after an error the message comes again.
func (m *Message) Ack() error { return errTODO }

// Retry asks for the message again, not before after (at most maxRetry). It counts as pending all the while: what waits for a
// destination that is down belongs to its row, not here.
func (m *Message) Retry(after time.Duration) error { return errTODO }

// Fail gives the message up: to DEAD, with a reason that names nobody. An operator is called.
func (m *Message) Fail(reason string) error { return errTODO }

// Working asks for another ack wait from now on.
func (m *Message) Working() error { return errTODO }
