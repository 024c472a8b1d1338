package client

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

const (
	// maxQuestion bounds a question: its answer brings it along, and both are messages.
	maxQuestion = 8 << 10

	// confirmPoll is how long Wait waits between two questions to the service: nobody answers faster than he reads.
	confirmPoll = 2 * time.Second
)

// Ask sends a question that is answered by yes or no, signed (FLOWS §7). granted says that the recipient got the right
// Confirmation: without it his answer would not be let in.
func (a *Account) Ask(ctx context.Context, recipient, text string) (posted []Posted, granted bool, err error) {
	if text == "" || len(text) > maxQuestion {
		return nil, false, mesh.Errorf("client.Ask", mesh.RequestSize, "a question of %d octets, the most is %d", len(text), maxQuestion)
	}
	if granted, err = a.Grant(recipient, GrantConfirmation); err != nil {
		return nil, false, err
	}
	if granted {
		if _, err := a.Sync(ctx, nil); err != nil {
			return nil, granted, err
		}
	}
	posted, err = a.Post(ctx, []string{recipient}, &mesh.RequestConfirmation{Text: text})
	return posted, granted, err
}

// Answer answers a question. The answer brings the question along: who has both knows what was agreed to.
func (a *Account) Answer(ctx context.Context, m *Message, accept bool) ([]Posted, error) {
	const op = "client.Answer"
	if m.Type != mesh.TagRequestConfirmation || m.Container != mesh.SpoolInbound || m.Own {
		return nil, mesh.Errorf(op, mesh.MessageUnsupported, "%s is no question", m.Type)
	}
	if !slices.Contains(mesh.RightsOf(a.member.Connection), mesh.RightConfirmation) {
		return nil, mesh.Errorf(op, mesh.InsufficientPrivilege, "this device may not answer: it does not have the right Confirmation")
	}
	response := &mesh.ResponseConfirmation{Request: m.Envelope, Accept: mesh.Bool(accept)}
	response.MessageID = udf.ResponseID(m.ID)
	response.References = []mesh.Reference{{MessageID: m.ID, ResponseID: response.MessageID}}
	posted, err := a.Post(ctx, []string{m.Sender}, response)
	if err != nil {
		return nil, err
	}
	relation := relationReject
	if accept {
		relation = relationAccept
	}
	return posted, a.complete(ctx, mesh.Reference{MessageID: m.ID, Relationship: relation})
}

// judge verifies the answer to a question of ours: by somebody whom we asked, as the contact that he was and is, by a device that may
// answer, of this very question.
func (b *Mailbox) judge(question, answer *Message) (accept bool, err error) {
	r, ok := answer.Mail.(*mesh.ResponseConfirmation)
	switch {
	case !ok || r.Accept == nil || r.Request == nil:
		return false, failed(checkAnswer, "it is no answer")
	case answer.ID != udf.ResponseID(question.ID):
		return false, failed(checkAnswer, "it is of another question")
	case answer.Signer == nil || answer.Contact == "" || !slices.Contains(question.Recipients(), answer.Sender):
		return false, failed(checkAnswer, "it is not by who was asked")
	case !slices.Contains(mesh.RightsOf(answer.Signer.Connection), mesh.RightConfirmation):
		return false, failed(checkAnswer, "the device that signed it may not answer")
	case !bytes.Equal(r.Request.Digest(), question.Envelope.Digest()):
		return false, failed(checkAnswer, "the question in it is another than was asked")
	}
	return *r.Accept, nil
}

// Confirmation is a verified answer.
type Confirmation struct {
	Question, Answer *Message
	Accept           bool
}

// Confirmation verifies the answer to a question of mmm_Outbound; nil when there is none yet. It asks no service. What came in place
// of an answer and is none is a *ProofError with its evidence.
func (a *Account) Confirmation(box *Mailbox, question *Message) (*Confirmation, error) {
	if question.Type != mesh.TagRequestConfirmation || question.Container != mesh.SpoolOutbound {
		return nil, mesh.Errorf("client.Confirmation", mesh.MessageUnsupported, "%s in %s is no question of ours", question.Type, question.Container)
	}
	answer := box.byEnvelope[udf.EnvelopeID(udf.ResponseID(question.ID))]
	if answer == nil {
		return nil, nil
	}
	accept, err := box.judge(question, answer)
	var f *fault
	if errors.As(err, &f) {
		f.index, f.frame = answer.Index, answer.Envelope
		return nil, a.proof(answer.Container, f, nil)
	}
	return &Confirmation{question, answer, accept}, err
}

