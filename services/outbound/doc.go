// Package outbound is the forwarding worker (draft §9.1.2): it takes deliveries for other providers from the stream OUTBOUND,
// posts them in Service mode to the gateway of their domain, and has the sender's shard settle the outbox rows.
//
// Rows are the truth. A message is acknowledged to the queue after its rows were settled, never before; a worker that dies in
// between sends again, which the receiver drops (PROTOCOL §4.1). What cannot go out now is settled as to be tried again, so that it
// costs a row, not memory and not a place in the queue.
//
// Destinations are picked by strangers. Each has a queue, a concurrency and a breaker of its own, one that has not proven to answer
// has a small share of the whole, and no connection is made to an address that is not of the public internet unless the
// configuration says so.
//
// Refused: messages whose envelope or recipients make no sense (to the dead letters, where an operator looks).
package outbound
