package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", "", "YAML file of the role (required)")
	_ = cmd.MarkFlagRequired("config") // fails only for a flag that is not there
}

// to is a listener to open: field of the configuration, its value, and where it goes. No address: none.
type to struct {
	field, address string
	listener       *net.Listener
}

// listenAll opens all or none.
func listenAll(all ...to) error {
	for i, t := range all {
		if t.address == "" {
			continue
		}
		l, err := net.Listen("tcp", t.address)
		if err != nil {
			for _, opened := range all[:i] {
				if *opened.listener != nil {
					_ = (*opened.listener).Close() // nothing was served on it
				}
			}
			return fmt.Errorf("%s: %w", t.field, err)
		}
		*t.listener = l
	}
	return nil
}

// newTelemetry reads the key of account hashes and assembles.
func newTelemetry(ctx context.Context, role, format, level, keyFile, endpoint string, out io.Writer) (*telemetry.Telemetry, error) {
	o := telemetry.Options{Role: role, Version: version, Out: out, Format: format, Level: level, Endpoint: endpoint}
	if keyFile != "" {
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return nil, fmt.Errorf("log_key_file: %w", err)
		}
		o.HashKey = key
	}
	return telemetry.New(ctx, o)
}

// certificates are those of the public listener by domain, re-read when their files change. A client that names no
// domain, or an unknown one, gets the first: the gateway then refuses by Host, with a text that people can read.
type certificates struct {
	byDomain map[string]*config.Watched[*tls.Certificate]
	first    *config.Watched[*tls.Certificate]
}

func (c *certificates) add(s config.Service, log *slog.Logger) error {
	// The certificate's file is watched, and the key read with it: whoever renews a pair writes the key first.
	w, err := config.Watch(s.TLSCertFile, log, func([]byte) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(s.TLSCertFile, s.TLSKeyFile)
		return &cert, err
	})
	if err != nil {
		return err
	}
	if c.first == nil {
		c.first, c.byDomain = w, make(map[string]*config.Watched[*tls.Certificate])
	}
	c.byDomain[s.Domain] = w
	return nil
}

func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	for name != "" { // mmm.alpha.example and s07.alpha.example are alpha.example's
		if w := c.byDomain[name]; w != nil {
			return w.Get(), nil
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return c.first.Get(), nil
}
