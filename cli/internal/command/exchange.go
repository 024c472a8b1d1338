package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mathmesh/meshd/cli/internal/formats"
	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/spf13/cobra"
)

func rightsFlag(c *cobra.Command, rights *[]string) {
	c.Flags().StringSliceVar(rights, "rights", client.DefaultGrants(), "what the contact may send you: "+strings.Join(client.Grants(), ", "))
}

func checkRights(rights []string) error {
	for _, r := range rights {
		if !slices.Contains(client.Grants(), r) {
			return usagef("--rights %q: some of %s", r, strings.Join(client.Grants(), ","))
		}
	}
	return nil
}

func (a *app) contactRequest() *cobra.Command {
	var subject string
	var rights []string
	c := &cobra.Command{
		Use: "request RECIPIENT", Short: "Ask somebody for an exchange of contacts", Args: exactly(1),
		Long: `Sends your contact and asks for his. When he accepts his contact comes back with a proof that it answers this request; the next
` + "`mesh account sync`, or `mesh message list`" + `, takes it without asking and gives him the rights that you say here.
The first request to somebody is signed, and not encrypted: his key comes with his answer.`,
		Example: "  mesh contact request bob@beta.example --subject 'We met on Tuesday' --rights Contact,Message,Confirmation",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRights(rights); err != nil {
				return err
			}
			return a.posting(cmd.Context(), "the request", func(ctx context.Context, account *client.Account) ([]client.Posted, error) {
				return account.RequestContact(ctx, args[0], subject, rights)
			})
		},
	}
	c.Flags().StringVar(&subject, "subject", "", "what it is about")
	rightsFlag(c, &rights)
	return c
}

func (a *app) contactAccept() *cobra.Command {
	var rights []string
	c := &cobra.Command{
		Use: "accept ID", Short: "Take the contact of a request, and answer with yours", Args: exactly(1),
		Long: `Adds the sender of the request ID to your contacts, with the rights that you say, and sends him your contact. From then on his account
is the one of that fingerprint: a message in his name by another is not shown.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				return a.acceptContact(cmd.Context(), account, m, rights)
			})
		},
	}
	rightsFlag(c, &rights)
	return c
}

func (a *app) acceptContact(ctx context.Context, account *client.Account, m *client.Message, rights []string) error {
	if err := checkRights(rights); err != nil {
		return err
	}
	if err := a.network(); err != nil {
		return err
	}
	if m.Type != mesh.TagRequestContact && m.Type != mesh.TagReplyContact {
		return usagef("%s is a %s: nothing to accept", m.ID, oneLine(m.Type))
	}
	entry, posted, err := account.AcceptContact(ctx, m, rights)
	var network *client.NetworkError
	if entry != nil && errors.As(err, &network) {
		a.remark("kept on this machine, the service cannot be reached now (%v); the next `mesh account sync` sends it", network)
		err = nil
	}
	if err != nil {
		return err
	}
	for _, p := range posted {
		if !p.Accepted {
			a.remark("your contact did not reach %s: %s (%s)", p.Recipient, meaningOf(p.Reason), p.Reason)
		}
	}
	return a.emit(map[string]any{"id": entry.Key, "address": m.Sender, "account": m.SenderUDF, "rights": rights}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is a contact: account %s, may send %s\n", m.Sender, m.SenderUDF, strings.Join(rights, ", "))
	})
}

func (a *app) contactReject() *cobra.Command {
	return &cobra.Command{
		Use: "reject ID", Short: "Refuse a contact request; its sender is not told", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				if m.Type != mesh.TagRequestContact && m.Type != mesh.TagReplyContact {
					return usagef("%s is a %s, no contact request", m.ID, oneLine(m.Type))
				}
				return a.completing(m, "rejected", account.Complete(cmd.Context(), m.ID, "Reject"))
			})
		},
	}
}

func (a *app) contactSelf() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "self", Short: "Show your own contact, or set it from a vCard file", Args: exactly(0),
		Long: `Your own contact is what others get in an exchange: address, fingerprint and key of the account, and what the vCard file says.
Others keep what they got; a new exchange brings them the new one.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return a.showSelf()
			}
			data, err := a.readInput(file)
			if err != nil {
				return err
			}
			found, skipped, err := formats.ReadVCard(data)
			if err != nil {
				return err
			}
			if len(found) != 1 {
				return usagef("%s has %d cards that can be read (%d cannot): one is needed", file, len(found), len(skipped))
			}
			account, err := a.open()
			if err != nil {
				return err
			}
			if err := errors.Join(account.SetSelf(found[0].Contact), account.Close()); err != nil {
				return err
			}
			return a.changeOne(cmd.Context(), mesh.CatalogContact, "set", func(*client.Catalog) (string, error) { return "your own contact", nil })
		},
	}
	c.Flags().StringVar(&file, "file", "", "vCard file with one card")
	return c
}

func (a *app) showSelf() error {
	account, err := a.open()
	if err != nil {
		return err
	}
	defer account.Close()
	self, err := account.Self()
	if err != nil {
		return err
	}
	d := describe(*self)
	return a.emit(d, func(w io.Writer) {
		fmt.Fprintf(w, "id\t%s\nname\t%s\n", d.ID, d.Name)
		for _, addr := range d.Addresses {
			fmt.Fprintf(w, "address\t%s\n", addr)
		}
	})
}
