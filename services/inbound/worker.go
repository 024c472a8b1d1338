package inbound

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

const (
	// inFlight messages at once: each waits for two calls to a shard most of the time.
	inFlight = 64
	// handleTimeout bounds one message: who waits for the verdict has gone after 3 s (D-54), discovery may take longer.
	handleTimeout = 20 * time.Second
	// callTimeout of one call to a shard: one that says nothing must not take the time of all recipients.
	callTimeout = 5 * time.Second
	// retryAfter a fault of ours: database or network away.
	retryAfter = 2 * time.Second
	// maxTries out of the queue, half a minute: a message that waits there takes the place of others' (queue.maxAckPending). What is given
	// back comes again: from the outbox row when its lease is over, from the sender's service because it has heard no verdict.
	maxTries = 4
	// maxDomains of one sender are looked up: each is a connection to where a stranger wants it.
	maxDomains = 8
)

// errUndiscovered: who speaks for the sender's domain could not be found out now. The sender's side can see to that, we cannot.
var errUndiscovered = errors.New("the service of the sender's domain was not found")

// Config is what a Worker works with.
type Config struct {
	Queue   *queue.Conn
	Shards  *rpc.Router
	Site    *SiteFile
	Lookup  Lookup
	Domains []string // of this provider
	Log     *slog.Logger
	Meter   metric.MeterProvider
}

// Worker applies access control to messages. Several may run.
type Worker struct {
	queue     *queue.Conn
	shards    *rpc.Router
	site      *SiteFile
	services  *accreditation
	incidents *allowances
	domains   []string
	log       *slog.Logger
	verdicts  metric.Int64Counter
}

// New makes a Worker.
func New(c Config) (*Worker, error) {
	w := &Worker{
		queue: c.Queue, shards: c.Shards, site: c.Site, services: newAccreditation(c.Lookup), incidents: newAllowances(time.Now), domains: c.Domains, log: c.Log,
	}
	var err error
	w.verdicts, err = c.Meter.Meter("github.com/mathmesh/meshd/services/inbound").Int64Counter("mesh_verdict_total",
		metric.WithDescription("Verdicts on messages, by the rule that decided."))
	return w, err
}

// Run works until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	go w.site.Watch(ctx, w.log)
	return w.queue.Consume(ctx, queue.Inbound, inFlight, w.handle)
}

// Ready says whether the worker can do its work: its queue and its map are there. Peers are not asked.
func (w *Worker) Ready() error { return errors.Join(w.queue.Ready(), w.shards.Ready()) }

// handle decides one message for each of its recipients. What was decided stands, when the message comes again for the others.
func (w *Worker) handle(ctx context.Context, m *queue.Message) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	var err error
	switch fault := w.all(ctx, m.Delivery); {
	case fault == nil:
		err = m.Ack()
	case givenBack(fault, m.Tries):
		w.log.WarnContext(ctx, "message not decided: it comes from its sender's side again", slog.Int("tries", m.Tries), slog.Any("err", fault))
		err = m.Ack()
	default:
		w.log.WarnContext(ctx, "message not decided", slog.Int("tries", m.Tries), slog.Any("err", fault))
		err = m.Retry(retryAfter)
	}
	if err != nil { // it comes again, which is harmless
		w.log.WarnContext(ctx, "queue", slog.Any("err", err))
	}
}

// givenBack says that a message which is not decided does not wait in the queue any longer.
func givenBack(fault error, tries int) bool {
	return errors.Is(fault, errUndiscovered) || tries >= maxTries
}

