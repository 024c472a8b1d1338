package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	StampKey     = stampKey
	HeaderReason = headerReason
	HeaderSource = headerSource
	HeaderTries  = headerTries
	KeepMax      = keepMax
	KeepTime     = keepTime
)

// JetStream is the Conn's, for looks behind it.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// SetMaxTries makes messages die sooner.
func (c *Conn) SetMaxTries(n uint64) { c.maxTries = n }

// ApplyQuick is Apply with an ack wait for which a test can wait, and streams of a size that a test can fill.
func (c *Conn) ApplyQuick(ctx context.Context, replicas int, wait time.Duration, octets int64) error {
	definitions := table(replicas)
	for i := range definitions {
		definitions[i].stream.MaxBytes = octets
		if definitions[i].consumer != nil {
			definitions[i].consumer.AckWait = wait
		}
	}
	_, err := c.apply(ctx, definitions)
	return err
}

// SetClock gives a waiter another time.
func (w *Waiter) SetClock(now func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// Sizes are how much a waiter holds.
func (w *Waiter) Sizes() (kept, order, waits int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.kept), len(w.order), len(w.waits)
}
