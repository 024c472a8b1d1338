package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/spf13/cobra"
)

func (a *app) messageCommand() *cobra.Command {
	return group("message", "Messages: send, list, read, accept, reject, block, complete, status, report",
		a.messageSend(), a.messageList(), a.messageRead(), a.messageAccept(), a.messageReject(), a.messageBlock(),
		a.messageComplete(), a.messageStatus(), a.messageReport())
}

// postedOutput is what became of a message for one recipient.
type postedOutput struct {
	ID        string `json:"id"`
	Recipient string `json:"recipient"`
	Accepted  bool   `json:"accepted"`
	Reason    string `json:"reason,omitempty"`
	Meaning   string `json:"meaning,omitempty"`
}

// meanings are the refusals in words.
var meanings = map[string]string{
	mesh.UnknownAccount.String():          "there is no such account",
	mesh.RequestSize.String():             "the message is too long",
	mesh.MessageInvalid.String():          "the message does not prove out: perhaps this device was removed from the account",
	mesh.MessageUnsupported.String():      "the recipient's provider does not take messages of this kind",
	mesh.ServiceBlockedSender.String():    "the recipient's provider takes nothing from this account",
	mesh.ServiceBlockedService.String():   "the recipient's provider takes nothing from yours",
	mesh.RecipientBlockedSender.String():  "the recipient has blocked you, or takes no messages",
	mesh.RecipientBlockedService.String(): "the recipient takes nothing from your provider",
	mesh.InsufficientPrivilege.String():   "the recipient has not granted you this kind of message: `mesh contact request` asks for an exchange of contacts",
	mesh.Redirect.String():                "the recipient has moved to another address",
	mesh.QuotaExceeded.String():           "the recipient's mailbox is full",
	mesh.Unaccredited.String():            "the recipient's provider could not tell that yours is the one of your domain",
	mesh.RateLimited.String():             "too many messages, or no way to the recipient's provider for too long",
	mesh.ResponseExpired.String():         "the recipient's provider could not be reached in time",
}

func meaningOf(reason string) string {
	if reason == "" {
		return ""
	}
	if m := meanings[reason]; m != "" {
		return m
	}
	return "refused"
}

// emitPosted tells what became of messages; a refusal is an error at the end. An error that the service was not reached is none:
// the message is on disk and goes out with the next sync.
func (a *app) emitPosted(posted []client.Posted, err error, what string) error {
	var network *client.NetworkError
	if errors.As(err, &network) {
		a.remark("kept on this machine, the service cannot be reached now (%v); the next `mesh account sync` sends it", network)
		return a.emit(map[string]any{"kept": true}, func(w io.Writer) { fmt.Fprintf(w, "%s waits on this machine\n", what) })
	}
	if err != nil {
		return err
	}
	out := []postedOutput{}
	var refused error
	for _, p := range posted {
		out = append(out, postedOutput{p.MessageID, p.Recipient, p.Accepted, p.Reason, meaningOf(p.Reason)})
		if !p.Accepted && refused == nil {
			refused = refusedFor(p.Recipient, p.Reason)
		}
	}
	if err := a.emit(out, func(w io.Writer) {
		for _, p := range out {
			state := "sent"
			if !p.Accepted {
				state = "refused: " + p.Reason
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", p.ID, p.Recipient, state)
		}
	}); err != nil {
		return err
	}
	return refused
}

func refusedFor(recipient, reason string) error {
	kind := mesh.MessageInvalid
	for _, k := range mesh.Kinds() {
		if k.String() == reason {
			kind = k
			break
		}
	}
	return &client.ServiceError{Kind: kind, Code: kind.Code(), Description: reason, Reason: recipient + ": " + meaningOf(reason)}
}

// mailbox opens the account, synchronises where it may, and hands out the messages.
func (a *app) mailbox(ctx context.Context, f func(*client.Account, *client.Mailbox) error) error {
	account, err := a.open()
	if err != nil {
		return err
	}
	defer account.Close()
	box, err := a.receive(ctx, account)
	if err != nil {
		return err
	}
	return f(account, box)
}

// receive brings the mailbox up to date. Without network it is as it was: reading needs none.
func (a *app) receive(ctx context.Context, account *client.Account) (*client.Mailbox, error) {
	if a.offline {
		return account.Mailbox()
	}
	box, introduced, report, err := account.Receive(ctx, a.progress())
	a.remarkIntroduced(introduced)
	a.remarkPosted(report)
	var network *client.NetworkError
	if box == nil && errors.As(err, &network) {
		a.remark("as of the last sync: the service cannot be reached now (%v)", network)
		return account.Mailbox()
	}
	if err != nil {
		return nil, err
	}
	for _, u := range box.Unproven {
		a.remark("a message in %s at %d does not prove out and is not shown: %s (%s); it is kept in %s", u.Container, u.Index, u.Fault, u.Reason, u.Evidence)
	}
	return box, nil
}

func (a *app) remarkIntroduced(introduced []client.Introduced) {
	for _, i := range introduced {
		a.remark("%s answered your contact request and is a contact now (%s)", i.Address, strings.Join(i.Rights, ", "))
	}
}

// remarkPosted tells what became of messages that had waited for the network.
func (a *app) remarkPosted(report *client.SyncReport) {
	if report == nil {
		return
	}
	for _, p := range report.Posted {
		if p.Accepted {
			a.remark("message %s went out to %s", p.MessageID, p.Recipient)
		} else {
			a.remark("message %s was refused for %s: %s (%s)", p.MessageID, p.Recipient, meaningOf(p.Reason), p.Reason)
		}
	}
}

// message hands out one message.
func (a *app) message(ctx context.Context, id string, f func(*client.Account, *client.Mailbox, *client.Message) error) error {
	return a.mailbox(ctx, func(account *client.Account, box *client.Mailbox) error {
		m, err := box.Find(id)
		if err != nil {
			return messageError(err)
		}
		return f(account, box, m)
	})
}

func messageError(err error) error {
	var absent *client.NotFoundError
	var several *client.AmbiguousError
	switch {
	case errors.As(err, &absent):
		return notFoundf("no %s; `mesh message list --all` shows all", absent.What)
	case errors.As(err, &several):
		return usagef("%v: write more of it", several)
	}
	return err
}

func (a *app) messageSend() *cobra.Command {
	var text, file, subject string
	c := &cobra.Command{
		Use: "send RECIPIENT...", Short: "Send an encrypted message to contacts", Args: cobra.ArbitraryArgs,
		Long: `Sends a text to one or several contacts. It is signed by this device and encrypted to their accounts: no provider reads it.
All recipients see each other. They must be contacts who brought their key, and must have granted you the right Message:
` + "`mesh contact request`" + ` asks for an exchange of contacts. Without network the message waits here for the next sync.`,
		Example: "  mesh message send bob@beta.example --text 'Lunch at one?'\n  mesh message send bob@beta.example carol@alpha.example --file minutes.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || (text == "") == (file == "") {
				return usagef("usage: mesh message send RECIPIENT... with --text TEXT or --file FILE (- for standard input)")
			}
			if file != "" {
				data, err := a.readInput(file)
				if err != nil {
					return err
				}
				text = string(data)
			}
			return a.posting(cmd.Context(), "the message", func(ctx context.Context, account *client.Account) ([]client.Posted, error) {
				return account.Post(ctx, args, &mesh.MessageText{Subject: subject, Text: text})
			})
		},
	}
	c.Flags().StringVar(&text, "text", "", "what to say")
	c.Flags().StringVar(&file, "file", "", "file with what to say, - for standard input")
	c.Flags().StringVar(&subject, "subject", "", "what it is about")
	return c
}

