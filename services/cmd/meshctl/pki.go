package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/rpc"
)

func pkiCommand() *cobra.Command {
	var dir string
	var hosts []string
	create := &cobra.Command{
		Use:   "create --dir DIR [--nats HOST]",
		Short: "Make or renew the certificates with which the roles know each other",
		Long: `create makes in DIR an internal CA (ca.pem, ca-key.pem) and for each role a certificate (<role>.pem, <role>-key.pem; good for a year). A CA
that is there is used again, so running it again renews the certificates; roles re-read them without a restart.

Give each role its own pair and ca.pem, nothing else. Keep ca-key.pem offline: who has it can be any role. A deployment with a CA of its own
does not need this: certificates with the URI mesh://role/<role> and the DNS name <role>.mesh.internal are all that the roles look at.

With --nats it also makes nats.pem and nats-key.pem for the NATS servers, which reach each other by the hosts that are named.

  meshctl pki create --dir pki
  meshctl pki create --dir pki --nats nats-0.nats --nats nats-1.nats --nats nats-2.nats`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := rpc.WritePKI(dir, time.Now()); err != nil {
				return err
			}
			if len(hosts) > 0 {
				if err := rpc.WriteQueuePKI(dir, hosts, time.Now()); err != nil {
					return err
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "certificates of %v in %s\n", rpc.Roles(), dir)
			return nil
		},
	}
	create.Flags().StringVar(&dir, "dir", "", "folder (required)")
	create.Flags().StringArrayVar(&hosts, "nats", nil, "host of a NATS server; may be given again")
	_ = create.MarkFlagRequired("dir")
	return group("pki", "Certificates of the roles, and of a trial", create, pkiServer())
}
