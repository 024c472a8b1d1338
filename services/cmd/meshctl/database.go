package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/fsck"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// database names the database of a shard: by the shard's configuration, or directly.
type database struct{ config, sqlite, urlFile string }

func (d *database) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.config, "config", "", "YAML file of the shard")
	cmd.Flags().StringVar(&d.sqlite, "sqlite", "", "or: a SQLite file")
	cmd.Flags().StringVar(&d.urlFile, "url-file", "", "or: file that holds a PostgreSQL URL")
}

// find returns the store's name and where the database is.
func (d *database) find() (store, where string, err error) {
	given := 0
	for _, flag := range []string{d.config, d.sqlite, d.urlFile} {
		if flag != "" {
			given++
		}
	}
	if given != 1 {
		return "", "", usagef("one of --config, --sqlite and --url-file is needed")
	}
	switch {
	case d.sqlite != "":
		_, err := os.Stat(d.sqlite) // opening would make an empty one
		return stack.SQLite, d.sqlite, err
	case d.urlFile != "":
		url, err := os.ReadFile(d.urlFile)
		return stack.Postgres, strings.TrimSpace(string(url)), err
	}
	var c config.Shard
	if err := config.Load(d.config, os.Environ(), &c); err != nil {
		return "", "", err
	}
	where, err = c.Database()
	return c.Store, where, err
}

func migrateCommand() *cobra.Command {
	var d database
	cmd := &cobra.Command{
		Use:   "migrate --config FILE",
		Short: "Bring a shard's database to this version's schema",
		Long: `migrate makes the tables of a new database, or brings an older one up to date. No role does this at its start: an operator decides when. Each
step works with the previous version of meshd still running.

  meshctl migrate --config shard.yaml
  meshctl migrate --url-file database-url`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, where, err := d.find()
			if err != nil {
				return err
			}
			if err := stack.Migrate(cmd.Context(), store, where); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return nil
		},
	}
	d.flags(cmd)
	return cmd
}

func fsckCommand(out *output) *cobra.Command {
	var d database
	cmd := &cobra.Command{
		Use:   "fsck --config FILE",
		Short: "Check a shard's database: every digest, count and entry",
		Long: `fsck reads a database as it lies, beside a running shard if need be, computes every payload and tree digest again, and compares counts,
peaks, stored headers and the states of catalog entries. Exit code 6: something is not as it should be; it is listed.

  meshctl fsck --config shard.yaml
  meshctl fsck --sqlite data/alpha.example/s00.db -o json`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, where, err := d.find()
			if err != nil {
				return err
			}
			r, err := check(cmd.Context(), store, where)
			if err != nil {
				return err
			}
			tab := &table{}
			tab.add("containers", r.Containers)
			tab.add("frames", r.Frames)
			tab.add("payload octets", r.Octets)
			tab.add("faults", int64(len(r.Faults))+r.More)
			for _, f := range r.Faults {
				tab.rows = append(tab.rows, []string{f.String()})
			}
			if err := out.write(cmd.OutOrStdout(), r, tab); err != nil {
				return err
			}
			if len(r.Faults) > 0 {
				return checkFailed{fmt.Errorf("%d faults in %s", int64(len(r.Faults))+r.More, store)}
			}
			return nil
		},
	}
	d.flags(cmd)
	return cmd
}

func check(ctx context.Context, store, where string) (*fsck.Report, error) {
	w, err := stack.OpenWalker(ctx, store, where)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return fsck.Check(ctx, w)
}