// all decides for every recipient, in an order that differs from try to try: those of a shard that is away must not use up the time of the same
// others each time.
func (w *Worker) all(ctx context.Context, d *eventpb.Delivery) error {
	common, to := w.read(d), d.GetTo()
	var errs []error
	for _, i := range rand.Perm(len(to)) {
		if err := w.one(ctx, common, to[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// delivery calls the shard that has the address.
func (w *Worker) delivery(ctx context.Context, address string, f func(context.Context, shardpb.DeliveryServiceClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return w.shards.Delivery(ctx, address, f)
}

// read makes the facts that are the same for all recipients, as far as the octets tell. A nil letter is refused by a rule.
func (w *Worker) read(d *eventpb.Delivery) facts {
	f := facts{delivery: d, fromOther: d.GetSenderAccount() == "", size: len(d.GetEnvelope())}
	if f.size > mesh.MaxMessage {
		return f
	}
	e, err := dare.Parse(d.GetEnvelope())
	if err != nil {
		return f
	}
	f.envelope, f.size = e, mesh.MessageSize(e)
	f.verify = sync.OnceValue(func() *mesh.Sender {
		sender, err := mesh.VerifyMessage(e)
		if err != nil {
			return nil // a rule refuses it
		}
		return sender
	})
	if letter, err := mesh.ReadLetter(e); err == nil {
		f.letter = letter
	}
	return f
}

// outcome is what became of a message for one recipient.
type outcome struct {
	verdict  *shardpb.AccessVerdict
	index    int64
	redirect string
}

// one decides a message for one recipient, has it recorded, and tells who waits. An error means that nobody knows the outcome.
func (w *Worker) one(ctx context.Context, f facts, to *eventpb.Address) error {
	f.recipient = to.GetAddress()
	site := w.site.Site()
	o, err := w.decide(ctx, &f, site)
	if err != nil {
		return err
	}
	if err := w.record(ctx, &f, o); err != nil {
		return err
	}
	result := mesh.ResultReject
	if o.verdict.GetAccepted() {
		result = mesh.ResultAccept
	}
	w.verdicts.Add(ctx, 1, metric.WithAttributes(
		attribute.String("corner", "ingress"), attribute.String("verdict", result), attribute.String("rule", o.verdict.GetRule())))
	if waiter := f.delivery.GetWaiter(); waiter != "" { // best effort: who waits does so for 3 s only
		err := w.queue.SendVerdict(waiter, &eventpb.Verdict{
			DeliveryId: to.GetDeliveryId(), Accepted: o.verdict.GetAccepted(),
			Code: o.verdict.GetCode(), Index: o.index, Redirect: o.redirect,
		})
		if err != nil {
			w.log.WarnContext(ctx, "verdict not told", slog.Any("err", err))
		}
	}
	if f.fromOther {
		return nil
	}
	return w.delivery(ctx, f.delivery.GetSenderAccount(), func(ctx context.Context, c shardpb.DeliveryServiceClient) error {
		_, err := c.Verdict(ctx, &shardpb.VerdictRequest{SenderAccount: f.delivery.GetSenderAccount(), DeliveryId: to.GetDeliveryId(), Verdict: o.verdict})
		return err
	})
}

// accepted is the name of the outcome that no rule refused.
const accepted = "accepted"

// decide asks the rules stage by stage.
func (w *Worker) decide(ctx context.Context, f *facts, site *Site) (*outcome, error) {
	for s := range stages {
		if err := w.learn(ctx, f, s); err != nil {
			return nil, err
		}
		if r := decide(s, f, site); r != nil {
			o := refusal(r.name, r.kind, site)
			o.redirect = f.standing.GetRedirect()
			return o, w.incident(ctx, f, r)
		}
	}
	if name, kind, refused := site.refuse(f); refused {
		return refusal(name, kind, site), nil
	}
	return &outcome{verdict: &shardpb.AccessVerdict{Accepted: true, Rule: accepted, PolicyVersion: site.Version()}}, nil
}

func refusal(rule string, kind mesh.Kind, site *Site) *outcome {
	return &outcome{verdict: verdict(rule, kind, site.Version())}
}

// verdict is a refusal.
func verdict(rule string, kind mesh.Kind, policy string) *shardpb.AccessVerdict {
	return &shardpb.AccessVerdict{Code: uint32(kind.Code().Extended), Rule: rule, PolicyVersion: policy}
}

// learn fills in the facts of a stage.
func (w *Worker) learn(ctx context.Context, f *facts, s stage) error {
	switch s {
	case stageSender:
		f.sender = f.verify()
		if f.sender != nil && !f.fromOther {
			f.address = addressOf(f.sender, f.delivery.GetSenderAccount())
		}
	case stageService:
		return w.service(ctx, f)
	case stageRecipient:
		return w.standing(ctx, f)
	}
	return nil
}

// service finds the address for whose domain the transmitting service is accredited (D-38). The service names no domain of its own: it
// speaks for any domain whose ProfileService it is.
func (w *Worker) service(ctx context.Context, f *facts) error {
	if !f.fromOther {
		f.serviceDomain = domainOf(f.address)
		return nil
	}
	var first error
	asked := make(map[string]bool)
	for _, address := range f.claims() {
		domain := domainOf(address)
		if slices.Contains(w.domains, domain) || asked[domain] || len(asked) == maxDomains {
			continue // ours: nobody transmits it to us
		}
		asked[domain] = true
		ok, err := w.services.speaks(ctx, f.delivery.GetServiceUdf(), domain)
		if f.serviceDomain == "" || ok {
			f.serviceDomain, f.address = domain, address
		}
		if ok {
			f.accredited = true
			return nil
		}
		first = errors.Join(first, err)
	}
	if first != nil { // no verdict, the other side comes again
		return fmt.Errorf("%w: %w", errUndiscovered, first)
	}
	return nil
}

// standing asks the recipient's shard. A record of a second address is followed once, when the first one is ours.
func (w *Worker) standing(ctx context.Context, f *facts) error {
	if isAbuse(f.recipient) {
		f.exists, f.standing = slices.Contains(w.domains, domainOf(f.recipient)), &shardpb.PolicyResponse{}
		return nil
	}
	f.asked = true
	for range 2 {
		err := w.ask(ctx, f)
		if mesh.KindOf(err) == mesh.UnknownAccount {
			return nil
		}
		if err != nil {
			return err
		}
		f.exists = true
		next := f.standing.GetRedirect()
		if next == "" || next == f.recipient || !slices.Contains(w.domains, domainOf(next)) {
			return nil
		}
		f.recipient = next
	}
	return nil
}

func (w *Worker) ask(ctx context.Context, f *facts) error {
	return w.delivery(ctx, f.recipient, func(ctx context.Context, c shardpb.DeliveryServiceClient) (err error) {
		f.standing, err = c.Policy(ctx, &shardpb.PolicyRequest{
			Recipient:        f.recipient,
			SenderAddress:    f.address,
			SenderProfileUdf: f.identity(),
			PinUdf:           f.letter.PinUDF,
		})
		return err
	})
}

// record has the recipient's shard record the verdict and store what was accepted. Of a message for nobody, or from nobody who could be
// proven, the sender's row is the only record: strangers cannot fill a table.
func (w *Worker) record(ctx context.Context, f *facts, o *outcome) error {
	if isAbuse(f.recipient) {
		if !o.verdict.GetAccepted() {
			return nil
		}
		if !w.incidents.take(f.source()) {
			o.verdict = verdict("too-many-reports", mesh.RateLimited, o.verdict.GetPolicyVersion())
			return nil
		}
		return w.report(ctx, f)
	}
	if f.sender == nil || f.fromOther && !f.accredited || f.asked && !f.exists {
		return nil
	}
	var result *shardpb.EntryResult
	err := w.delivery(ctx, f.recipient, func(ctx context.Context, c shardpb.DeliveryServiceClient) error {
		r, err := c.Deliver(ctx, &shardpb.DeliverRequest{
			Recipient:        f.recipient,
			SenderAddress:    f.address,
			SenderProfileUdf: f.identity(),
			Message:          entryOf(f),
			Verdict:          o.verdict,
			Inputs:           f.inputs(),
		})
		result = r.GetResult()
		return err
	})
	switch kind := mesh.KindOf(err); {
	case err != nil && (kind == mesh.UnknownAccount || kind == mesh.Redirect || kind == mesh.AccountPending):
		if o.verdict.GetAccepted() { // otherwise it was refused before the recipient was asked about, or because of this
			o.verdict = verdict("recipient-gone", kind, o.verdict.GetPolicyVersion())
		}
		return nil
	case err != nil:
		return err
	}
	o.stored(result)
	return nil
}

// stored makes the outcome what the recipient's shard says. A message that was accepted before stays so, whatever the rules say today: it lies
// in the spool, and its sender must not hear that it failed.
func (o *outcome) stored(r *shardpb.EntryResult) {
	policy := o.verdict.GetPolicyVersion()
	switch inSpool := r.GetResult() == shardpb.EntryResult_RESULT_ACCEPT; {
	case inSpool && !o.verdict.GetAccepted():
		o.verdict, o.redirect = &shardpb.AccessVerdict{Accepted: true, Rule: "accepted-before", PolicyVersion: policy}, ""
	case !inSpool && o.verdict.GetAccepted():
		name := "duplicate-identifier"
		if int(r.GetCode()) == mesh.RecipientBlockedSender.Code().Extended {
			name = "recipient-blocked" // since the rules were asked
		}
		o.verdict = &shardpb.AccessVerdict{Code: r.GetCode(), Rule: name, PolicyVersion: policy}
	}
	o.index = r.GetIndex()
}

// entryOf is the message as a frame of mmm_Inbound: what the sender's side took out for storing (D-24) is out already.
func entryOf(f *facts) *shardpb.Entry {
	e := f.envelope
	digest := e.Digest()
	return &shardpb.Entry{
		Header:        f.letter.Header(e.Header),
		Payload:       e.Payload,
		Trailer:       e.Trailer,
		PayloadDigest: digest,
		DigestWritten: digestWritten(e),
		EnvelopeId:    f.letter.EnvelopeID,
		UniqueId:      f.letter.ID,
		MessageType:   f.letter.Type,
	}
}

// digestWritten: the sender wrote the digest itself; otherwise the service splices it in.
func digestWritten(e *dare.Envelope) bool {
	h, err := e.ParseHeader()
	if err != nil {
		return false
	}
	t, err := e.ParseTrailer()
	return err == nil && (len(h.PayloadDigest) > 0 || t != nil && len(t.PayloadDigest) > 0)
}
