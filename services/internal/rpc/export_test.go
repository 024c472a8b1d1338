package rpc

import (
	"maps"
	"slices"
)

// Targets are those that the router keeps a connection to.
func (r *Router) Targets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.conns))
}
