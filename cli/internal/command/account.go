package command

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/spf13/cobra"
)

func (a *app) accountCommand() *cobra.Command {
	return group("account", "Create, look at, synchronise, delete an account",
		a.accountCreate(), a.accountHello(), a.accountStatus(), a.accountSync(), a.accountDelete())
}

func (a *app) accountCreate() *cobra.Command {
	var o client.CreateOptions
	c := &cobra.Command{
		Use: "create ADDRESS", Short: "Make profiles where there are none, and bind the address at its service", Args: exactly(1),
		Example: "  mesh account create alice@example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.offline && !o.Local {
				return usagef("binding an address asks its service: say --local, or leave out --offline")
			}
			config, err := a.config()
			if err != nil {
				return err
			}
			account, err := client.Create(cmd.Context(), config, args[0], o)
			if err != nil {
				return err
			}
			defer account.Close()
			return a.emit(map[string]any{"account": account.Address(), "local": o.Local}, func(w io.Writer) {
				if o.Local {
					fmt.Fprintf(w, "%s is prepared on this machine; run the same command without --local to bind it\n", account.Address())
					return
				}
				fmt.Fprintf(w, "%s is yours\n", account.Address())
			})
		},
	}
	c.Flags().BoolVar(&o.Local, "local", false, "stop before the service")
	c.Flags().StringVar(&o.Description, "dd", "", "description of this device")
	return c
}

func (a *app) accountHello() *cobra.Command {
	return &cobra.Command{
		Use: "hello [DOMAIN]", Short: "Ask a service for its description", Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := a.config()
			if err != nil {
				return err
			}
			domain, err := a.domain(args, config)
			if err != nil {
				return err
			}
			if err := a.network(); err != nil {
				return err
			}
			info, err := client.Hello(cmd.Context(), config, domain)
			if err != nil {
				return err
			}
			return a.emitHello(info)
		},
	}
}

// domain is the argument, or the domain of the account.
func (a *app) domain(args []string, config client.Config) (string, error) {
	address := a.account
	if len(args) == 1 {
		address = args[0]
	}
	if address == "" {
		all, err := client.Accounts(config)
		if err != nil {
			return "", err
		}
		if len(all) == 0 {
			return "", usagef("there is no account on this machine: name a domain")
		}
		address = all[0]
	}
	return address[strings.LastIndexByte(address, '@')+1:], nil
}

func (a *app) emitHello(info *client.ServiceInfo) error {
	r := info.Response
	encodings := []string{}
	version := ""
	if v := r.Version; v != nil {
		version = fmt.Sprintf("%d.%d", v.Major, v.Minor)
		for _, e := range v.Encodings {
			encodings = append(encodings, e.ID...)
		}
	}
	out := map[string]any{"domain": info.Domain, "endpoint": info.Endpoint, "version": version, "encodings": encodings, "service": info.ServiceUDF}
	if p := r.PolicyAccount; p != nil {
		out["policy"] = map[string]any{"minimum": p.Minimum, "maximum": p.Maximum, "invalid": p.InvalidCharacters}
	}
	return a.emit(out, func(w io.Writer) {
		fmt.Fprintf(w, "domain\t%s\nendpoint\t%s\nversion\t%s\nencodings\t%s\nservice\t%s\n", info.Domain, info.Endpoint, version, strings.Join(encodings, " "), info.ServiceUDF)
	})
}

type containerOutput struct {
	Container string `json:"container"`
	Frames    int64  `json:"frames"`
	Digest    string `json:"digest"`
}

func (a *app) accountStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Containers of the account, as the service has them", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.network(); err != nil {
				return err
			}
			account, err := a.open()
			if err != nil {
				return err
			}
			defer account.Close()
			status, err := account.Status(cmd.Context())
			if err != nil {
				return err
			}
			out := []containerOutput{}
			for _, c := range status.ContainerStatus {
				n := int64(0)
				if c.Index != nil {
					n = *c.Index
				}
				out = append(out, containerOutput{c.Container, n, base64.RawURLEncoding.EncodeToString(c.Digest)})
			}
			return a.emit(map[string]any{"account": account.Address(), "containers": out}, func(w io.Writer) {
				fmt.Fprintln(w, "CONTAINER\tFRAMES\tDIGEST")
				for _, c := range out {
					fmt.Fprintf(w, "%s\t%d\t%.22s…\n", c.Container, c.Frames, c.Digest)
				}
			})
		},
	}
}

