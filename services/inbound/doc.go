// Package inbound is the worker that decides whether a message reaches its recipient (draft §9.1.2.2): it takes messages of other
// providers and of accounts of this one from the stream INBOUND, applies access control in the draft's five inputs, and has the recipient's
// shard record the verdict and store what was accepted.
//
// Rules are an ordered list, cheapest first; the first that refuses decides, and its name goes into the verdict. A message is acknowledged to the queue
// after the shard has committed: it may come again at any point before, which the shard's deduplication makes harmless.
package inbound
