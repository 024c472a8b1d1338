package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// Gateway is the file of `meshd gateway`.
type Gateway struct {
	Listen          string    `yaml:"listen"`           // public TLS listener, host:port
	CleartextListen string    `yaml:"cleartext_listen"` // empty: no cleartext
	AdminListen     string    `yaml:"admin_listen"`     // /livez, /readyz, /metrics
	Services        []Service `yaml:"services"`         // the virtual services, by domain
	ShardMapFile    string    `yaml:"shard_map_file"`   // re-read on change
	CertFile        string    `yaml:"cert_file"`        // internal certificate of the role gateway, re-read on change
	KeyFile         string    `yaml:"key_file"`
	CAFile          string    `yaml:"ca_file"`       // internal CA
	NATS            []string  `yaml:"nats"`          // servers of the queue; empty: no messages
	LogFormat       string    `yaml:"log_format"`    // json, text
	LogLevel        string    `yaml:"log_level"`     // debug, info, warn, error
	LogKeyFile      string    `yaml:"log_key_file"`  // key of account hashes, the same for all roles; empty: random
	OTLPEndpoint    string    `yaml:"otlp_endpoint"` // empty: no traces
}

// Service is one virtual service of a gateway.
type Service struct {
	Domain      string `yaml:"domain"`
	ProviderDir string `yaml:"provider_dir"` // made by meshkey: public/ and gateway/keys.json are read
	TLSCertFile string `yaml:"tls_cert_file"`
	TLSKeyFile  string `yaml:"tls_key_file"`
	RingFile    string `yaml:"ring_file"`    // ticket key ring, made by `meshctl tickets rotate`, re-read on change
	Policy      string `yaml:"policy"`       // open (default), manual, closed
	ApprovalURL string `yaml:"approval_url"` // manual: where the user finishes the request
}

func (c *Gateway) check() error {
	if err := need("listen", c.Listen, "shard_map_file", c.ShardMapFile, "cert_file", c.CertFile, "key_file", c.KeyFile, "ca_file", c.CAFile); err != nil {
		return err
	}
	if len(c.Services) == 0 {
		return errors.New("services must name at least one domain")
	}
	for i := range c.Services {
		s := &c.Services[i]
		err := need("domain", s.Domain, "provider_dir", s.ProviderDir, "tls_cert_file", s.TLSCertFile, "tls_key_file", s.TLSKeyFile, "ring_file", s.RingFile)
		if err != nil {
			return fmt.Errorf("services[%d]: %w", i, err)
		}
		switch s.Policy {
		case "":
			s.Policy = "open"
		case "open", "closed":
		case "manual":
			if s.ApprovalURL == "" {
				return fmt.Errorf("services[%d]: policy manual needs an approval_url", i)
			}
		default:
			return fmt.Errorf("services[%d]: policy %q: want open, manual or closed", i, s.Policy)
		}
	}
	return nil
}

// Shard is the file of `meshd shard`.
type Shard struct {
	Name         string      `yaml:"name"`          // s00 …, as in the shard map
	Listen       string      `yaml:"listen"`        // gRPC over mutual TLS, host:port
	AdminListen  string      `yaml:"admin_listen"`  // /livez, /readyz, /metrics
	Store        string      `yaml:"store"`         // postgres, sqlite
	DatabaseFile string      `yaml:"database_file"` // postgres: file that holds the URL, a secret; sqlite: the database itself
	Services     []ShardKeys `yaml:"services"`
	CertFile     string      `yaml:"cert_file"` // internal certificate of the role shard, re-read on change
	KeyFile      string      `yaml:"key_file"`
	CAFile       string      `yaml:"ca_file"`
	NATS         []string    `yaml:"nats"` // servers of the queue; empty: messages are kept and not relayed
	LogFormat    string      `yaml:"log_format"`
	LogLevel     string      `yaml:"log_level"`
	LogKeyFile   string      `yaml:"log_key_file"`
	OTLPEndpoint string      `yaml:"otlp_endpoint"`
}

