package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/spf13/cobra"
)

func (a *app) confirmCommand() *cobra.Command {
	return group("confirm", "Questions that are answered by a signed yes or no: ask, answer, wait, verify",
		a.confirmAsk(), a.confirmAnswer(), a.confirmWait(), a.confirmVerify())
}

func (a *app) confirmAsk() *cobra.Command {
	return &cobra.Command{
		Use: "ask RECIPIENT TEXT", Short: "Ask a contact a yes/no question", Args: exactly(2),
		Long: `Sends a question. Its ID is for ` + "`mesh confirm wait`" + `. The contact must have granted you the right Confirmation; he is granted it
too, since his answer would not be let in without.`,
		Example: "  mesh confirm ask bob@beta.example 'Pay invoice 17, 200 EUR?'",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.posting(cmd.Context(), "the question", func(ctx context.Context, account *client.Account) ([]client.Posted, error) {
				posted, granted, err := account.Ask(ctx, args[0], args[1])
				if granted {
					a.remark("%s has the right Confirmation now, so that the answer is let in", args[0])
				}
				return posted, err
			})
		},
	}
}

func (a *app) confirmAnswer() *cobra.Command {
	var yes, no bool
	c := &cobra.Command{
		Use: "answer ID", Short: "Answer a question, under your signature", Args: exactly(1),
		Long: `Answers the question ID by --yes or --no. The answer is signed by this device and brings the question along: whoever asked can show
both. Read the question first: ` + "`mesh message read ID`" + ` says who asks, by account and by contact.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if yes == no {
				return usagef("say --yes or --no")
			}
			return a.message(cmd.Context(), args[0], func(account *client.Account, _ *client.Mailbox, m *client.Message) error {
				return a.answer(cmd.Context(), account, m, yes)
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "yes")
	c.Flags().BoolVar(&no, "no", false, "no")
	return c
}

func (a *app) answer(ctx context.Context, account *client.Account, m *client.Message, accept bool) error {
	if err := a.network(); err != nil {
		return err
	}
	if m.Type != mesh.TagRequestConfirmation {
		return usagef("%s is a %s, no question", m.ID, oneLine(m.Type))
	}
	posted, err := account.Answer(ctx, m, accept)
	return a.emitPosted(posted, err, "the answer")
}

func (a *app) confirmWait() *cobra.Command {
	var timeout time.Duration
	var save string
	c := &cobra.Command{
		Use: "wait ID", Short: "Wait for the answer to a question, and verify it", Args: exactly(1),
		Long: `Waits for the answer to the question ID and verifies it: signed by a device of the contact who was asked, which may answer, of this
very question. Exit code 0: there is an answer, yes or no; 8: none in time; 6: what came is none.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.network(); err != nil {
				return err
			}
			account, err := a.open()
			if err != nil {
				return err
			}
			defer account.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			c, err := account.Wait(ctx, args[0])
			if err != nil && ctx.Err() != nil && cmd.Context().Err() == nil {
				return fmt.Errorf("no answer within %s: %w", timeout, context.DeadlineExceeded)
			}
			if err != nil {
				return messageError(err)
			}
			if save != "" {
				data, err := c.Export()
				if err != nil {
					return err
				}
				if err := a.writeOutput(save, data); err != nil {
					return err
				}
			}
			return a.emitConfirmation(c)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	c.Flags().StringVar(&save, "save", "", "keep question and answer in this file, for `mesh confirm verify`")
	return c
}

func (a *app) confirmVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE|ID", Short: "Verify a kept answer, without any service", Args: exactly(1),
		Long: `Verifies a file that ` + "`mesh confirm wait --save`" + ` has written, or the answer to the question ID as it is on this machine: all signatures,
that the account is the contact's, that the answer is of the question. Nothing is asked of any service.`,
		RunE: func(_ *cobra.Command, args []string) error {
			account, err := a.open()
			if err != nil {
				return err
			}
			defer account.Close()
			c, err := a.keptConfirmation(account, args[0])
			if err != nil {
				return messageError(err)
			}
			return a.emitConfirmation(c)
		},
	}
}

func (a *app) keptConfirmation(account *client.Account, what string) (*client.Confirmation, error) {
	box, err := account.Mailbox()
	if err != nil {
		return nil, err
	}
	question, err := box.Find(what)
	var absent *client.NotFoundError
	if errors.As(err, &absent) {
		data, err := a.readInput(what)
		if err != nil {
			return nil, notFoundf("%q is no question of yours, and no file: %v", what, err)
		}
		return account.VerifyConfirmation(data)
	}
	if err != nil {
		return nil, err
	}
	c, err := account.Confirmation(box, question)
	if err == nil && c == nil {
		return nil, notFoundf("no answer to %s yet", question.ID)
	}
	return c, err
}

func (a *app) emitConfirmation(c *client.Confirmation) error {
	text := ""
	if q, ok := c.Question.Mail.(*mesh.RequestConfirmation); ok {
		text = q.Text
	}
	out := map[string]any{
		"id": c.Question.ID, "question": text, "accept": c.Accept, "by": c.Answer.Sender, "account": c.Answer.SenderUDF,
		"device": c.Answer.Signer.DeviceUDF, "verified": true,
	}
	return a.emit(out, func(w io.Writer) {
		fmt.Fprintf(w, "answer\t%s\nby\t%s\naccount\t%s\ndevice\t%s\nquestion\t%s\n", yesNo(c.Accept), c.Answer.Sender, c.Answer.SenderUDF, c.Answer.Signer.DeviceUDF, oneLine(text))
	})
}
