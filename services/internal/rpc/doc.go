// Package rpc is what our roles have in common on the gRPC wire: mutual TLS with an allow-list per service,
// the mapping of mesh.Error to status details and back, deadlines, trace context, routing by account, and small calls
// that share a stream.
//
// It promises that a handler runs only for a caller whose certificate carries a role that may call that service, that
// every call has a deadline, that no panic ends a process, and that no inner error text leaves it. It refuses plaintext,
// TLS before 1.3, and every service that its table does not name (docs/design.md, Roles).
package rpc
