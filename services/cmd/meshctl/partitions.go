package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
)

func partitionsCommand(out *output) *cobra.Command {
	return group("partitions", "The partitions in the shards' databases", partitionsInit(), partitionsShow(out), partitionsFreeze(), partitionsThaw())
}

func partitionsInit() *cobra.Command {
	var file, mapFile string
	cmd := &cobra.Command{
		Use:   "init --config FILE --shard-map FILE",
		Short: "Open in a new database the partitions that the map gives to its shard",
		Long: `init reads the configuration of a shard and the shard map, and opens in the shard's database the partitions that the map gives to it. A
database that has them already is left as it is, so that a deployment may run this at each start; one that has others is an error: partitions
move by other means than this.

  meshctl partitions init --config shard.yaml --shard-map map.yaml`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c config.Shard
			if err := config.Load(file, os.Environ(), &c); err != nil {
				return err
			}
			source, err := shardmap.OpenFile(mapFile)
			if err != nil {
				return err
			}
			n, err := initPartitions(cmd.Context(), &c, source.Map())
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%d partitions in the database of %s\n", n, c.Name)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "YAML file of the shard (required)")
	cmd.Flags().StringVar(&mapFile, "shard-map", "", "shard map file (required)")
	_ = cmd.MarkFlagRequired("config")
	_ = cmd.MarkFlagRequired("shard-map")
	return cmd
}

func initPartitions(ctx context.Context, c *config.Shard, m *shardmap.Map) (n int, err error) {
	for _, s := range m.Shards {
		if s.Name != c.Name {
			continue
		}
		where, err := c.Database()
		if err != nil {
			return 0, err
		}
		store, err := stack.OpenStore(ctx, c.Store, where, slog.New(slog.DiscardHandler))
		if err != nil {
			return 0, err
		}
		defer store.Close()
		return stack.OpenPartitions(ctx, store, s, m.Epoch)
	}
	return 0, mesh.Errorf("meshctl", mesh.UnknownContainer, "the map has no shard %s", c.Name)
}

// partitionRange is a run of partitions of one shard in one state.
type partitionRange struct {
	Shard    string `json:"shard"`
	First    uint32 `json:"first"`
	Last     uint32 `json:"last"`
	State    string `json:"state"`
	Epoch    uint64 `json:"epoch"`
	Accounts int64  `json:"accounts"`
}

func partitionsShow(out *output) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Ask every shard of the map which partitions it has, in which state",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.resolve(""); err != nil {
				return err
			}
			s, err := t.open()
			if err != nil {
				return err
			}
			ranges := []partitionRange{}
			for _, sh := range s.source.Map().Shards {
				more, err := s.partitions(cmd.Context(), sh)
				if err != nil {
					return err
				}
				ranges = append(ranges, more...)
			}
			tab := &table{head: []string{"SHARD", "PARTITIONS", "STATE", "EPOCH", "ACCOUNTS"}}
			for _, r := range ranges {
				tab.add(r.Shard, fmt.Sprintf("%d-%d", r.First, r.Last), r.State, r.Epoch, r.Accounts)
			}
			return out.write(cmd.OutOrStdout(), ranges, tab)
		},
	}
	t.flags(cmd)
	return cmd
}

func (s *shards) partitions(ctx context.Context, sh shardmap.Shard) (ranges []partitionRange, err error) {
	err = s.admin(ctx, sh.Target, func(ctx context.Context, c shardpb.AdminServiceClient) error {
		r, err := c.ListPartitions(ctx, &shardpb.ListPartitionsRequest{})
		if err != nil {
			return err
		}
		for _, p := range r.GetPartitions() {
			state := short(p.GetState().String(), "PARTITION_STATE_")
			if n := len(ranges); n > 0 && ranges[n-1].Last+1 == p.GetPartition() && ranges[n-1].State == state && ranges[n-1].Epoch == p.GetEpoch() {
				ranges[n-1].Last = p.GetPartition()
				ranges[n-1].Accounts += p.GetAccounts()
				continue
			}
			ranges = append(ranges, partitionRange{sh.Name, p.GetPartition(), p.GetPartition(), state, p.GetEpoch(), p.GetAccounts()})
		}
		return nil
	})
	return ranges, err
}
