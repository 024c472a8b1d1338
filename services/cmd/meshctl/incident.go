package main

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

func incidentCommand(out *output) *cobra.Command {
	var t target
	var all bool
	list := &cobra.Command{
		Use:   "list",
		Short: "List what smelled of abuse, and reports of users, in the incident spools of all shards",
		Long: `list reads the incident spools (mmms_Incident, one in each partition): messages refused by a rule that smells of abuse, and reports that
users sent to abuse@. Resolved ones are left out without --all.

  meshctl incident list --state /tmp/mesh.json --provider beta.example`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := t.incidents(cmd.Context(), nil)
			if err != nil {
				return err
			}
			listed := []incident{}
			for _, i := range found {
				if all || !i.Resolved {
					i.Envelope = nil
					listed = append(listed, i)
				}
			}
			return out.write(cmd.OutOrStdout(), listed, incidentTable(listed))
		},
	}
	list.Flags().BoolVar(&all, "all", false, "resolved ones too")
	show := &cobra.Command{
		Use:   "show ID",
		Short: "Show the message of an incident, as it came",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := t.incident(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			shown := incidentTable([]incident{*i})
			shown.add("envelope", string(i.Envelope))
			return out.write(cmd.OutOrStdout(), i, shown)
		},
	}
	resolve := &cobra.Command{
		Use:   "resolve ID",
		Short: "Close an incident, by a completion that the host signs",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := t.incident(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return t.atPartition(cmd.Context(), i.Partition, func(ctx context.Context, c shardpb.AdminServiceClient) error {
				_, err := c.ResolveIncident(ctx, &shardpb.ResolveIncidentRequest{Partition: i.Partition, Index: i.Index})
				return err
			})
		},
	}
	for _, cmd := range []*cobra.Command{list, show, resolve} {
		t.flags(cmd)
	}
	return group("incident", "Look at incidents and close them", list, show, resolve)
}

// incident is a frame of an incident spool. ID is partition and index.
type incident struct {
	ID        string    `json:"id"`
	Partition uint32    `json:"partition"`
	Index     int64     `json:"index"`
	Received  time.Time `json:"received"`
	Message   string    `json:"message"`
	Type      string    `json:"type"`
	Octets    int64     `json:"octets"`
	Resolved  bool      `json:"resolved"`
	Envelope  rawText   `json:"envelope,omitempty"` // header, payload in base64url, trailer
}

// rawText is JSON that is shown as it is.
type rawText []byte

// MarshalJSON implements json.Marshaler.
func (r rawText) MarshalJSON() ([]byte, error) { return r, nil }

func (t *target) incidents(ctx context.Context, partition *uint32) ([]incident, error) {
	if err := t.resolve(""); err != nil {
		return nil, err
	}
	s, err := t.open()
	if err != nil {
		return nil, err
	}
	var found []incident
	for _, shard := range s.source.Map().Shards {
		if partition != nil {
			if at, _ := s.source.Map().Lookup(uint16(*partition)); at.Name != shard.Name {
				continue
			}
		}
		err := s.admin(ctx, shard.Target, func(ctx context.Context, c shardpb.AdminServiceClient) error {
			r, err := c.Incidents(ctx, &shardpb.IncidentsRequest{Partition: partition})
			for _, i := range r.GetIncidents() {
				found = append(found, readIncident(i))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func readIncident(w *shardpb.Incident) incident {
	f := w.GetFrame()
	i := incident{
		ID:        strconv.FormatUint(uint64(w.GetPartition()), 10) + "-" + strconv.FormatInt(f.GetIndex(), 10),
		Partition: w.GetPartition(),
		Index:     f.GetIndex(),
		Received:  f.GetReceived().AsTime(),
		Octets:    f.GetPayloadLength(),
		Resolved:  w.GetResolved(),
	}
	if h, err := (&dare.Envelope{Header: f.GetHeader()}).ParseHeader(); err == nil {
		if meta, err := h.ParseMeta(); err == nil && meta != nil {
			i.Message, i.Type = meta.UniqueID, meta.MessageType
		}
	}
	i.Envelope = append(append([]byte("["), f.GetHeader()...), `,"`...)
	i.Envelope = append(append(i.Envelope, base64.RawURLEncoding.EncodeToString(f.GetPayload())...), '"')
	if len(f.GetTrailer()) > 0 {
		i.Envelope = append(append(i.Envelope, ','), f.GetTrailer()...)
	}
	i.Envelope = append(i.Envelope, ']')
	return i
}

// incident finds one by its identifier.
func (t *target) incident(ctx context.Context, id string) (*incident, error) {
	left, right, _ := strings.Cut(id, "-")
	partition, err := strconv.ParseUint(left, 10, 16)
	index, indexErr := strconv.ParseInt(right, 10, 64)
	if err != nil || indexErr != nil || partition >= shardmap.Partitions || index < 0 {
		return nil, usagef("%q is no incident: want PARTITION-INDEX, as `meshctl incident list` shows it", id)
	}
	p := uint32(partition)
	found, err := t.incidents(ctx, &p)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].Index == index {
			return &found[i], nil
		}
	}
	return nil, mesh.Errorf("meshctl", mesh.ResponseNotFound, "no incident %s", id)
}

func (t *target) atPartition(ctx context.Context, partition uint32, f func(context.Context, shardpb.AdminServiceClient) error) error {
	s, err := t.open()
	if err != nil {
		return err
	}
	shard, _ := s.source.Map().Lookup(uint16(partition))
	return s.admin(ctx, shard.Target, f)
}

func incidentTable(list []incident) *table {
	t := table{head: []string{"ID", "RECEIVED", "TYPE", "MESSAGE", "OCTETS", "STATE"}}
	for _, i := range list {
		state := "open"
		if i.Resolved {
			state = "resolved"
		}
		t.add(i.ID, i.Received.Format(time.RFC3339), i.Type, i.Message, i.Octets, state)
	}
	return &t
}