func (a *app) accountSync() *cobra.Command {
	return &cobra.Command{
		Use: "sync", Short: "Bring the replica up to date and send what waits here", Args: exactly(0),
		Long: `Downloads what is new, checks every digest and signature, sends local changes. A change that met another of the same
entry is a conflict: one version is in the catalog, the other in a file that is named, and the exit code is 5.
Messages that waited go out, and who has answered a contact request of yours becomes a contact.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.network(); err != nil {
				return err
			}
			account, err := a.open()
			if err != nil {
				return err
			}
			defer account.Close()
			_, introduced, report, err := account.Receive(cmd.Context(), a.progress())
			a.remarkIntroduced(introduced)
			a.remarkPosted(report)
			if report == nil || len(report.Containers) == 0 {
				return err
			}
			// A container that failed stops none of the others: what became of them is told beside the error.
			if shown := a.emitSync(account.Address(), *report); shown != nil {
				return errors.Join(err, shown)
			}
			if n := len(report.Conflicts); n > 0 && err == nil {
				return conflictError{n}
			}
			return err
		},
	}
}

func isConflict(err error) bool {
	var c conflictError
	return errors.As(err, &c)
}

// sync synchronises after a change. Conflicts are remarks, also beside an error: nobody else says where the other version
// is; and the error where there is no worse one.
func (a *app) sync(ctx context.Context, account *client.Account) error {
	r, err := account.Sync(ctx, a.progress())
	if r == nil {
		return err
	}
	for _, c := range r.Conflicts {
		a.remark("conflict in %s, entry %s: the %s version stands, the other is in %s", c.Container, c.Key, c.Kept, c.Journal)
	}
	if a.verbose {
		down, up := 0, 0
		for _, c := range r.Containers {
			down, up = down+c.Downloaded, up+c.Uploaded
		}
		a.remark("%d frames downloaded, %d uploaded, %d requests", down, up, r.RoundTrips)
	}
	if n := len(r.Conflicts); n > 0 && err == nil {
		return conflictError{n}
	}
	return err
}

func (a *app) emitSync(address string, r client.SyncReport) error {
	type container struct {
		containerOutput
		Downloaded int `json:"downloaded"`
		Uploaded   int `json:"uploaded"`

		Fault string `json:"fault,omitempty"` // what did not prove out; the frames are those of before
	}
	type conflict struct {
		Container string `json:"container"`
		Key       string `json:"key"`
		Kept      string `json:"kept"`
		Journal   string `json:"journal"`
	}
	containers := []container{}
	for _, c := range r.Containers {
		containers = append(containers, container{containerOutput{c.Container, c.Frames, base64.RawURLEncoding.EncodeToString(c.Digest)}, c.Downloaded, c.Uploaded, c.Fault})
	}
	conflicts := []conflict{}
	for _, c := range r.Conflicts {
		conflicts = append(conflicts, conflict{c.Container, c.Key, c.Kept, c.Journal})
	}
	out := map[string]any{"account": address, "containers": containers, "conflicts": conflicts, "round_trips": r.RoundTrips}
	return a.emit(out, func(w io.Writer) {
		fmt.Fprintln(w, "CONTAINER\tFRAMES\tDOWN\tUP")
		for _, c := range containers {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d", c.Container, c.Frames, c.Downloaded, c.Uploaded)
			if c.Fault != "" {
				fmt.Fprintf(w, "\tproof failed: %s", c.Fault)
			}
			fmt.Fprintln(w)
		}
		for _, c := range conflicts {
			fmt.Fprintf(w, "conflict: %s, entry %s: the %s version stands, the other is in %s\n", c.Container, c.Key, c.Kept, c.Journal)
		}
	})
}

func (a *app) accountDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete ADDRESS", Short: "Delete the account at its service", Args: exactly(1),
		Long: `Deletes the account at its service: its registration ends at once, its data is purged later, the address stays closed
for 90 days. The replica on this machine stays.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usagef("this cannot be undone: say --yes to delete %s", args[0])
			}
			if err := a.network(); err != nil {
				return err
			}
			config, err := a.config()
			if err != nil {
				return err
			}
			account, err := client.Open(config, args[0])
			if err != nil {
				return err
			}
			defer account.Close()
			if err := account.Delete(cmd.Context()); err != nil {
				return err
			}
			return a.emit(map[string]string{"deleted": account.Address()}, func(w io.Writer) { fmt.Fprintf(w, "%s is deleted\n", account.Address()) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "yes, delete it")
	return c
}
