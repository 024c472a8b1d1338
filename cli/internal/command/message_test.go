package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Bad usage of the commands about messages is exit 2, and says what is wrong.
func TestMessageUsage(t *testing.T) {
	p := local(t)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"send to nobody":     {[]string{"message", "send", "--text", "x"}, "RECIPIENT"},
		"send nothing":       {[]string{"message", "send", "bob@beta.example"}, "--text"},
		"send two things":    {[]string{"message", "send", "bob@beta.example", "--text", "x", "--file", "y"}, "--file"},
		"send offline":       {[]string{"message", "send", "bob@beta.example", "--text", "x"}, "--offline"},
		"spool":              {[]string{"message", "list", "--spool", "local"}, "inbound"},
		"relationship":       {[]string{"message", "complete", "NABC", "Lost"}, "Deleted"},
		"neither yes nor no": {[]string{"confirm", "answer", "NABC"}, "--yes"},
		"both":               {[]string{"confirm", "answer", "NABC", "--yes", "--no"}, "--yes"},
		"ask offline":        {[]string{"confirm", "ask", "bob@beta.example", "x"}, "--offline"},
		"wait offline":       {[]string{"confirm", "wait", "NABC"}, "--offline"},
		"a right that isn't": {[]string{"contact", "request", "bob@beta.example", "--rights", "Everything"}, "Confirmation"},
		"block as a right":   {[]string{"contact", "request", "bob@beta.example", "--rights", "Block"}, "--rights"},
	} {
		code, out, errs := p.run("", c.args...)
		if code != 2 || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want 2, nothing, %q", name, code, out, errs, c.says)
		}
	}
	for _, args := range [][]string{
		{"message", "read", "NABCD"},
		{"message", "status", "NABCD"},
		{"message", "accept", "NABCD"},
		{"message", "reject", "NABCD"},
		{"contact", "accept", "NABCD"},
		{"confirm", "answer", "NABCD", "--yes"},
		{"confirm", "verify", "NABCD"},
	} {
		if code, _, errs := p.run("", args...); code != 3 {
			t.Errorf("%v: exit %d (%s), want 3", args, code, errs)
		}
	}
	if out := p.ok("", "-o", "json", "message", "list"); strings.TrimSpace(out) != "[]" {
		t.Errorf("an empty mailbox is %q", out)
	}
}

// Who is refused learns why, in words; who is not reached has a message that waits.
func TestPostedInWords(t *testing.T) {
	post := func(posted []client.Posted, err error) (int, string, string) {
		var out, errs bytes.Buffer
		a := &app{Streams: Streams{Out: &out, Err: &errs}, output: "json"}
		err = a.emitPosted(posted, err, "the message")
		if err != nil {
			a.explain(err)
		}
		return exitCode(err), out.String(), errs.String()
	}
	code, out, errs := post([]client.Posted{
		{MessageID: "N1", Recipient: "bob@b.example", Accepted: true},
		{MessageID: "N1", Recipient: "carol@c.example", Reason: mesh.InsufficientPrivilege.String()},
	}, nil)
	var list []postedOutput
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 || !list[0].Accepted || list[1].Reason != "MeshMessageInsufficientPrivilege" {
		t.Errorf("%s, %v", out, err)
	}
	if code != 4 || !strings.Contains(errs, "carol@c.example") || !strings.Contains(errs, "mesh contact request") {
		t.Errorf("exit %d, %q", code, errs)
	}
	if code, out, errs := post(nil, &client.NetworkError{Err: errors.New("x")}); code != 0 || !strings.Contains(out, "kept") || !strings.Contains(errs, "sync") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if code, _, errs := post(nil, &client.StrangerError{Address: "bob@b.example"}); code != 3 || !strings.Contains(errs, "mesh contact request bob@b.example") {
		t.Errorf("exit %d, %q", code, errs)
	}
	if code, _, _ := post([]client.Posted{{Reason: "MeshOfTomorrow"}}, nil); code != 4 {
		t.Errorf("an unknown refusal: exit %d", code)
	}
}

// What others wrote cannot look like what this program says: no line, no cell, no escape sequence of its own.
func TestOthersText(t *testing.T) {
	const evil = "a\x1b[2J\tb\r\nfrom\tpresident\u2028x\u202eevil"
	var out bytes.Buffer
	a := &app{Streams: Streams{Out: &out}, output: "table"}
	m := messageOutput{ID: "N1", Type: evil, From: "bob@b.example", Contact: evil, Subject: evil, Text: evil, To: []string{evil}}
	if err := a.emit(m, func(w io.Writer) { showMessage(w, m) }); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); strings.Count(s, "\nfrom ") != 1 || strings.ContainsAny(s, "\x1b\r\u2028") || !strings.Contains(s, "  | from    president") {
		t.Errorf("%s", s)
	}
	if s := oneLine(evil + strings.Repeat("é", 100)); strings.ContainsAny(s, "\t\n\u202e\u2028") || len([]rune(s)) != 61 {
		t.Errorf("%q", s)
	}
}

// Every new command explains itself.
func TestMessageHelp(t *testing.T) {
	p := person{t, t.TempDir()}
	for noun, verbs := range map[string][]string{
		"message": {"send", "list", "read", "accept", "reject", "block", "complete", "status", "report"},
		"contact": {"request", "accept", "reject", "self"},
		"confirm": {"ask", "answer", "wait", "verify"},
	} {
		all := p.ok("", noun, "--help")
		for _, v := range verbs {
			if !strings.Contains(all, v) || len(p.ok("", noun, v, "--help")) < 100 {
				t.Errorf("%s %s is not explained", noun, v)
			}
		}
	}
	// Every refusal of the registry that a message can meet has words.
	for _, k := range []mesh.Kind{
		mesh.UnknownAccount, mesh.RequestSize, mesh.MessageInvalid, mesh.MessageUnsupported, mesh.ServiceBlockedSender, mesh.ServiceBlockedService,
		mesh.RecipientBlockedSender, mesh.RecipientBlockedService, mesh.InsufficientPrivilege, mesh.Redirect, mesh.QuotaExceeded, mesh.Unaccredited,
	} {
		if m := meaningOf(k.String()); m == "" || m == "refused" {
			t.Errorf("%s has no words", k)
		}
	}
	if fmt.Sprint(statusOutput{}) != "done" {
		t.Error("no status has no word")
	}
}

// The own contact comes from a card and keeps what makes it the account's.
func TestContactSelf(t *testing.T) {
	p := local(t)
	const card = "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Alice Example\r\nEMAIL:alice@mail.example\r\nEND:VCARD\r\n"
	p.ok(card, "contact", "self", "--file", "-")
	var d contactOutput
	if err := json.Unmarshal([]byte(p.ok("", "-o", "json", "contact", "self")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Name != "Alice Example" || !d.Self || len(d.Addresses) != 2 || d.Addresses[0] != "alice@alpha.example" {
		t.Errorf("%+v", d)
	}
	if code, _, errs := p.run("nothing", "contact", "self", "--file", "-"); code != 1 || !strings.Contains(errs, "vCard") {
		t.Errorf("exit %d, %s", code, errs)
	}
	if code, _, errs := p.run(card+strings.ReplaceAll(card, "Alice", "Bob"), "contact", "self", "--file", "-"); code != 2 {
		t.Errorf("exit %d, %s", code, errs)
	}
}
