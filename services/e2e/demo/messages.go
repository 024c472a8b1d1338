package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	mallory = "mallory@alpha.example"

	// crossing is when a message must have crossed on a busy machine.
	crossing = 30 * time.Second
	// away is how long a provider is: the first attempt to deliver fails, the second, 5 s later, does not.
	away = 3 * time.Second
	// afterOutage is when a message must have crossed by the second attempt, or the third, 30 s later.
	afterOutage = 90 * time.Second
)

// The results of `mesh` that are about messages.
type (
	postedResult struct {
		ID, Recipient, Reason string
		Accepted              bool
	}
	messageResult struct {
		ID, Type, From, Text string
		Service, Encrypted   bool
		Status               struct{ Open bool }
	}
	deliveriesResult struct {
		Deliveries []struct{ Recipient, State, Reason, Outcome string }
	}
	contactResult struct {
		ID                string
		Addresses, Rights []string
	}
	confirmationResult struct {
		Accept, Verified bool
		By, Question     string
	}
)

// messaging is what goes from one provider to the other.
func (d *demo) messaging() error {
	if !d.messages {
		chapter("Messages between the providers")
		fmt.Println("  – LEFT OUT by -messages=false, which is for deployments without a queue: their services refuse messages (400/24)")
		return nil
	}
	for _, part := range []func() error{d.introducing, d.confirming, d.refusing, d.outage} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// introducing: Alice and Bob exchange contacts. Each has the other's key from the other, and from nobody else.
func (d *demo) introducing() error {
	chapter("Alice and Bob exchange contacts")
	const rights = "Contact,Message,Confirmation"
	var request string
	if err := d.do("Alice: mesh contact request "+bob, func() (err error) {
		request, err = d.post("alice", "contact", "request", bob, "--subject", "We met on Tuesday", "--rights", rights)
		return err
	}); err != nil {
		return err
	}
	if err := d.step("Bob: the request is there; mesh contact accept", func() (string, error) {
		m, err := d.arrives("bob", request, crossing)
		if err != nil {
			return "", err
		}
		if m.From != alice || m.Type != mesh.TagRequestContact || !m.Status.Open {
			return "", fmt.Errorf("not the open request of %s: %+v", alice, m)
		}
		return "from " + m.From, d.mesh("bob", "", "contact", "accept", request, "--rights", rights).want(0)
	}); err != nil {
		return err
	}
	return d.step("both have each other, under the account's own fingerprint", func() (string, error) {
		if err := d.eventually("Alice has Bob's contact", crossing, func() (bool, error) {
			if err := d.mesh("alice", "", "message", "list").want(0); err != nil { // takes the answers to own requests
				return false, err
			}
			return d.knows("alice", bob, "bob")
		}); err != nil {
			return "", err
		}
		known, err := d.knows("bob", alice, "alice")
		if err == nil && !known {
			err = errors.New("bob does not have Alice's contact")
		}
		return "granted: " + rights, err
	})
}

// confirming: a question, and an answer that proves who said yes to what.
func (d *demo) confirming() error {
	chapter("Alice asks, Bob answers under his signature")
	const question = "Log in from Paris?"
	var id string
	if err := d.do("Alice: mesh confirm ask "+bob+" '"+question+"'", func() (err error) {
		id, err = d.post("alice", "confirm", "ask", bob, question)
		return err
	}); err != nil {
		return err
	}
	if err := d.step("Bob: reads it; mesh confirm answer --yes", func() (string, error) {
		m, err := d.arrives("bob", id, crossing)
		if err != nil {
			return "", err
		}
		if m.From != alice || m.Text != question || !m.Encrypted {
			return "", fmt.Errorf("not the question that was asked: %+v", m)
		}
		_, err = d.post("bob", "confirm", "answer", id, "--yes")
		return "encrypted, from " + m.From, err
	}); err != nil {
		return err
	}
	file := filepath.Join(d.work, "answer.json")
	verified := func(r result) error {
		c, err := decode[confirmationResult](r)
		if err == nil && (!c.Accept || !c.Verified || c.By != bob || c.Question != question) {
			err = fmt.Errorf("not Bob's yes to the question: %+v", c)
		}
		return err
	}
	if err := d.step("Alice: mesh confirm wait: his yes, and it proves out", func() (string, error) {
		return "", verified(d.mesh("alice", "", "confirm", "wait", id, "--timeout", crossing.String(), "--save", file))
	}); err != nil {
		return err
	}
	if err := d.step("mesh --offline confirm verify: the kept answer proves out", func() (string, error) {
		return "", verified(d.mesh("alice", "", "--offline", "confirm", "verify", file))
	}); err != nil {
		return err
	}
	return d.step("one character of the kept answer changed: it does not (exit 6)", func() (string, error) {
		if err := forge(file); err != nil {
			return "", err
		}
		r := d.mesh("alice", "", "--offline", "confirm", "verify", file)
		first, _, _ := strings.Cut(strings.TrimSpace(r.err), "\n")
		return first, r.want(6)
	})
}

// forge changes a character in the payload of a kept answer.
func forge(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var kept map[string][]json.RawMessage // envelopes: header, payload, trailer
	if err := json.Unmarshal(data, &kept); err != nil {
		return err
	}
	if len(kept["Answer"]) != 3 {
		return fmt.Errorf("%s: the answer has %d parts, want 3", file, len(kept["Answer"]))
	}
	payload := kept["Answer"][1]
	middle := &payload[len(payload)/2]
	if *middle == 'A' {
		*middle = 'B'
	} else {
		*middle = 'A'
	}
	if data, err = json.Marshal(kept); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// refusing: who is no contact may not ask, and is told by which rule.
func (d *demo) refusing() error {
	chapter("Mallory, whom Bob does not know, asks too")
	const question = "Pay 10,000 EUR?"
	if err := d.step("without Bob's key her own tool refuses (exit 3)", func() (string, error) {
		if err := d.mesh("mallory", "", "account", "create", mallory).want(0); err != nil {
			return "", err
		}
		return "", d.mesh("mallory", "", "confirm", "ask", bob, question).want(3)
	}); err != nil {
		return err
	}
	var id string
	if err := d.do("with his contact from elsewhere: her provider takes the question", func() (err error) {
		if err := d.leak("alice", "mallory", "bob"); err != nil {
			return err
		}
		id, err = d.post("mallory", "confirm", "ask", bob, question)
		return err
	}); err != nil {
		return err
	}
	rule := mesh.InsufficientPrivilege.String()
	if err := d.step("Bob's provider refuses, and she is told the rule", func() (string, error) {
		return rule, d.state("mallory", id, "Failed", rule, crossing)
	}); err != nil {
		return err
	}
	if err := d.step("a message of her provider says it too", func() (string, error) {
		list, err := d.inbound("mallory")
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(list, func(m messageResult) bool { return m.Service && strings.Contains(m.Text, rule) })
		if i < 0 {
			return "", fmt.Errorf("no message of the service names %s: %+v", rule, list)
		}
		return list[i].Text, nil
	}); err != nil {
		return err
	}
	return d.step("Bob has got nothing of hers", func() (string, error) {
		list, err := d.inbound("bob")
		if err == nil && slices.ContainsFunc(list, func(m messageResult) bool { return m.From == mallory }) {
			err = errors.New("a message of hers is in his mailbox")
		}
		return "", err
	})
}

// outage: a message to a provider that is away waits at the sender's.
func (d *demo) outage() error {
	chapter("beta.example is away when Alice writes")
	const text = "Are you back?"
	var id string
	if err := d.do("beta.example is stopped", func() error { return d.service.away("beta.example") }); err != nil {
		return err
	}
	if err := d.do("Alice: mesh message send "+bob+": her provider takes it", func() (err error) {
		id, err = d.post("alice", "message", "send", bob, "--text", text)
		return err
	}); err != nil {
		return err
	}
	if err := d.do("mesh message status: on its way", func() error {
		time.Sleep(away)
		return d.state("alice", id, "Sent", "", 0)
	}); err != nil {
		return err
	}
	if err := d.do("beta.example is back", func() error { return d.service.back("beta.example") }); err != nil {
		return err
	}
	if err := d.do("mesh message status: delivered", func() error {
		return d.state("alice", id, "Received", "", afterOutage)
	}); err != nil {
		return err
	}
	return d.step("Bob has it, once", func() (string, error) {
		list, err := d.inbound("bob")
		if err != nil {
			return "", err
		}
		n := 0
		for _, m := range list {
			if m.ID == id && m.Text == text && m.From == alice {
				n++
			}
		}
		if n != 1 {
			return "", fmt.Errorf("it is there %d times: %+v", n, list)
		}
		return "", nil
	})
}

// post runs a command that sends one message to one recipient, and returns its ID once the own provider has taken it.
func (d *demo) post(who string, args ...string) (string, error) {
	list, err := decode[[]postedResult](d.mesh(who, "", args...))
	if err != nil {
		return "", err
	}
	if len(list) != 1 || !list[0].Accepted || list[0].ID == "" {
		return "", fmt.Errorf("not taken: %+v", list)
	}
	return list[0].ID, nil
}

func (d *demo) inbound(who string) ([]messageResult, error) {
	return decode[[]messageResult](d.mesh(who, "", "message", "list", "--all"))
}

// arrives waits for a message to be in somebody's mailbox.
func (d *demo) arrives(who, id string, limit time.Duration) (m messageResult, err error) {
	err = d.eventually(who+" gets "+id, limit, func() (bool, error) {
		list, err := d.inbound(who)
		i := slices.IndexFunc(list, func(m messageResult) bool { return m.ID == id })
		if i >= 0 {
			m = list[i]
		}
		return i >= 0, err
	})
	return m, err
}

// state waits for what the sender of a message is told of it. No limit: it must be so now.
func (d *demo) state(who, id, want, reason string, limit time.Duration) error {
	var is deliveriesResult
	err := d.eventually("the sender is told "+want, limit, func() (_ bool, err error) {
		is, err = decode[deliveriesResult](d.mesh(who, "", "message", "status", id))
		return err == nil && len(is.Deliveries) == 1 && is.Deliveries[0].State != "Sent", err
	})
	if len(is.Deliveries) == 1 && is.Deliveries[0].State == want && is.Deliveries[0].Reason == reason {
		return nil
	}
	return errors.Join(fmt.Errorf("status %+v, want %s %s", is.Deliveries, want, reason), err)
}

// knows says whether somebody has exactly one contact of an address, which is the account that other is.
func (d *demo) knows(who, address, other string) (bool, error) {
	own, err := decode[contactResult](d.mesh(other, "", "contact", "self"))
	if err != nil {
		return false, err
	}
	list, err := decode[[]contactResult](d.mesh(who, "", "contact", "list"))
	if err != nil {
		return false, err
	}
	list = slices.DeleteFunc(list, func(c contactResult) bool { return !slices.Contains(c.Addresses, address) })
	if len(list) > 1 || len(list) == 1 && (list[0].ID != own.ID || len(list[0].Rights) != 3) {
		return false, fmt.Errorf("%s has %+v for the account %s", who, list, own.ID)
	}
	return len(list) == 1, nil
}

// leak gives one person another's contact of a third: a key is no secret, and opens no door.
func (d *demo) leak(from, to, whose string) error {
	card, err := decode[contactResult](d.mesh(whose, "", "contact", "self"))
	if err != nil {
		return err
	}
	var entry mesh.Entry
	if err := d.contacts(from, func(c *client.Catalog) error {
		e, ok, err := c.Get(card.ID)
		if err != nil || !ok {
			return fmt.Errorf("%s has no contact %s: %w", from, card.ID, err)
		}
		entry, err = e.Decode()
		return err
	}); err != nil {
		return err
	}
	return d.contacts(to, func(c *client.Catalog) error { return c.Put(entry) })
}

func (d *demo) contacts(who string, f func(*client.Catalog) error) error {
	a, err := client.Open(client.Config{Dir: filepath.Join(d.work, who), StateFile: d.service.state()}, "")
	if err != nil {
		return err
	}
	c, err := a.Catalog(mesh.CatalogContact)
	if err == nil {
		err = f(c)
	}
	return errors.Join(err, a.Close())
}