// posting opens the account, lets f post, and tells what became of it.
func (a *app) posting(ctx context.Context, what string, f func(context.Context, *client.Account) ([]client.Posted, error)) error {
	if err := a.network(); err != nil {
		return err
	}
	account, err := a.open()
	if err != nil {
		return err
	}
	defer account.Close()
	posted, err := f(ctx, account)
	return a.emitPosted(posted, err, what)
}

type messageOutput struct {
	ID        string       `json:"id"`
	Type      string       `json:"type"`
	From      string       `json:"from,omitempty"`
	Account   string       `json:"account,omitempty"` // fingerprint of the sender's account
	Contact   string       `json:"contact,omitempty"` // the sender's name, or key, among the contacts
	Known     bool         `json:"known"`
	Service   bool         `json:"service,omitempty"`
	To        []string     `json:"to,omitempty"`
	Subject   string       `json:"subject,omitempty"`
	Text      string       `json:"text,omitempty"`
	Accept    *bool        `json:"accept,omitempty"`
	Received  string       `json:"received,omitempty"`
	Encrypted bool         `json:"encrypted"`
	Status    statusOutput `json:"status"`
}

type statusOutput struct {
	Unread  bool   `json:"unread"`
	Open    bool   `json:"open"` // waits for an answer
	Expired bool   `json:"expired,omitempty"`
	Deleted bool   `json:"deleted,omitempty"`
	Outcome string `json:"outcome,omitempty"`
}

func messageOut(m *client.Message) messageOutput {
	out := messageOutput{
		ID: m.ID, Type: m.Type, From: m.Sender, Account: m.SenderUDF, Contact: m.Name, Known: m.Contact != "" || m.Own, Service: m.Service,
		To: m.Recipients(), Encrypted: m.Encrypted,
		Status: statusOutput{m.Status.Unread, m.Asks(), m.Status.Expired, m.Status.Deleted, m.Status.Outcome},
	}
	if out.Contact == "" {
		out.Contact = m.Contact
	}
	if !m.Received.IsZero() {
		out.Received = m.Received.UTC().Format(time.RFC3339)
	}
	switch mail := m.Mail.(type) {
	case *mesh.MessageText:
		out.Subject, out.Text = mail.Subject, mail.Text
	case *mesh.RequestContact:
		out.Subject = mail.Subject
	case *mesh.ReplyContact:
		out.Subject = mail.Subject
	case *mesh.GroupInvitation:
		out.Text = mail.Text
	case *mesh.RequestConfirmation:
		out.Text = mail.Text
	case *mesh.ResponseConfirmation:
		out.Accept = mail.Accept
	case *mesh.MessageError:
		out.Text = meaningOf(mail.ErrorCode) + " (" + mail.ErrorCode + ")"
		out.To = []string{mail.Recipient}
	}
	return out
}

// who is the sender as a person reads it.
func (m messageOutput) who() string {
	switch {
	case m.Service:
		return "your provider"
	case m.Contact != "" && m.Contact != m.Account:
		return m.From + " (" + m.Contact + ")"
	case !m.Known:
		return m.From + " (not a contact)"
	}
	return m.From
}

// oneLine is a text of somebody else's in a cell of a table: it can make no other cells or lines.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return s
}

// indented is a text of somebody else's under a head that is ours: no line of it begins where ours do.
func indented(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\u2028", "\n", "\u2029", "\n", "\t", "    ").Replace(s)
	return "  | " + strings.ReplaceAll(s, "\n", "\n  | ")
}

var spoolNames = map[string]string{"inbound": mesh.SpoolInbound, "outbound": mesh.SpoolOutbound, "archive": mesh.SpoolArchive}

