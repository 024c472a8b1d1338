package main

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

func messageCommand(out *output) *cobra.Command {
	var t target
	var account string
	trace := &cobra.Command{
		Use:   "trace MESSAGEID --account ADDRESS",
		Short: "Follow a message of a sender through the provider: accepted, on its way, delivered or failed",
		Long: `trace asks the shard of the sender for the outbox rows of a message, one for each recipient: when it was accepted, how often it was
tried, when the next attempt is due, and the verdict with the rule that gave it. The other side of a message that crossed to another provider is
seen there, under the same MessageID (explain).

  meshctl message trace NCVR-… --account alice@alpha.example --state /tmp/mesh.json`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := t.trace(cmd.Context(), account, args[0])
			if err != nil {
				return err
			}
			if len(m.Outbox) == 0 {
				return mesh.Errorf("meshctl", mesh.ResponseNotFound, "%s has posted no message %s", m.Account, m.Message)
			}
			return out.write(cmd.OutOrStdout(), m, m.outboxTable())
		},
	}
	explain := &cobra.Command{
		Use:   "explain MESSAGEID --account ADDRESS",
		Short: "Say why a message reached a recipient or did not: rule, inputs, version of the policy",
		Long: `explain asks the shard of the recipient for the verdicts on a message: which rule decided, what it saw, and the version of the site
policy at that time. Nothing of the content is shown.

  meshctl message explain NCVR-… --account bob@beta.example --state /tmp/mesh.json`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := t.trace(cmd.Context(), account, args[0])
			if err != nil {
				return err
			}
			if len(m.Verdicts) == 0 {
				return mesh.Errorf("meshctl", mesh.ResponseNotFound, "no verdict on message %s for %s", m.Message, m.Account)
			}
			return out.write(cmd.OutOrStdout(), m, m.verdictTable())
		},
	}
	for _, cmd := range []*cobra.Command{trace, explain} {
		t.flags(cmd)
		cmd.Flags().StringVar(&account, "account", "", "address of the sender (trace) or the recipient (explain) (required)")
		_ = cmd.MarkFlagRequired("account")
	}
	return group("message", "Follow messages", trace, explain)
}

// messageTrace is what a shard knows of a message of an account.
type messageTrace struct {
	Account  string          `json:"account"`
	Message  string          `json:"message"`
	Outbox   []tracedRow     `json:"outbox,omitempty"`
	Verdicts []tracedVerdict `json:"verdicts,omitempty"`
}

type tracedRow struct {
	Recipient   string     `json:"recipient"`
	Destination string     `json:"destination"` // domain; empty: local
	Type        string     `json:"type"`
	State       string     `json:"state"`
	Attempts    uint32     `json:"attempts"`
	Accepted    time.Time  `json:"accepted"`
	Next        *time.Time `json:"next_attempt,omitempty"`
	Verdict     *verdict   `json:"verdict,omitempty"`
	VerdictAt   *time.Time `json:"verdict_at,omitempty"`
}

type tracedVerdict struct {
	Sender  string          `json:"sender"`
	UDF     string          `json:"sender_udf"`
	Type    string          `json:"type"`
	At      time.Time       `json:"at"`
	Index   *int64          `json:"index,omitempty"` // in mmm_Inbound
	Verdict verdict         `json:"verdict"`
	Inputs  json.RawMessage `json:"inputs,omitempty"`
}

type verdict struct {
	Accepted bool   `json:"accepted"`
	Code     uint32 `json:"code,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Rule     string `json:"rule"`
	Policy   string `json:"policy"`
}

func verdictOf(v *shardpb.AccessVerdict) verdict {
	w := verdict{Accepted: v.GetAccepted(), Code: v.GetCode(), Rule: v.GetRule(), Policy: v.GetPolicyVersion()}
	if w.Code != 0 {
		w.Reason = mesh.KindOfCode(mesh.Code{Extended: int(w.Code)}).String()
	}
	return w
}

func (v verdict) String() string {
	if v.Accepted {
		return "accepted"
	}
	return "refused: " + v.Reason
}

func (t *target) trace(ctx context.Context, account, id string) (*messageTrace, error) {
	address, err := mesh.ParseAddress(account)
	if err != nil {
		return nil, usageError{err}
	}
	if err := t.resolve(address.Domain); err != nil {
		return nil, err
	}
	s, err := t.open()
	if err != nil {
		return nil, err
	}
	m := &messageTrace{Account: address.String(), Message: id}
	shard, _ := s.source.Map().Lookup(shardmap.Of(m.Account)) // a map that was read is complete
	return m, s.admin(ctx, shard.Target, func(ctx context.Context, c shardpb.AdminServiceClient) error {
		r, err := c.Trace(ctx, &shardpb.TraceRequest{Account: m.Account, MessageId: id})
		if err == nil {
			m.read(r)
		}
		return err
	})
}

func (m *messageTrace) read(r *shardpb.TraceResponse) {
	for _, row := range r.GetOutbox() {
		w := tracedRow{
			Recipient: row.GetRecipient(), Destination: row.GetDomain(), Type: row.GetMessageType(), State: row.GetState(),
			Attempts: row.GetAttempts(), Accepted: row.GetCreated().AsTime(),
		}
		if row.GetVerdictAt() != nil {
			at, v := row.GetVerdictAt().AsTime(), verdictOf(row.GetVerdict())
			w.VerdictAt, w.Verdict = &at, &v
		} else {
			next := row.GetNextAttempt().AsTime()
			w.Next = &next
		}
		m.Outbox = append(m.Outbox, w)
	}
	for _, v := range r.GetVerdicts() {
		w := tracedVerdict{
			Sender: v.GetSenderAddress(), UDF: v.GetSenderProfileUdf(), Type: v.GetMessageType(), At: v.GetAt().AsTime(), Index: v.Index,
			Verdict: verdictOf(v.GetVerdict()),
		}
		if json.Valid([]byte(v.GetInputs())) {
			w.Inputs = json.RawMessage(v.GetInputs())
		}
		m.Verdicts = append(m.Verdicts, w)
	}
}

func (m *messageTrace) outboxTable() *table {
	t := table{head: []string{"RECIPIENT", "TYPE", "ACCEPTED", "STATE", "ATTEMPTS", "THEN", "VERDICT", "RULE"}}
	for _, r := range m.Outbox {
		then, says, rule := "", "", ""
		if r.Next != nil {
			then = "next " + r.Next.Format(time.RFC3339)
		}
		if r.Verdict != nil {
			then, says, rule = r.VerdictAt.Format(time.RFC3339), r.Verdict.String(), r.Verdict.Rule
		}
		t.add(r.Recipient, r.Type, r.Accepted.Format(time.RFC3339), r.State, r.Attempts, then, says, rule)
	}
	return &t
}

func (m *messageTrace) verdictTable() *table {
	var t table
	for _, v := range m.Verdicts {
		t.add("sender", v.Sender)
		t.add("sender UDF", v.UDF)
		t.add("type", v.Type)
		t.add("at", v.At.Format(time.RFC3339))
		t.add("verdict", v.Verdict)
		t.add("rule", v.Verdict.Rule)
		t.add("policy", v.Verdict.Policy)
		if v.Index != nil {
			t.add("frame", "mmm_Inbound "+strconv.FormatInt(*v.Index, 10))
		}
		t.add("inputs", string(v.Inputs))
	}
	return &t
}
