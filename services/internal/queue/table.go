package queue

import "context"

// Change is what Apply did.
type Change struct {
	Name string `json:"name"` // stream, or stream/consumer
	Did  string `json:"did"`  // created, updated, unchanged
}

// Apply makes streams and consumers as the table says, or brings them there. Idempotent. The Conn is meshctl's. replicas: 1, 3 or 5.
func (c *Conn) Apply(ctx context.Context, replicas int) ([]Change, error) { return nil, errTODO }
