package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Change is what Apply did.
type Change struct {
	Name string `json:"name"` // stream, or stream/consumer
	Did  string `json:"did"`  // created, updated: what, unchanged
}

// Apply makes streams and consumers as the table says, or brings them there. Idempotent; messages and stamps stay. The Conn is
// meshctl's. replicas: 1, 3 or 5.
func (c *Conn) Apply(ctx context.Context, replicas int) ([]Change, error) {
	if replicas != 1 && replicas != 3 && replicas != 5 {
		return nil, fmt.Errorf("queue: %d replicas: want 1, 3 or 5", replicas)
	}
	return c.apply(ctx, table(replicas))
}

func (c *Conn) apply(ctx context.Context, definitions []definition) (changes []Change, err error) {
	if err := c.Connected(ctx); err != nil {
		return nil, err
	}
	for _, d := range definitions {
		name := d.stream.Name
		did, err := c.applyStream(ctx, d.stream)
		if err != nil {
			return changes, fmt.Errorf("queue: %s: %w", name, err)
		}
		changes = append(changes, Change{name, did})
		if d.consumer == nil {
			continue
		}
		did, err = c.applyConsumer(ctx, name, *d.consumer)
		if err != nil {
			return changes, fmt.Errorf("queue: %s/%s: %w", name, d.consumer.Durable, err)
		}
		changes = append(changes, Change{name + "/" + d.consumer.Durable, did})
	}
	return changes, nil
}

func (c *Conn) applyStream(ctx context.Context, want jetstream.StreamConfig) (string, error) {
	s, err := c.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = c.js.CreateStream(ctx, want)
		return "created", err
	}
	if err != nil {
		return "", err
	}
	got := s.CachedInfo().Config
	diff := differences(want, got)
	if len(diff) == 0 {
		return "unchanged", nil
	}
	want.Metadata = got.Metadata // the stamp is about the servers, it stays
	_, err = c.js.UpdateStream(ctx, want)
	return "updated: " + strings.Join(diff, ", "), err
}

func (c *Conn) applyConsumer(ctx context.Context, stream string, want jetstream.ConsumerConfig) (string, error) {
	consumer, err := c.js.Consumer(ctx, stream, want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		_, err = c.js.CreateConsumer(ctx, stream, want)
		return "created", err
	}
	if err != nil {
		return "", err
	}
	diff := differences(want, consumer.CachedInfo().Config)
	if len(diff) == 0 {
		return "unchanged", nil
	}
	_, err = c.js.UpdateConsumer(ctx, stream, want)
	return "updated: " + strings.Join(diff, ", "), err
}

// differences compares two configurations member by member as they are on the wire, so that what a later server adds shows as well.
// Metadata is not compared: the server and Check write there.
func differences(want, got any) []string {
	w, g := members(want), members(got)
	var diff []string
	for _, name := range slices.Sorted(maps.Keys(merged(w, g))) {
		if name == "metadata" || string(w[name]) == string(g[name]) {
			continue
		}
		diff = append(diff, fmt.Sprintf("%s is %s, want %s", name, said(g[name]), said(w[name])))
	}
	return diff
}

func members(config any) map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	data, err := json.Marshal(config)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		panic(err) // types of the client library: they marshal
	}
	for name, value := range m {
		if slices.Contains([]string{"false", "0", `""`, "null", "{}", "[]"}, string(value)) {
			delete(m, name) // absent says the same
		}
	}
	return m
}

func merged(a, b map[string]json.RawMessage) map[string]json.RawMessage {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

func said(value json.RawMessage) string {
	if value == nil {
		return "absent"
	}
	return string(value)
}