// Inbound is the file of `meshd inbound`.
type Inbound struct {
	Services       []string `yaml:"services"`         // domains of this provider
	AdminListen    string   `yaml:"admin_listen"`     // /livez, /readyz, /metrics
	ShardMapFile   string   `yaml:"shard_map_file"`   // re-read on change
	NATS           []string `yaml:"nats"`             // servers of the queue
	SitePolicyFile string   `yaml:"site_policy_file"` // re-read on change; empty: none
	DNS            string   `yaml:"dns"`              // resolver, host:port; empty: the system's
	TrustFile      string   `yaml:"trust_file"`       // CAs of other providers; empty: the system's
	AllowPrivate   bool     `yaml:"allow_private"`    // other providers may have private addresses: for tests
	CertFile       string   `yaml:"cert_file"`        // internal certificate of the role inbound, re-read on change
	KeyFile        string   `yaml:"key_file"`
	CAFile         string   `yaml:"ca_file"`
	LogFormat      string   `yaml:"log_format"`
	LogLevel       string   `yaml:"log_level"`
	LogKeyFile     string   `yaml:"log_key_file"`
	OTLPEndpoint   string   `yaml:"otlp_endpoint"`
}

func (c *Inbound) check() error {
	if err := need("shard_map_file", c.ShardMapFile, "cert_file", c.CertFile, "key_file", c.KeyFile, "ca_file", c.CAFile); err != nil {
		return err
	}
	return some(c.Services, c.NATS)
}

// Outbound is the file of `meshd outbound`.
type Outbound struct {
	ProviderDir  string   `yaml:"provider_dir"`   // made by meshkey: public/ and outbound/keys.json are read
	AdminListen  string   `yaml:"admin_listen"`   // /livez, /readyz, /metrics
	ShardMapFile string   `yaml:"shard_map_file"` // re-read on change
	NATS         []string `yaml:"nats"`           // servers of the queue
	DNS          string   `yaml:"dns"`            // resolver, host:port; empty: the system's
	TrustFile    string   `yaml:"trust_file"`     // CAs of other providers; empty: the system's
	AllowPrivate bool     `yaml:"allow_private"`  // other providers may have private addresses: for tests
	CertFile     string   `yaml:"cert_file"`      // internal certificate of the role outbound, re-read on change
	KeyFile      string   `yaml:"key_file"`
	CAFile       string   `yaml:"ca_file"`
	LogFormat    string   `yaml:"log_format"`
	LogLevel     string   `yaml:"log_level"`
	LogKeyFile   string   `yaml:"log_key_file"`
	OTLPEndpoint string   `yaml:"otlp_endpoint"`
}

func (c *Outbound) check() error {
	err := need("provider_dir", c.ProviderDir, "shard_map_file", c.ShardMapFile, "cert_file", c.CertFile, "key_file", c.KeyFile, "ca_file", c.CAFile)
	if err != nil {
		return err
	}
	return some([]string{c.ProviderDir}, c.NATS)
}

// some checks the lists of a worker.
func some(services, nats []string) error {
	if len(services) == 0 {
		return errors.New("services must name at least one domain")
	}
	if len(nats) == 0 {
		return errors.New("nats must name at least one server")
	}
	return nil
}

// ShardKeys are the keys with which a shard serves a domain.
type ShardKeys struct {
	Domain      string `yaml:"domain"`
	ProviderDir string `yaml:"provider_dir"` // made by meshkey: shard/keys.json is read
}

// Database is where the data are: the PostgreSQL URL in the file, or the SQLite file itself.
func (c *Shard) Database() (string, error) {
	if c.Store == "sqlite" {
		return c.DatabaseFile, nil
	}
	url, err := os.ReadFile(c.DatabaseFile)
	if err != nil {
		return "", fmt.Errorf("database_file: %w", err)
	}
	return string(bytes.TrimSpace(url)), nil
}

func (c *Shard) check() error {
	if err := need("name", c.Name, "listen", c.Listen, "database_file", c.DatabaseFile, "cert_file", c.CertFile, "key_file", c.KeyFile, "ca_file", c.CAFile); err != nil {
		return err
	}
	if c.Store != "postgres" && c.Store != "sqlite" {
		return fmt.Errorf("store %q: want postgres or sqlite", c.Store)
	}
	if len(c.Services) == 0 {
		return errors.New("services must name at least one domain")
	}
	for i, s := range c.Services {
		if err := need("domain", s.Domain, "provider_dir", s.ProviderDir); err != nil {
			return fmt.Errorf("services[%d]: %w", i, err)
		}
	}
	return nil
}
