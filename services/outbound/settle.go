package outbound

import (
	"context"
	"sync"
	"time"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

const (
	// settleTime bounds a Settle: the shard's own limit for a transaction, and the retry at another shard after a move.
	settleTime = 10 * time.Second
	// maxSettlements of one call is the shard's limit.
	maxSettlements = 1024
)

// settler has outcomes recorded by the shards of the senders. Of one account there is one call at a time; what comes meanwhile goes
// together in the next.
type settler struct {
	router *rpc.Router

	mu      sync.Mutex
	open    map[string]*settling // by account: not begun yet
	running map[string]*settling
}

// settling is one call of Settle.
type settling struct {
	list []*shardpb.Settlement
	done chan struct{}
	err  error
}

func newSettler(router *rpc.Router) *settler {
	return &settler{router: router, open: make(map[string]*settling), running: make(map[string]*settling)}
}

// settle returns when the outcomes are recorded, or not: then the letter is to come again.
func (s *settler) settle(account string, list []*shardpb.Settlement) error {
	s.mu.Lock()
	b := s.open[account]
	if b == nil || len(b.list)+len(list) > maxSettlements {
		before := b
		if before == nil {
			before = s.running[account]
		}
		b = &settling{done: make(chan struct{})}
		s.open[account] = b
		go s.run(account, b, before)
	}
	b.list = append(b.list, list...)
	s.mu.Unlock()
	<-b.done
	return b.err
}

func (s *settler) run(account string, b, before *settling) {
	if before != nil {
		<-before.done
	}
	s.mu.Lock()
	if s.open[account] == b {
		delete(s.open, account)
	}
	s.running[account] = b
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	b.err = s.router.Settlement(ctx, account, func(ctx context.Context, c shardpb.SettlementServiceClient) error {
		_, err := c.Settle(ctx, &shardpb.SettleRequest{SenderAccount: account, Settlements: b.list})
		return err
	})

	s.mu.Lock()
	if s.running[account] == b {
		delete(s.running, account)
	}
	s.mu.Unlock()
	close(b.done)
}
