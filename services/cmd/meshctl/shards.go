package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// callTime bounds one call: an operator waits a little longer than a device, for a database that is busy.
const callTime = 15 * time.Second

// target says where the shards of a provider are.
type target struct{ state, provider, shardMap, pki string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.state, "state", "", `state file of a running "meshd dev"`)
	cmd.Flags().StringVar(&t.provider, "provider", "", "with --state: domain of the provider")
	cmd.Flags().StringVar(&t.shardMap, "shard-map", "", "shard map file")
	cmd.Flags().StringVar(&t.pki, "pki", "", "folder with ca.pem, meshctl.pem and meshctl-key.pem")
}

// resolve fills in what the state file says of the provider of domain (any, if there is one only).
func (t *target) resolve(domain string) error {
	if t.state == "" {
		return nil
	}
	s, err := stack.ReadState(t.state)
	if err != nil {
		return err
	}
	if t.provider != "" {
		domain = t.provider
	}
	for _, p := range s.Providers {
		if p.Domain == domain || domain == "" && len(s.Providers) == 1 {
			t.shardMap, t.pki = p.ShardMap, p.PKI
			return nil
		}
	}
	if domain == "" {
		return usagef("--provider is needed: %s has several", t.state)
	}
	return mesh.Errorf("meshctl", mesh.UnknownAccount, "%s has no provider %s", t.state, domain)
}

func (t *target) source() (*shardmap.File, error) {
	if t.shardMap == "" {
		return nil, usagef("--shard-map or --state is needed")
	}
	return shardmap.OpenFile(t.shardMap)
}

// shards are connections as the role meshctl.
type shards struct {
	source *shardmap.File
	id     *rpc.Identity
}

func (t *target) open() (*shards, error) {
	source, err := t.source()
	if err != nil {
		return nil, err
	}
	if t.pki == "" {
		return nil, usagef("--pki or --state is needed")
	}
	file := func(name string) string { return filepath.Join(t.pki, name) }
	id, err := rpc.OpenIdentity(file("meshctl.pem"), file("meshctl-key.pem"), file("ca.pem"), slog.Default())
	return &shards{source, id}, err
}

// admin calls f with the Admin service of a target.
func (s *shards) admin(ctx context.Context, address string, f func(context.Context, shardpb.AdminServiceClient) error) error {
	cc, err := rpc.Dial(address, rpc.Shard, rpc.Options{Identity: s.id})
	if err != nil {
		return err
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = rpc.FromStatus("meshctl", f(ctx, shardpb.NewAdminServiceClient(cc)))
	if mesh.KindOf(err) == mesh.Overloaded {
		if state := cc.GetState().String(); state == "TRANSIENT_FAILURE" || state == "CONNECTING" {
			return networkError{fmt.Errorf("the shard at %s does not answer", address)}
		}
	}
	return err
}
