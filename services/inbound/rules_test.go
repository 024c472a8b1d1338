package inbound

import (
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

const (
	alice   = "alice@alpha.example"
	bob     = "bob@beta.example"
	service = "MAAA-SERV"
)

// good is a message of a contact at another provider that every rule lets through.
func good() *facts {
	return &facts{
		delivery:      &eventpb.Delivery{ServiceUdf: service},
		recipient:     bob,
		size:          1000,
		envelope:      &dare.Envelope{},
		letter:        &mesh.Letter{ID: "N1", Type: mesh.TagRequestConfirmation, Message: &mesh.Message{Sender: alice}},
		sender:        &mesh.Sender{UDF: "MAAA-ALIC", Addresses: []string{alice}},
		address:       alice,
		fromOther:     true,
		serviceDomain: "alpha.example",
		accredited:    true,
		asked:         true,
		exists:        true,
		standing:      &shardpb.PolicyResponse{State: shardpb.AccountState_ACCOUNT_STATE_CONNECTED, Contact: true, Rights: []string{"Confirmation"}},
	}
}

func parse(t *testing.T, text string) *Site {
	t.Helper()
	s, err := ParseSite([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// only is a message that one rule alone refuses: without that rule it would be accepted (C-135 … C-141).
var only = map[string]struct {
	spoil func(*facts)
	site  string
}{
	"message-size":            {spoil: func(f *facts) { f.size = mesh.MaxMessage + 1 }},
	"message-form":            {spoil: func(f *facts) { f.letter = nil }},
	"type-of-own-devices":     {spoil: func(f *facts) { f.letter.Type = mesh.TagMessagePIN; f.standing.Rights = []string{"Message"} }},
	"type-unknown":            {spoil: func(f *facts) { f.letter.Type = "RequestMoney"; f.standing.Rights = []string{"Message"} }},
	"service-denied":          {site: "deny: {services: [maaaserv]}"},
	"report-to-abuse":         {spoil: func(f *facts) { f.letter.Type = TagReport }},
	"signature":               {spoil: func(f *facts) { f.sender = nil }},
	"sender-claimed":          {spoil: func(f *facts) { f.letter.Message.Sender = "carol@alpha.example" }},
	"sender-not-transmitting": {spoil: func(f *facts) { f.fromOther, f.address = false, "" }},
	"service-domain-denied":   {site: "deny: {services: [Alpha.Example]}"},
	"service-not-allowed":     {site: "allow: {services: [gamma.example]}"},
	"service-accreditation":   {spoil: func(f *facts) { f.accredited = false }},
	"sender-denied":           {site: "deny: {senders: ['Alice@ALPHA.example']}"},
	"recipient-unknown":       {spoil: func(f *facts) { f.exists = false }},
	"recipient-moved":         {spoil: func(f *facts) { f.standing.Redirect = "bob@gamma.example" }},
	"recipient-blocked":       {spoil: func(f *facts) { f.standing.State = shardpb.AccountState_ACCOUNT_STATE_BLOCKED }},
	"contact-blocked":         {spoil: func(f *facts) { f.standing.Rights = append(f.standing.Rights, "Block") }},
	"contact-pinned":          {spoil: func(f *facts) { f.standing.PinnedProfileUdf = "MBBB-OTHE" }},
	"contact-right":           {spoil: func(f *facts) { f.standing.Rights = []string{"Message"} }},
}

// Every rule has a message that only it refuses, so that no rule can be deleted unnoticed.
func TestRules(t *testing.T) {
	for i := range rules {
		r := &rules[i]
		c, ok := only[r.name]
		if !ok {
			t.Errorf("%s: no message for this rule", r.name)
			continue
		}
		f, site := good(), parse(t, c.site)
		if c.spoil != nil {
			c.spoil(f)
		}
		for s := range stages {
			if s > r.stage {
				break
			}
			got := decide(s, f, site)
			switch {
			case s < r.stage && got != nil:
				t.Errorf("%s: refused by %s before", r.name, got.name)
			case s == r.stage && got != r:
				t.Errorf("%s: refused by %v", r.name, got)
			}
		}
		if refusedWithout(f, site, r) {
			t.Errorf("%s: another rule refuses the same message", r.name)
		}
	}
	if len(only) != len(rules) {
		t.Errorf("%d messages for %d rules", len(only), len(rules))
	}
}

// refusedWithout asks all rules but one, as far as the facts that it is about are there at all.
func refusedWithout(f *facts, site *Site, without *rule) bool {
	if f.letter == nil || f.sender == nil {
		return false // later rules need what this one refuses to be without
	}
	for i := range rules {
		r := &rules[i]
		if r != without && (f.exists || r.stage < stageRecipient) && r.refuses(f, site) {
			return true
		}
	}
	return false
}

func TestGoodMessage(t *testing.T) {
	site := parse(t, "")
	for s := range stages {
		if r := decide(s, good(), site); r != nil {
			t.Errorf("refused by %s", r.name)
		}
	}
}

// C-137, C-139, C-140: what a user's catalog says of the sender, by type of message.
func TestUserPolicy(t *testing.T) {
	for _, c := range []struct {
		what    string
		tag     string
		rights  []string
		livePIN bool
		want    string
	}{
		{what: "a stranger asks for contact", tag: mesh.TagRequestContact},
		{what: "a stranger replies without PIN", tag: mesh.TagReplyContact, want: "contact-right"},
		{what: "a stranger replies with a live PIN", tag: mesh.TagReplyContact, livePIN: true},
		{what: "a contact replies without PIN", tag: mesh.TagReplyContact, rights: []string{"Contact"}},
		{what: "a stranger wants a confirmation", tag: mesh.TagRequestConfirmation, want: "contact-right"},
		{what: "a contact answers one", tag: mesh.TagResponseConfirmation, rights: []string{"Confirmation"}},
		{what: "a stranger invites", tag: mesh.TagGroupInvitation, rights: []string{"Message"}, want: "contact-right"},
		{what: "a friend invites", tag: mesh.TagGroupInvitation, rights: []string{"Group"}},
		{what: "a task", tag: mesh.TagRequestTask, rights: []string{"Task"}},
		{what: "a live PIN opens nothing else", tag: mesh.TagRequestTask, livePIN: true, want: "contact-right"},
		{what: "a text", tag: mesh.TagMessageText, rights: []string{"Message"}},
		{what: "a text by who may confirm", tag: mesh.TagMessageText, rights: []string{"Confirmation"}, want: "contact-right"},
		{what: "a blocked one asks for contact", tag: mesh.TagRequestContact, rights: []string{"Contact", "Block"}, want: "contact-blocked"},
	} {
		f := good()
		f.letter.Type, f.standing.Rights, f.standing.LivePin = c.tag, c.rights, c.livePIN
		got := ""
		if r := decide(stageRecipient, f, parse(t, "")); r != nil {
			got = r.name
		}
		if got != c.want {
			t.Errorf("%s: refused by %q, want %q", c.what, got, c.want)
		}
	}
}

// Reports go to abuse@ of our domains, from anybody accredited, and nothing else goes there.
func TestReportAddress(t *testing.T) {
	f := good()
	f.recipient, f.letter.Type, f.standing = "abuse@beta.example", TagReport, &shardpb.PolicyResponse{}
	for s := range stages {
		if r := decide(s, f, parse(t, "")); r != nil {
			t.Errorf("refused by %s", r.name)
		}
	}
	f.letter.Type = mesh.TagRequestContact
	if r := decide(stageEnvelope, f, parse(t, "")); r == nil || r.name != "report-to-abuse" {
		t.Errorf("a request for contact to abuse@: %v", r)
	}
}
