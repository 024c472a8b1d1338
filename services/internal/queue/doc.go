// Package queue carries deliveries between the roles: the streams of NATS JetStream, and verdicts to waiting gateways by core NATS.
//
// Postgres remembers, the queue carries: an outbox row lives until it is settled, and is published again when its message is not
// heard of. So every stream may be lost, a message may come twice, and nothing here may be the only copy of anything. What the
// package promises:
//   - Publish returns nil for an item only when the server has stored it (with `sync_interval: always`: on its disk, on most of the replicas).
//   - A message is handled until it is acknowledged, or given up to DEAD, which alarms; never dropped silently before its stream's age.
//   - Nothing waits for ever: publishing fails at once without a server or a stream, consuming goes on when they are back.
//   - Who may do what is decided by the server, from the URI in the client's certificate (Users), not by this code.
//
// Streams, consumers and users are declared in one table each (table.go, users.go; docs/design.md, Queue).
package queue
