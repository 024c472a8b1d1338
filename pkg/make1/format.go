package make1

import (
	"fmt"
	"log/slog"
	"time"
)

// What holds keys of an exchange, of a ticket or of the ring shows a name and nothing else, by value or by pointer,
// whatever the verb. fmt asks Format, a slog handler LogValue first: one that writes JSON would not ask Format.

// String names the value and shows nothing of its secrets.
func (x Exchange) String() string { return "exchange with " + x.ServiceKID }

// Format implements fmt.Formatter.
func (x Exchange) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(x.String())) }

// LogValue implements slog.LogValuer.
func (x Exchange) LogValue() slog.Value { return slog.StringValue(x.String()) }

// String names the value and shows nothing of its secrets.
func (p Pending) String() string { return "pending request" }

// Format implements fmt.Formatter.
func (p Pending) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(p.String())) }

// LogValue implements slog.LogValuer.
func (p Pending) LogValue() slog.Value { return slog.StringValue(p.String()) }

// String names the value and shows nothing of its secrets.
func (t Ticket) String() string { return "ticket " + t.channel.kid }

// Format implements fmt.Formatter.
func (t Ticket) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue implements slog.LogValuer.
func (t Ticket) LogValue() slog.Value { return slog.StringValue(t.String()) }

// String names the value and shows nothing of its secrets.
func (t TicketRequest) String() string { return "request under ticket " + t.channel.kid }

// Format implements fmt.Formatter.
func (t TicketRequest) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue implements slog.LogValuer.
func (t TicketRequest) LogValue() slog.Value { return slog.StringValue(t.String()) }

// String names the value and shows nothing of its secrets.
func (c TicketContent) String() string { return "ticket content, mode " + string(c.Mode) }

// Format implements fmt.Formatter.
func (c TicketContent) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue implements slog.LogValuer.
func (c TicketContent) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names the value and shows nothing of its secrets.
func (e RingEntry) String() string {
	return fmt.Sprintf("ring entry %x from %s", []byte(e.ID), e.NotBefore.UTC().Format(time.RFC3339))
}

// Format implements fmt.Formatter.
func (e RingEntry) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(e.String())) }

// LogValue implements slog.LogValuer.
func (e RingEntry) LogValue() slog.Value { return slog.StringValue(e.String()) }

// String names the value and shows nothing of its secrets.
func (r Ring) String() string { return fmt.Sprintf("ring of %d entries", len(r.keys)) }

// Format implements fmt.Formatter.
func (r Ring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.String())) }

// LogValue implements slog.LogValuer.
func (r Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }
