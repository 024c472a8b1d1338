package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/google/pprof/profile"
	"github.com/spf13/cobra"
)

func partsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "parts PROFILE...",
		Short: "Say how processor profiles of meshd spread over its parts",
		Long: `parts reads profiles that "meshbench run --profile" wrote, or curl from /debug/pprof/profile of an admin listener, and prints the share
of each part: one profile of some seconds has few samples, several together have more.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MinimumNArgs(1)(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []*profile.Profile
			for _, path := range args {
				p, err := readProfile(path)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				all = append(all, p)
			}
			merged, err := profile.Merge(all)
			if err != nil {
				return err
			}
			s, sockets, err := shares(merged)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
			var own float64
			for _, p := range parts() {
				fmt.Fprintf(t, "%s\t%.1f %%\t\n", p, 100*s[p])
				if p.ours() {
					own += s[p]
				}
			}
			fmt.Fprintf(t, "without Ed448 and TLS\t%.1f %%\t\nof that reads and writes of sockets\t%.1f %%\t\n", 100*own, 100*sockets)
			return t.Flush()
		},
	}
}

func readProfile(path string) (*profile.Profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return profile.Parse(f)
}
