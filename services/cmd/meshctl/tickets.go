package main

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/services/internal/config"
)

func ticketsCommand(out *output) *cobra.Command {
	return group("tickets", "The key ring that seals tickets", ticketsRotate(out))
}

func ticketsRotate(out *output) *cobra.Command {
	var ring string
	var life, lead time.Duration
	cmd := &cobra.Command{
		Use:   "rotate --ring FILE",
		Short: "Add a key to a ticket ring, destroy those that nothing needs any more",
		Long: `rotate writes a new ring file with one more key, which seals from --lead on, so that every gateway has re-read the file by then. Keys that
stopped sealing longer ago than --life and ten minutes are left out: destroy them in backups and in the history of the secret store too.
A ring that does not exist is made, with a key that seals at once. Run it hourly; losing the ring costs every client one exchange.

  meshctl tickets rotate --ring /etc/meshd/ring.json`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			entries, err := rotate(ring, life, lead, time.Now())
			if err != nil {
				return err
			}
			tab := &table{head: []string{"KEY", "SEALS FROM"}}
			for _, e := range entries {
				tab.add(e.ID, e.From)
			}
			return out.write(cmd.OutOrStdout(), entries, tab)
		},
	}
	cmd.Flags().StringVar(&ring, "ring", "", "ring file (required)")
	cmd.Flags().DurationVar(&life, "life", time.Hour, "life of the longest ticket that the gateways issue, at most 24h")
	cmd.Flags().DurationVar(&lead, "lead", 5*time.Minute, "how long gateways may take to see the new file")
	_ = cmd.MarkFlagRequired("ring")
	return cmd
}

// ringLine names a key and shows nothing of it.
type ringLine struct {
	ID   string `json:"id"`
	From string `json:"seals_from"`
}

func rotate(path string, life, lead time.Duration, now time.Time) ([]ringLine, error) {
	if life <= 0 || life > 24*time.Hour || lead < 0 || lead > time.Hour {
		return nil, usagef("--life up to 24h and --lead up to 1h are meant")
	}
	data, err := os.ReadFile(path)
	var ring *make1.Ring
	switch {
	case errors.Is(err, fs.ErrNotExist):
		ring, err = make1.NewRing([]make1.RingEntry{make1.NewRingEntry(now)})
	case err == nil:
		if ring, err = make1.ParseRing(data); err == nil {
			ring, err = ring.Prune(now, life).With(make1.NewRingEntry(now.Add(lead)))
		}
	}
	if err != nil {
		return nil, err
	}
	if data, err = ring.Marshal(); err != nil {
		return nil, err
	}
	if err := config.ReplaceFile(path, append(data, '\n'), 0o600); err != nil {
		return nil, err
	}
	lines := []ringLine{}
	for _, e := range ring.Entries() {
		lines = append(lines, ringLine{hex.EncodeToString(e.ID), e.NotBefore.UTC().Format(time.RFC3339)})
	}
	return lines, nil
}
