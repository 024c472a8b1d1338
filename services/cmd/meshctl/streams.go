package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

const (
	// reachTime: an operator who named a wrong server should not wait for long.
	reachTime = 5 * time.Second
	// closeTime bounds the end of a connection on which nothing is under way.
	closeTime = 2 * time.Second
)

func streamsCommand(out *output) *cobra.Command {
	return group("streams", "The streams of NATS between the roles", streamsApply(out), streamsCheck(out), streamsConf())
}

// broker says where NATS is.
type broker struct {
	servers  []string
	pki      string
	replicas int
}

func (b *broker) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&b.servers, "servers", nil, "tls://host:port of a NATS server; may be given again (required)")
	cmd.Flags().StringVar(&b.pki, "pki", "", "folder with ca.pem, meshctl.pem and meshctl-key.pem (required)")
	cmd.Flags().IntVar(&b.replicas, "replicas", 3, "copies of each stream: 3, or 5; 1 for a trial with one server")
	_ = cmd.MarkFlagRequired("servers")
	_ = cmd.MarkFlagRequired("pki")
}

// with calls f with a connection as the role meshctl.
func (b *broker) with(ctx context.Context, f func(context.Context, *queue.Conn, *rpc.Identity) error) error {
	if b.replicas != 1 && b.replicas != 3 && b.replicas != 5 {
		return usagef("--replicas %d: want 1, 3 or 5", b.replicas)
	}
	file := func(name string) string { return filepath.Join(b.pki, name) }
	id, err := rpc.OpenIdentity(file("meshctl.pem"), file("meshctl-key.pem"), file("ca.pem"), slog.Default())
	if err != nil {
		return err
	}
	c, err := queue.Dial(ctx, queue.Options{Servers: b.servers, TLS: id.QueueClient(), Role: string(rpc.Meshctl)})
	if err != nil {
		return usageError{err}
	}
	defer func() {
		ending, end := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer end()
		_ = c.Close(ending) // every answer has been heard
	}()
	reaching, reached := context.WithTimeout(ctx, reachTime)
	defer reached()
	if err := c.Connected(reaching); err != nil {
		return networkError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return f(ctx, c, id)
}

func streamsApply(out *output) *cobra.Command {
	var b broker
	cmd := &cobra.Command{
		Use:   "apply --servers URL --pki DIR",
		Short: "Make the streams and consumers, or bring them to this version",
		Long: `apply makes the streams INBOUND, OUTBOUND and DEAD and their consumers as this version of meshd wants them, and changes what is otherwise. It
may run at each deployment, before the roles of the new version start: what is as it must be is left alone, messages stay.

  meshctl streams apply --servers tls://nats-0.nats:4222 --pki pki
  meshctl streams apply --servers tls://127.0.0.1:4222 --pki pki --replicas 1

New streams carry no stamp: run "meshctl streams check" with --monitoring next.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.with(cmd.Context(), func(ctx context.Context, c *queue.Conn, _ *rpc.Identity) error {
				changes, err := c.Apply(ctx, b.replicas)
				if err != nil {
					return err
				}
				tab := &table{}
				for _, ch := range changes {
					tab.add(ch.Name, ch.Did)
				}
				return out.write(cmd.OutOrStdout(), changes, tab)
			})
		},
	}
	b.flags(cmd)
	return cmd
}

func streamsCheck(out *output) *cobra.Command {
	var b broker
	var monitoring []string
	cmd := &cobra.Command{
		Use:   "check --servers URL --pki DIR --monitoring URL",
		Short: "Compare streams, consumers and servers with what they must be",
		Long: `check compares the streams and consumers with the table of this version, and with --monitoring every NATS server with what a production server
must be: sync_interval always, certificates asked of every client, room for the streams. Exit code 6: something is otherwise; each difference
is named.

When nothing is, and every server was asked, the streams get a stamp. In production a role is not ready while a stream of its is without:
a role cannot ask the servers itself. A stamp that is there stays when a later check finds something. A stream that was made anew has none.

--monitoring names a server's monitoring listener (http://host:8222); every address of the host is asked, so one name for all servers will do.

  meshctl streams check --servers tls://nats.mesh:4222 --pki pki --monitoring http://nats.mesh:8222
  meshctl streams check --servers tls://127.0.0.1:4222 --pki pki --replicas 1 -o json

Messages in DEAD were given up after many tries, or cannot be read. Their senders' rows are not settled by that: find the cause first.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.with(cmd.Context(), func(ctx context.Context, c *queue.Conn, id *rpc.Identity) error {
				r, err := c.Check(ctx, queue.CheckOptions{Replicas: b.replicas, Monitoring: monitoring, TLS: id.PagesTLS()})
				if err != nil {
					return err
				}
				if err := out.write(cmd.OutOrStdout(), r, reportTable(r, len(monitoring) > 0)); err != nil {
					return err
				}
				if n := len(r.Differences); n > 0 {
					return checkFailed{fmt.Errorf("%d differences", n)}
				}
				return nil
			})
		},
	}
	b.flags(cmd)
	cmd.Flags().StringArrayVar(&monitoring, "monitoring", nil, "URL of a server's monitoring listener; may be given again. Without it no stamp is given")
	return cmd
}