// Wait synchronises until there is an answer to a question, and verifies it.
func (a *Account) Wait(ctx context.Context, questionID string) (*Confirmation, error) {
	for {
		box, _, _, err := a.Receive(ctx, nil)
		if err != nil {
			return nil, err
		}
		question, err := box.Find(questionID)
		if err != nil {
			return nil, err
		}
		c, err := a.Confirmation(box, question)
		if err != nil {
			return nil, err
		}
		if c != nil {
			if c.Answer.Status.Open {
				err = a.complete(ctx, mesh.Reference{MessageID: c.Answer.ID, Relationship: relationRead},
					mesh.Reference{MessageID: c.Answer.ID, Relationship: relationClosed})
			}
			return c, err
		}
		if err := sleep(ctx, confirmPoll); err != nil {
			return nil, err
		}
	}
}

// confirmationFile is a kept confirmation: question and answer as they were signed.
type confirmationFile struct {
	Question *dare.Envelope `json:"Question"`
	Answer   *dare.Envelope `json:"Answer"`
}

// Export is the confirmation as a file that VerifyConfirmation reads.
func (c *Confirmation) Export() ([]byte, error) {
	return jbcd.Marshal(confirmationFile{c.Question.Envelope, c.Answer.Envelope})
}

// VerifyConfirmation verifies an exported confirmation with the keys and contacts of this account, without any service. Both
// messages are encrypted to the account: nobody else can read what they say.
func (a *Account) VerifyConfirmation(file []byte) (*Confirmation, error) {
	const op = "client.VerifyConfirmation"
	var f confirmationFile
	if err := jbcd.Unmarshal(file, &f); err != nil {
		return nil, mesh.E(op, mesh.BadRequest, err)
	}
	if f.Question == nil || f.Answer == nil {
		return nil, mesh.Errorf(op, mesh.BadRequest, "question or answer is missing")
	}
	people, err := a.contacts()
	if err != nil {
		return nil, err
	}
	v, err := a.mailVerifier(people)
	if err != nil {
		return nil, err
	}
	c := &Confirmation{Question: &Message{Container: mesh.SpoolOutbound}, Answer: &Message{Container: mesh.SpoolInbound}}
	err = v.message(c.Question, f.Question)
	if err == nil && (!c.Question.Own || c.Question.Type != mesh.TagRequestConfirmation) {
		err = failed(checkAnswer, "the question is not one that this account asked")
	}
	if err == nil {
		err = v.message(c.Answer, f.Answer)
	}
	if err == nil {
		c.Accept, err = new(Mailbox).judge(c.Question, c.Answer)
	}
	var wrong *fault
	if errors.As(err, &wrong) {
		return nil, &ProofError{Fault: string(wrong.check), Index: -1, Err: wrong.err}
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Report reports a message to the provider of its sender (MessageReport, docs/divergences.md). What is reported goes as it was
// signed; text is what the reporter says, in the clear. A message that is too long goes without its payload, whose digest is signed.
func (a *Account) Report(ctx context.Context, m *Message, text string) ([]Posted, error) {
	const op = "client.Report"
	if m.Own || m.Service || m.Container != mesh.SpoolInbound {
		return nil, mesh.Errorf(op, mesh.BadRequest, "the sender is no other account")
	}
	sender, err := mesh.ParseAddress(m.Sender)
	if err != nil {
		return nil, err
	}
	if len(text) > maxQuestion {
		return nil, mesh.Errorf(op, mesh.RequestSize, "a text of %d octets, the most is %d", len(text), maxQuestion)
	}
	report := &mesh.MessageReport{Reported: m.Envelope, Text: text}
	report.References = []mesh.Reference{{MessageID: m.ID}}
	if mesh.MessageSize(m.Envelope) > maxReported {
		report.Reported = &dare.Envelope{Header: m.Envelope.Header, Trailer: m.Envelope.Trailer}
	}
	return a.post(ctx, []string{"abuse@" + sender.Domain}, []letter{{mail: report, clear: true}}, nil)
}

// maxReported is what fits into a report whole: as text of a text it grows by 4/3.
const maxReported = 32 << 10
