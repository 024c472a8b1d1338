package rule

import (
	"fmt"
	"slices"

	"github.com/mathmesh/meshd/services/shard"
)

// Fault is the extended code of the fault that an entry of a spool has by itself, 0 for none.
func Fault(e *shard.Entry) uint16 { return fault(true, 0, e) }

// Addresses are those of a contact that count.
func Addresses(c *shard.ContactChange) []string {
	return c.Addresses[:min(len(c.Addresses), shard.MaxContactAddresses)]
}

// Refusals returns, for each message and each of its recipients and then for each entry of Self, the extended code of the
// refusal that needs no look at data, 0 for none.
func Refusals(p *shard.Posting) []uint16 {
	var codes []uint16
	for i := range p.Letters {
		l := &p.Letters[i]
		code := Fault(&l.Entry)
		for _, r := range l.Recipients {
			if code != 0 {
				codes = append(codes, code)
			} else {
				codes = append(codes, r.Reject)
			}
		}
	}
	for i := range p.Self {
		codes = append(codes, Fault(&p.Self[i]))
	}
	return codes
}

// CheckPosting finds what no caller of Post sends.
func CheckPosting(p *shard.Posting) error {
	if err := Check(p.Partition, nil, p.Self); err != nil {
		return err
	}
	if !name(p.Waiter) {
		return fmt.Errorf("no waiter: %q", p.Waiter)
	}
	for i := range p.Letters {
		l := &p.Letters[i]
		if err := digests([]shard.Entry{l.Entry}); err != nil {
			return err
		}
		for _, r := range l.Recipients {
			if r.Reject == 0 && (r.Address == "" || !name(r.Address) || !name(r.Domain)) {
				return fmt.Errorf("no recipient: %q in %q", r.Address, r.Domain)
			}
		}
	}
	return nil
}

// CheckSettlements finds what no caller of Settle sends.
func CheckSettlements(partition uint16, list []shard.Settlement) error {
	for i := range list {
		t := &list[i]
		if t.State != shard.Due && t.State != shard.Delivered && t.State != shard.Failed {
			return fmt.Errorf("settlement with state %d", t.State)
		}
		if err := verdict(&t.Verdict); err != nil {
			return err
		}
		for _, e := range []*shard.Entry{t.Event, t.Failure} {
			if e == nil {
				continue
			}
			if Fault(e) != 0 {
				return fmt.Errorf("settlement with a frame that is none")
			}
			if err := digests([]shard.Entry{*e}); err != nil {
				return err
			}
		}
	}
	return Check(partition, nil, nil)
}

// CheckArrival finds what no caller of Deliver sends.
func CheckArrival(a *shard.Arrival) error {
	if err := Check(a.Partition, nil, []shard.Entry{a.Message}); err != nil {
		return err
	}
	if a.SenderUDF == "" || slices.ContainsFunc([]string{a.SenderUDF, a.SenderAddress}, func(s string) bool { return !name(s) }) {
		return fmt.Errorf("no sender: %q, %q", a.SenderUDF, a.SenderAddress)
	}
	if !text(a.Inputs) {
		return fmt.Errorf("inputs are no text")
	}
	return verdict(&a.Verdict)
}

func verdict(v *shard.Verdict) error {
	if !name(v.Rule) || !name(v.Policy) {
		return fmt.Errorf("verdict by rule %q of policy %q", v.Rule, v.Policy)
	}
	return nil
}
