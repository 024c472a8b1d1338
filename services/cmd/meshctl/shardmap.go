package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/shardmap"
)

func shardmapCommand(out *output) *cobra.Command {
	var t target
	show := &cobra.Command{
		Use:   "show",
		Short: "Show which shard has which partitions",
		Long:  "show reads a shard map as a gateway does – unknown fields, gaps and overlaps are errors – and shows it.\n\n  meshctl shardmap show --shard-map map.yaml",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.resolve(""); err != nil {
				return err
			}
			source, err := t.source()
			if err != nil {
				return err
			}
			m := source.Map()
			tab := &table{head: []string{"SHARD", "TARGET", "PARTITIONS", "RANGES"}}
			for _, s := range m.Shards {
				n, ranges := 0, make([]string, len(s.Ranges))
				for i, r := range s.Ranges {
					n += int(r.Last) - int(r.First) + 1
					ranges[i] = fmt.Sprintf("%d-%d", r.First, r.Last)
				}
				tab.add(s.Name, s.Target, n, strings.Join(ranges, " "))
			}
			tab.rows = append(tab.rows, []string{"epoch", fmt.Sprint(m.Epoch)})
			return out.write(cmd.OutOrStdout(), mapJSON(m), tab)
		},
	}
	t.flags(show)
	return group("shardmap", "Look at the shard map", show)
}

type jsonMap struct {
	Epoch  uint64      `json:"epoch"`
	Shards []jsonShard `json:"shards"`
}

type jsonShard struct {
	Name   string      `json:"name"`
	Target string      `json:"target"`
	Ranges [][2]uint16 `json:"ranges"`
}

func mapJSON(m *shardmap.Map) jsonMap {
	j := jsonMap{Epoch: m.Epoch}
	for _, s := range m.Shards {
		js := jsonShard{Name: s.Name, Target: s.Target}
		for _, r := range s.Ranges {
			js.Ranges = append(js.Ranges, [2]uint16{r.First, r.Last})
		}
		j.Shards = append(j.Shards, js)
	}
	return j
}
