package main

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

func accountCommand(out *output) *cobra.Command {
	var t target
	where := &cobra.Command{
		Use:   "where ADDRESS",
		Short: "Say on which partition and shard an account is, and what is stored of it",
		Long: `where computes the partition of ADDRESS, finds its shard in the map, and asks that shard what it stores: state, and the containers with
frame count and tree digest. No content is read.

  meshctl account where alice@alpha.example --state /tmp/mesh.json
  meshctl account where alice@alpha.example --shard-map map.yaml --pki pki -o json`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := mesh.ParseAddress(args[0])
			if err != nil {
				return usageError{err}
			}
			if err := t.resolve(address.Domain); err != nil {
				return err
			}
			s, err := t.open()
			if err != nil {
				return err
			}
			found, err := s.where(cmd.Context(), address.String())
			if err != nil {
				return err
			}
			return out.write(cmd.OutOrStdout(), found, found.table())
		},
	}
	t.flags(where)
	return group("account", "Look at accounts", where)
}

// location is what `account where` tells.
type location struct {
	Address    string              `json:"address"`
	Partition  uint32              `json:"partition"`
	Shard      string              `json:"shard"`
	Target     string              `json:"target"`
	Epoch      uint64              `json:"epoch"`
	State      string              `json:"state"`
	Account    int64               `json:"account"`
	Containers []locationContainer `json:"containers"`
}

type locationContainer struct {
	Name   string `json:"name"`
	Frames int64  `json:"frames"`
	Digest string `json:"digest"`
}

func (s *shards) where(ctx context.Context, address string) (*location, error) {
	shard, _ := s.source.Map().Lookup(shardmap.Of(address)) // a map that was read is complete
	l := &location{Address: address, Target: shard.Target, Containers: []locationContainer{}}
	err := s.admin(ctx, shard.Target, func(ctx context.Context, c shardpb.AdminServiceClient) error {
		r, err := c.Where(ctx, &shardpb.WhereRequest{Address: address})
		if err != nil {
			return err
		}
		l.Partition, l.Shard, l.Epoch, l.Account = r.GetPartition(), r.GetShard(), r.GetMapEpoch(), r.GetAccountNumber()
		l.State = short(r.GetState().String(), "ACCOUNT_STATE_")
		for _, c := range r.GetContainers() {
			l.Containers = append(l.Containers, locationContainer{c.GetContainer(), c.GetFrames(), base64.RawURLEncoding.EncodeToString(c.GetDigest())})
		}
		return nil
	})
	return l, err
}

func (l *location) table() *table {
	var t table
	t.add("address", l.Address)
	t.add("partition", l.Partition)
	t.add("shard", l.Shard+" at "+l.Target)
	t.add("epoch", l.Epoch)
	t.add("state", l.State)
	t.add("account", l.Account)
	for _, c := range l.Containers {
		digest := c.Digest
		if len(digest) > 16 {
			digest = digest[:16] + "…"
		}
		t.add(c.Name, c.Frames, digest)
	}
	return &t
}

// short is an enumeration value as people say it.
func short(value, prefix string) string { return strings.ToLower(strings.TrimPrefix(value, prefix)) }
