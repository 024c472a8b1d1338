// Package gateway is the role that speaks the Mesh Service Protocol to the world (draft-hallambaker-mesh-protocol
// §4, §5, §10): HTTP in front, shards behind, nothing kept in between that it cannot lose.
//
// A request passes four layers, one file or two each, and is refused by the first that can tell why:
//
//	server.go body.go http.go   TLS 1.3, HTTP/1.1 and HTTP/2, method, path, Host, types, sizes, slow bodies
//	dare.go credential.go       DARE envelope: null, exchange or ticket (MAKE-1, AUTH.md §4), who the caller is
//	access.go dispatch.go       which transaction the caller may ask for in this mode, which account acts (D-09)
//	hello.go create.go sync.go  the transactions; frame.go takes envelopes apart for storing and puts them together
//
// It promises that every answer is sealed as soon as a key for it exists and is a hint before (AUTH §3.5), that memory
// is bounded whatever is sent, that no address, envelope or key is logged, and that what the shard says about rights
// is final: the gateway says who asks, never what they may do.
package gateway