func (a *app) messageList() *cobra.Command {
	var all bool
	spool := "inbound"
	c := &cobra.Command{
		Use: "list", Short: "Messages that are unread or wait for an answer", Args: exactly(0),
		Long: `Fetches what is new and lists what is unread or waits for an answer. Each sender's signature was checked, and that the account is
the one among your contacts; what does not prove out is not listed but kept as evidence, and named.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, ok := spoolNames[spool]
			if !ok {
				return usagef("--spool %q: inbound, outbound or archive", spool)
			}
			return a.mailbox(cmd.Context(), func(_ *client.Account, box *client.Mailbox) error {
				out := []messageOutput{}
				for _, m := range box.In(name, all) {
					out = append(out, messageOut(m))
				}
				return a.emit(out, func(w io.Writer) {
					fmt.Fprintln(w, "ID\tTYPE\tFROM\tRECEIVED\tSTATUS\tSUBJECT")
					for _, m := range out {
						about := m.Subject
						if about == "" {
							about = m.Text
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, oneLine(m.Type), oneLine(m.who()), m.Received, m.Status, oneLine(about))
					}
				})
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also what is read, answered or deleted")
	c.Flags().StringVar(&spool, "spool", spool, "inbound, outbound or archive")
	return c
}

func (s statusOutput) String() string {
	var words []string
	add := func(is bool, word string) {
		if is {
			words = append(words, word)
		}
	}
	add(s.Unread, "unread")
	add(s.Open, "open")
	add(s.Expired, "expired")
	add(s.Deleted, "deleted")
	add(s.Outcome != "", strings.ToLower(s.Outcome)+"ed")
	if len(words) == 0 {
		return "done"
	}
	return strings.Join(words, " ")
}

func (a *app) messageRead() *cobra.Command {
	var save string
	c := &cobra.Command{
		Use: "read ID", Short: "Show a message and mark it read", Args: exactly(1),
		Long: "Shows a message. ID may be cut to a beginning that fits only one. Your other devices learn that it was read.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.message(cmd.Context(), args[0], func(account *client.Account, box *client.Mailbox, m *client.Message) error {
				out := messageOut(m)
				if save != "" {
					if err := a.writeOutput(save, []byte(out.Text)); err != nil {
						return err
					}
				}
				if m.Status.Unread && !a.offline && m.Container == mesh.SpoolInbound {
					if err := account.Complete(cmd.Context(), m.ID, "Read"); err != nil {
						a.remark("not marked as read yet: %v", err)
					}
				}
				return a.emit(out, func(w io.Writer) { showMessage(w, out) })
			})
		},
	}
	c.Flags().StringVar(&save, "save", "", "write the text to this file too, - for standard output")
	return c
}

func showMessage(w io.Writer, m messageOutput) {
	fmt.Fprintf(w, "id\t%s\ntype\t%s\nfrom\t%s\n", m.ID, oneLine(m.Type), oneLine(m.who()))
	if m.Account != "" {
		fmt.Fprintf(w, "account\t%s\n", m.Account)
	}
	fmt.Fprintf(w, "to\t%s\nreceived\t%s\nstatus\t%s\n", oneLine(strings.Join(m.To, " ")), m.Received, m.Status)
	if m.Subject != "" {
		fmt.Fprintf(w, "subject\t%s\n", oneLine(m.Subject))
	}
	if m.Accept != nil {
		fmt.Fprintf(w, "answer\t%s\n", yesNo(*m.Accept))
	}
	if m.Text != "" {
		fmt.Fprintf(w, "\n%s\n", indented(m.Text))
	}
	switch {
	case !m.Status.Open || m.Service:
	case m.Type == mesh.TagRequestContact:
		fmt.Fprintf(w, "\n`mesh contact accept %s` takes the contact and answers with yours, `mesh contact reject` does not.\n", m.ID)
	case m.Type == mesh.TagRequestConfirmation:
		fmt.Fprintf(w, "\n`mesh confirm answer %s --yes`, or --no, answers under your signature.\n", m.ID)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (a *app) messageAccept() *cobra.Command {
	var rights []string
	c := &cobra.Command{
		Use: "accept ID", Short: "Accept a request: a contact, or a question", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				if m.Type == mesh.TagRequestConfirmation {
					return a.answer(cmd.Context(), account, m, true)
				}
				return a.acceptContact(cmd.Context(), account, m, rights)
			})
		},
	}
	rightsFlag(c, &rights)
	return c
}

func (a *app) messageReject() *cobra.Command {
	return &cobra.Command{
		Use: "reject ID", Short: "Refuse a request; a question is answered with no", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				if m.Type == mesh.TagRequestConfirmation {
					return a.answer(cmd.Context(), account, m, false)
				}
				return a.completing(m, "rejected", account.Complete(cmd.Context(), m.ID, "Reject"))
			})
		},
	}
}

func (a *app) messageBlock() *cobra.Command {
	return &cobra.Command{
		Use: "block ID", Short: "Refuse a message and everything else that its sender sends", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				return a.completing(m, "blocked", account.Block(cmd.Context(), m))
			})
		},
	}
}

func (a *app) messageComplete() *cobra.Command {
	return &cobra.Command{
		Use: "complete ID RELATIONSHIP", Short: "Tell your devices what became of a message: " + strings.Join(client.Relations(), ", "), Args: exactly(2),
		Example: "  mesh message complete NABC Deleted",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(client.Relations(), args[1]) {
				return usagef("%q is none of %s", args[1], strings.Join(client.Relations(), ", "))
			}
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				return a.completing(m, args[1], account.Complete(cmd.Context(), m.ID, args[1]))
			})
		},
	}
}

// completing ends a command that has told one's own devices something.
func (a *app) completing(m *client.Message, what string, err error) error {
	var network *client.NetworkError
	if errors.As(err, &network) {
		a.remark("kept on this machine, the service cannot be reached now (%v); the next `mesh account sync` sends it", network)
		err = nil
	}
	if err != nil {
		return err
	}
	return a.emit(map[string]string{"id": m.ID, "status": what}, func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", what, m.ID) })
}

func (a *app) messageStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status ID", Short: "What became of a message that you sent", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.message(cmd.Context(), args[0], func(_ *client.Account, box *client.Mailbox, m *client.Message) error {
				if m.Container != mesh.SpoolOutbound {
					return usagef("%s is a message that you got; its status is in `mesh message read`", m.ID)
				}
				type delivery struct {
					Recipient string `json:"recipient"`
					State     string `json:"state"`
					Reason    string `json:"reason,omitempty"`
					Meaning   string `json:"meaning,omitempty"`
					At        string `json:"at"`
					Outcome   string `json:"outcome,omitempty"`
				}
				out := []delivery{}
				for _, d := range box.Deliveries(m) {
					out = append(out, delivery{d.Recipient, d.State, d.Reason, meaningOf(d.Reason), d.At.UTC().Format(time.RFC3339), d.Outcome})
				}
				return a.emit(map[string]any{"id": m.ID, "type": m.Type, "deliveries": out}, func(w io.Writer) {
					fmt.Fprintln(w, "RECIPIENT\tSTATE\tSINCE\tOUTCOME\tREASON")
					for _, d := range out {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.Recipient, d.State, d.At, d.Outcome, strings.TrimSpace(d.Reason+" "+d.Meaning))
					}
				})
			})
		},
	}
}

func (a *app) messageReport() *cobra.Command {
	var text string
	c := &cobra.Command{
		Use: "report ID", Short: "Report a message to its sender's provider", Args: exactly(1),
		Long: `Sends the message, as it was signed, to abuse@ the sender's domain, under your signature. An encrypted message stays so: say in --text
what is wrong with it. The report itself is not encrypted.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.network(); err != nil {
				return err
			}
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				posted, err := account.Report(cmd.Context(), m, text)
				return a.emitPosted(posted, err, "the report")
			})
		},
	}
	c.Flags().StringVar(&text, "text", "", "what is wrong with it")
	return c
}
