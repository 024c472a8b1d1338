package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

func partitionsFreeze() *cobra.Command {
	return partitionsSet("freeze", "Refuse all writes of some partitions until they are thawed", shardpb.PartitionState_PARTITION_STATE_FROZEN,
		`freeze closes partitions in the databases of their shards. Writes of their accounts are refused with 503/31, which clients try again; reads go
on. When it returns, no write that saw the partitions open can still commit.

  meshctl partitions freeze 17 --shard-map map.yaml --pki pki
  meshctl partitions freeze 0-2047 --shard-map map.yaml --pki pki`)
}

func partitionsThaw() *cobra.Command {
	return partitionsSet("thaw", "Open frozen partitions again", shardpb.PartitionState_PARTITION_STATE_OPEN,
		"thaw opens partitions that freeze closed.\n\n  meshctl partitions thaw 17 --shard-map map.yaml --pki pki")
}

func partitionsSet(verb, short string, state shardpb.PartitionState, long string) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   verb + " FIRST[-LAST]",
		Short: short,
		Long:  long,
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			first, last, err := parseRange(args[0])
			if err != nil {
				return err
			}
			if err := t.resolve(""); err != nil {
				return err
			}
			s, err := t.open()
			if err != nil {
				return err
			}
			return s.set(cmd.Context(), first, last, state)
		},
	}
	t.flags(cmd)
	return cmd
}

func parseRange(text string) (first, last uint16, err error) {
	a, b, isRange := strings.Cut(text, "-")
	if !isRange {
		b = a
	}
	from, err1 := strconv.ParseUint(a, 10, 16)
	to, err2 := strconv.ParseUint(b, 10, 16)
	if err1 != nil || err2 != nil || from > to || to >= shardmap.Partitions {
		return 0, 0, usagef("%q: want a partition or a range, 0 to %d", text, shardmap.Partitions-1)
	}
	return uint16(from), uint16(to), nil
}

// set asks each shard for its part of the range.
func (s *shards) set(ctx context.Context, first, last uint16, state shardpb.PartitionState) error {
	m := s.source.Map()
	for _, sh := range m.Shards {
		for _, r := range sh.Ranges {
			from, to := max(r.First, first), min(r.Last, last)
			if from > to {
				continue
			}
			err := s.admin(ctx, sh.Target, func(ctx context.Context, c shardpb.AdminServiceClient) error {
				_, err := c.SetPartition(ctx, &shardpb.SetPartitionRequest{First: uint32(from), Last: uint32(to), State: state, Epoch: m.Epoch})
				return err
			})
			if err != nil {
				return fmt.Errorf("%s, partitions %d-%d: %w", sh.Name, from, to, err)
			}
		}
	}
	return nil
}
