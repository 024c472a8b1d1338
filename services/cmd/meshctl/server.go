package main

import (
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// pkiServer makes what a public CA would sell: a trial needs TLS too.
func pkiServer() *cobra.Command {
	var dir string
	var domains, addresses []string
	cmd := &cobra.Command{
		Use:   "server --dir DIR --domain DOMAIN [--ip ADDRESS]",
		Short: "Make a certificate for the public listener of a trial, under a CA of its own",
		Long: `server makes in DIR a CA (ca.pem, ca-key.pem), or uses the one that is there, and DIR/DOMAIN.pem and DIR/DOMAIN-key.pem for the public
listener of a gateway. Clients must be told of ca.pem: in production take a certificate that they believe already.

  meshctl pki server --dir tls --domain alpha.example --ip 127.0.0.1`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ips := make([]net.IP, len(addresses))
			for i, a := range addresses {
				if ips[i] = net.ParseIP(a); ips[i] == nil {
					return usagef("--ip %s: no IP address", a)
				}
			}
			ca, err := rpc.OpenCA(dir, "mesh trial", time.Now())
			if err != nil {
				return err
			}
			certPEM, keyPEM, err := ca.IssueServer(domains, ips, time.Now())
			if err != nil {
				return err
			}
			base := filepath.Join(dir, domains[0])
			// The key first: a gateway re-reads the pair when the certificate changes.
			if err := config.ReplaceFile(base+"-key.pem", keyPEM, 0o600); err != nil {
				return err
			}
			if err := config.ReplaceFile(base+".pem", certPEM, 0o600); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "certificate of %v in %s.pem\n", domains, base)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder (required)")
	cmd.Flags().StringArrayVar(&domains, "domain", nil, "name in the certificate; may be given again (required)")
	cmd.Flags().StringArrayVar(&addresses, "ip", nil, "address in the certificate; may be given again")
	_ = cmd.MarkFlagRequired("dir")
	_ = cmd.MarkFlagRequired("domain")
	return cmd
}