func reportTable(r *queue.Report, asked bool) *table {
	tab := &table{head: []string{"STREAM", "MESSAGES", "OCTETS", "OLDEST", "LEADER", "STAMP THAT WAS THERE"}}
	for _, s := range r.Streams {
		oldest := "–"
		if !s.Oldest.IsZero() {
			oldest = s.Oldest.UTC().Format(time.RFC3339)
		}
		tab.add(s.Name, s.Messages, s.Octets, oldest, orDash(s.Leader), orDash(s.Checked))
	}
	for _, s := range r.Servers {
		tab.add("server "+s.Name, "version "+s.Version)
	}
	for _, d := range r.Differences {
		tab.rows = append(tab.rows, []string{"difference: " + d})
	}
	switch {
	case r.Stamped:
		tab.rows = append(tab.rows, []string{"all as it must be; stamped"})
	case len(r.Differences) == 0 && !asked:
		tab.rows = append(tab.rows, []string{"streams as they must be; not stamped: the servers were not asked (--monitoring)"})
	}
	return tab
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func streamsConf() *cobra.Command {
	var c queue.Conf
	cmd := &cobra.Command{
		Use:   "conf",
		Short: "Print the nats-server.conf of a production server",
		Long: `conf prints a configuration for nats-server (2.14 or later): TLS with the roles' certificates as users, what each role may say and hear, JetStream
that has on its disk what it acknowledges. The table of users belongs to this version of meshd: make the file again with each new version,
and reload the servers, before the roles.

  meshctl pki create --dir pki --nats nats-0.nats --nats nats-1.nats --nats nats-2.nats
  meshctl streams conf --cluster 0.0.0.0:6222 --route nats-0.nats:6222 --route nats-1.nats:6222 --route nats-2.nats:6222 > nats.conf
  nats-server -c nats.conf

Without --cluster it is a server by itself, for a trial: streams with one replica. Give the servers nats.pem, nats-key.pem and ca.pem of the
roles' PKI. The monitoring listener tells what only operators should read: keep it inside.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (c.Cluster == "") != (len(c.Routes) == 0) {
				return usagef("--cluster and --route belong together")
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), c.Text())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Name, "name", "$HOSTNAME", "name of the server, another for each; $VARIABLE is taken from its environment")
	f.StringVar(&c.Listen, "listen", "0.0.0.0:4222", "host:port for the roles")
	f.StringVar(&c.Monitoring, "http", "0.0.0.0:8222", "host:port of the monitoring listener")
	f.StringVar(&c.Store, "store", "/data", "folder of the streams, on a disk that survives")
	f.StringVar(&c.Cert, "cert", "/pki/nats.pem", "certificate of the servers")
	f.StringVar(&c.Key, "key", "/pki/nats-key.pem", "its key")
	f.StringVar(&c.CA, "ca", "/pki/ca.pem", "CA of the roles")
	f.StringVar(&c.Cluster, "cluster", "", "host:port for the other servers; empty: a server by itself")
	f.StringArrayVar(&c.Routes, "route", nil, "host:port of a server of the cluster; give each, itself included")
	return cmd
}
