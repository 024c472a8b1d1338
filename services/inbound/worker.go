package inbound

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
	// retryAfter a fault of ours: database or network away.
	retryAfter = 2 * time.Second
)

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
	queue    *queue.Conn
	shards   *rpc.Router
	site     *SiteFile
	services *accreditation
	domains  []string
	log      *slog.Logger
	verdicts metric.Int64Counter
}

// New makes a Worker.
func New(c Config) (*Worker, error) {
	w := &Worker{queue: c.Queue, shards: c.Shards, site: c.Site, services: newAccreditation(c.Lookup), domains: c.Domains, log: c.Log}
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
	var errs []error
	common := w.read(m.Delivery)
	for _, to := range m.Delivery.GetTo() {
		if err := w.one(ctx, common, to); err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	switch fault := errors.Join(errs...); {
	case fault == nil:
		err = m.Ack()
	default:
		w.log.WarnContext(ctx, "message not decided", slog.Int("tries", m.Tries), slog.Any("err", fault))
		err = m.Retry(retryAfter)
	}
	if err != nil { // it comes again, which is harmless
		w.log.WarnContext(ctx, "queue", slog.Any("err", err))
	}
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
	w.verdicts.Add(ctx, 1, metric.WithAttributes(attribute.String("corner", "ingress"),
		attribute.Bool("accepted", o.verdict.GetAccepted()), attribute.String("rule", o.verdict.GetRule())))
	if waiter := f.delivery.GetWaiter(); waiter != "" { // best effort: who waits does so for 3 s only
		err := w.queue.SendVerdict(waiter, &eventpb.Verdict{DeliveryId: to.GetDeliveryId(), Accepted: o.verdict.GetAccepted(),
			Code: o.verdict.GetCode(), Index: o.index, Redirect: o.redirect})
		if err != nil {
			w.log.WarnContext(ctx, "verdict not told", slog.Any("err", err))
		}
	}
	if f.fromOther {
		return nil
	}
	return w.shards.Delivery(ctx, f.delivery.GetSenderAccount(), func(ctx context.Context, c shardpb.DeliveryServiceClient) error {
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
	return &outcome{verdict: &shardpb.AccessVerdict{Code: uint32(kind.Code().Extended), Rule: rule, PolicyVersion: site.Version()}}
}

// learn fills in the facts of a stage.
func (w *Worker) learn(ctx context.Context, f *facts, s stage) error {
	switch s {
	case stageSender:
		sender, err := mesh.VerifyMessage(f.envelope)
		if err != nil {
			return nil // a rule refuses it
		}
		f.sender = sender
		if !f.fromOther {
			f.address = addressOf(sender, f.delivery.GetSenderAccount())
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
	for _, address := range f.sender.Addresses {
		domain := domainOf(address)
		if slices.Contains(w.domains, domain) {
			continue // ours: nobody transmits it to us
		}
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
	return first // could not be found out: no verdict, the other side comes again
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
	return w.shards.Delivery(ctx, f.recipient, func(ctx context.Context, c shardpb.DeliveryServiceClient) (err error) {
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
		return w.report(ctx, f)
	}
	if f.sender == nil || f.asked && !f.exists {
		return nil
	}
	var result *shardpb.EntryResult
	err := w.shards.Delivery(ctx, f.recipient, func(ctx context.Context, c shardpb.DeliveryServiceClient) error {
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
	case err != nil && (kind == mesh.UnknownAccount || kind == mesh.Redirect):
		if !o.verdict.GetAccepted() {
			return nil // refused before the recipient was asked about
		}
		o.verdict = &shardpb.AccessVerdict{Code: uint32(kind.Code().Extended), Rule: "recipient-gone", PolicyVersion: o.verdict.GetPolicyVersion()}
		return nil
	case err != nil:
		return err
	}
	if o.verdict.GetAccepted() && result.GetResult() != shardpb.EntryResult_RESULT_ACCEPT {
		o.verdict = &shardpb.AccessVerdict{Code: result.GetCode(), Rule: "duplicate-identifier", PolicyVersion: o.verdict.GetPolicyVersion()}
	}
	o.index = result.GetIndex()
	return nil
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
