// Package command is the command line of `mesh`: noun and verb, one file for each noun.
//
// Habits that hold for every command: results on stdout (`-o table|json`), everything else on stderr, no prompt without
// a terminal, secrets never as arguments, exit codes that a script can tell apart (exit.go).
package command

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/spf13/cobra"
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// app is what all commands share: the global flags and the streams.
type app struct {
	Streams
	version  string
	dir      string
	state    string
	dns      string
	services []string
	pins     []string
	stdin    *bufio.Reader // of In: two secrets may come one after the other
	account  string
	output   string
	quiet    bool
	verbose  bool
	plain    bool
	offline  bool
}

// Run executes a command line and returns its exit code.
func Run(ctx context.Context, version string, args []string, s Streams) int {
	a := &app{Streams: s, version: version, stdin: bufio.NewReader(s.In)}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.explain(err)
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "mesh",
		Short: "Your passwords, contacts and bookmarks, end-to-end encrypted and on all your devices",
		Long: `mesh keeps passwords, contacts and bookmarks in an account of the Mathematical Mesh. They are encrypted on this
machine, stored at a provider that cannot read them, and checked, digest and signature, when they come back.

First steps:
  mesh account create alice@example.com
  mesh password import bitwarden.json
  mesh password get example.com --field password
  mesh contact request bob@example.net
  mesh message send bob@example.net --text 'Hello'`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "table" && a.output != "json" {
				return usagef("-o %q: table or json", a.output)
			}
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.dir, "dir", env("MESH_DIR", defaultDir()), "folder of this machine's Mesh data")
	f.StringVar(&a.state, "state", env("MESH_STATE", ""), "state file of `meshd dev`, instead of DNS")
	f.StringVar(&a.dns, "dns", env("MESH_DNS", ""), "resolver to ask, host:port (default the system's)")
	f.StringArrayVar(&a.services, "service", nil, "DOMAIN=URL: where a domain's service is, instead of DNS; http:// needs --pin, messages are encrypted anyway")
	f.StringArrayVar(&a.pins, "pin", nil, "DOMAIN=UDF: fingerprint of a domain's ProfileService, when it is known from elsewhere")
	f.StringVar(&a.account, "account", env("MESH_ACCOUNT", ""), "account to use, when this machine has several")
	f.StringVarP(&a.output, "output", "o", "table", "table or json")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress, no remarks")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "say what a synchronisation did")
	f.BoolVar(&a.plain, "plain", os.Getenv("NO_COLOR") != "", "no colour, no drawing")
	f.BoolVar(&a.offline, "offline", false, "work on this machine only; changes wait for the next sync")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v", err) })
	root.AddCommand(a.accountCommand(), a.passwordCommand(), a.contactCommand(), a.bookmarkCommand(), a.messageCommand(), a.confirmCommand(), a.aboutCommand())
	return root
}

func (a *app) aboutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "about", Short: "Version of this program", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			return a.emit(map[string]string{"version": a.version, "dir": a.dir}, func(w io.Writer) {
				fmt.Fprintf(w, "mesh %s\ndata in %s\n", a.version, a.dir)
			})
		},
	}
}

// config is the client's configuration by the global flags.
func (a *app) config() (client.Config, error) {
	c := client.Config{Dir: a.dir, StateFile: a.state, DNS: a.dns}
	var err error
	if c.Services, err = byDomain("service", "URL", a.services); err != nil {
		return c, err
	}
	c.Pins, err = byDomain("pin", "UDF", a.pins)
	return c, err
}

// byDomain reads the DOMAIN=VALUE of a flag.
func byDomain(flag, value string, list []string) (map[string]string, error) {
	m := make(map[string]string, len(list))
	for _, s := range list {
		domain, v, ok := strings.Cut(s, "=")
		domain, err := mesh.CanonicalDomain(domain)
		if !ok || err != nil || v == "" {
			return nil, usagef("--%s %q: DOMAIN=%s", flag, s, value)
		}
		m[domain] = v
	}
	return m, nil
}

// network says that a command cannot do without the network, when it was told to.
func (a *app) network() error {
	if a.offline {
		return usagef("this asks the service: leave out --offline")
	}
	return nil
}

// open opens the account that the flags name.
func (a *app) open() (*client.Account, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	return client.Open(c, a.account)
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func defaultDir() string {
	if d, err := os.UserConfigDir(); err == nil {
		return filepath.Join(d, "mesh")
	}
	return ".mesh"
}

// group makes the command of a noun.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s has no command %q; see `%s --help`", cmd.CommandPath(), args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	c.AddCommand(verbs...)
	return c
}

// exactly checks the number of arguments, and says which are missing.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

func between(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low || len(args) > high {
			return usagef("usage: mesh %s", strings.TrimPrefix(cmd.UseLine(), "mesh "))
		}
		return nil
	}
}
