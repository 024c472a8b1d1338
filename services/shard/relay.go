package shard

// Relay publishes outbox rows whose time has come.
type Relay struct{ kick chan struct{} }

// Kick says that there may be new rows. It never waits; a nil Relay takes no notice.
func (r *Relay) Kick() {
	if r == nil {
		return
	}
	select {
	case r.kick <- struct{}{}:
	default: // it will look anyway
	}
}
