package make1

import (
	"bytes"
	"sync"
)

// memory remembers the tickets that a ring has opened lately, with the keys of their channels: getting these costs as
// much as everything else of a ticket request. It lives with its ring, so that an entry that is destroyed takes along
// what it opened: whoever re-reads a ring file has a new ring, that remembers nothing.
type memory struct {
	mu         sync.Mutex
	young, old map[string]*opened // by ticket, to the octet; the old go when the young are maxOpened
}

// maxOpened tickets of about 1 KiB: twice that many devices are active at a gateway within minutes only where ten
// gateways would be.
const maxOpened = 4096

// opened is what is remembered of a ticket. It is immutable.
type opened struct {
	content *TicketContent
	u       []byte // S.u, of which the channel depends beside the content
	channel channel
}

func (m *memory) get(ticket []byte) *opened {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.young[string(ticket)]; o != nil {
		return o
	}
	return m.old[string(ticket)]
}

func (m *memory) put(ticket []byte, o *opened) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || len(m.young) >= maxOpened {
		m.young, m.old = make(map[string]*opened), m.young
	}
	m.young[string(ticket)] = o
}

// withKeys returns o with the channel for a service key.
func (o *opened) withKeys(domain string, u []byte) *opened {
	if o.u != nil && bytes.Equal(o.u, u) {
		return o
	}
	return &opened{content: o.content, u: bytes.Clone(u), channel: newChannel(chain(domain, u), o.content.Secret)}
}
