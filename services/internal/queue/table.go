package queue

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stream is one of the three.
type Stream string

// The streams. A role publishes and consumes what Users says; Dead is written by Message.Fail and the limit of tries only.
const (
	Inbound  Stream = "INBOUND"
	Outbound Stream = "OUTBOUND"
	Dead     Stream = "DEAD"
)

const (
	// MaxMessage in octets, headers included: an envelope of 64 KiB (D-28) to a hundred recipients (D-25), and room to grow.
	MaxMessage = 256 << 10
	// maxHeader of that is for headers: message ID, trace, and in DEAD the reason.
	maxHeader = 4 << 10
	// DuplicateWindow in which a stream knows an ID again: a publisher that got no answer tries again within seconds.
	DuplicateWindow = 2 * time.Minute

	// workAge: a row whose message is not heard of is published again, so an old copy is worth nothing and would only be handled
	// twice. Hours: a night's outage of the workers must not leave a stream full of what the rows publish anyway.
	workAge = time.Hour
	// workOctets bounds INBOUND and OUTBOUND each: a million messages of 1 KiB. A full stream refuses (discard new), and rows wait in Postgres.
	workOctets = 1 << 30
	// deadAge: an operator looks within a week; the rows and the other providers have long tried again.
	deadAge = 7 * 24 * time.Hour
	// deadOctets: some thousand of the longest messages. The oldest go first: giving up must not fail for want of room.
	deadOctets = 256 << 20

	// ackWait: a message takes two network transactions of 5 s, and a discovery. Who needs more says Working.
	ackWait = 30 * time.Second
	// maxTries before DEAD: with the waits of Retry, half an hour of a database or a shard that is down.
	maxTries = 20
	// maxAckPending over all workers of a role: those in work and those that wait for their next try.
	maxAckPending = 4096
	// maxWaiting requests for messages, one for each worker process.
	maxWaiting = 512
	// unlimited is how JetStream says it; it fills in the same where we say nothing, and then compares unlike.
	unlimited = -1
)

// subjects of the streams that roles publish to.
var subjects = map[Stream]string{Inbound: "mesh.inbound", Outbound: "mesh.outbound"}

// definition is a line of the table: a stream, and the one durable pull consumer of a role, if it has one.
type definition struct {
	stream   jetstream.StreamConfig
	consumer *jetstream.ConsumerConfig
}

// table says what streams there are. Change it so that old and new processes work with either (docs/design.md, Queue).
func table(replicas int) []definition {
	return []definition{
		{work(Inbound, "Deliveries to accounts of this provider.", replicas), pull("inbound", replicas)},
		{work(Outbound, "Deliveries to other providers.", replicas), pull("outbound", replicas)},
		{stream: jetstream.StreamConfig{
			Name:        string(Dead),
			Description: "Messages that were given up. Somebody should look.",
			Subjects:    []string{"mesh.dead.>"},
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardOld,
			MaxAge:      deadAge,
			MaxBytes:    deadOctets,
			MaxMsgSize:  MaxMessage,
			Duplicates:  DuplicateWindow,
			Storage:     jetstream.FileStorage,
			Replicas:    replicas,

			MaxConsumers: unlimited, MaxMsgs: unlimited, MaxMsgsPerSubject: unlimited,
		}},
	}
}

// work is a stream from which each message is taken once.
func work(name Stream, description string, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        string(name),
		Description: description,
		Subjects:    []string{subjects[name]},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew, // the publisher gets an error, and the row stays due
		MaxAge:      workAge,
		MaxBytes:    workOctets,
		MaxMsgSize:  MaxMessage,
		Duplicates:  DuplicateWindow,
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,

		MaxConsumers: unlimited, MaxMsgs: unlimited, MaxMsgsPerSubject: unlimited,
	}
}

// pull is the durable consumer of a role. The server's own limit of deliveries stays off: it would leave a message that reached it
// lying in the stream, where nobody sees it. Consume counts, and gives it to DEAD.
func pull(role string, replicas int) *jetstream.ConsumerConfig {
	return &jetstream.ConsumerConfig{
		Name:          role,
		Durable:       role,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    unlimited,
		MaxAckPending: maxAckPending,
		MaxWaiting:    maxWaiting,
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
		Replicas:      replicas,
	}
}
