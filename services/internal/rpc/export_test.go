package rpc

import (
	"maps"
	"slices"
	"time"
)

// Targets are those that the router keeps a connection to.
func (r *Router) Targets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.conns))
}

// WithExchangeLife shortens the life of the streams that small calls share.
func (o Options) WithExchangeLife(d time.Duration) Options {
	o.exchangeLife = d
	return o
}

// The bounds of an exchange.
const (
	AtOnce     = atOnce
	MaxShared  = maxShared
	MaxMessage = maxMessage
)
