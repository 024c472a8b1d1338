package inbound

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v3"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

const (
	// maxSite bounds the file: ten thousand entries of a list are half of it.
	maxSite = 1 << 20
	// siteInterval: an operator who blocks somebody wants it to count at once.
	siteInterval = 2 * time.Second
	// expressionCost ends an expression that would go through a list for ever; ours take tens.
	expressionCost = 10_000
)

// Site is a version of the site policy, the YAML file of an operator. The zero value refuses nothing.
type Site struct {
	version string
	file    siteFile
	rules   []siteRule
}

// siteFile is the file. Services are named by the UDF of their ProfileService or by domain, senders by address or by the UDF of their
// ProfileAccount.
type siteFile struct {
	Deny struct {
		Services []string `yaml:"services"`
		Senders  []string `yaml:"senders"`
	} `yaml:"deny"`
	Allow struct {
		Services []string `yaml:"services"` // not empty: these only
	} `yaml:"allow"`
	Trusted []string `yaml:"trusted"` // services of class "trusted"
	Rules   []struct {
		Name   string `yaml:"name"`
		When   string `yaml:"when"`   // CEL, bool
		Refuse string `yaml:"refuse"` // name of the registry (PROTOCOL §5); default MeshMessageUnsupported
	} `yaml:"rules"`
}

// siteRule is an expression that refuses what it is true of.
type siteRule struct {
	name    string
	kind    mesh.Kind
	program cel.Program
}

// refusals are the kinds that a site rule may give.
var refusals = []mesh.Kind{
	mesh.MessageUnsupported, mesh.ServiceBlockedSender, mesh.ServiceBlockedService, mesh.InsufficientPrivilege, mesh.RequestSize,
}

// ParseSite reads a policy. Errors name the rule, and where in it.
func ParseSite(text []byte) (*Site, error) {
	if len(text) > maxSite {
		return nil, fmt.Errorf("site policy of %d octets: at most %d", len(text), maxSite)
	}
	sum := sha256.Sum256(text)
	s := &Site{version: hex.EncodeToString(sum[:6])}
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	d.KnownFields(true)
	if err := d.Decode(&s.file); err != nil && !errors.Is(err, io.EOF) { // nothing, or comments only: refuses nothing
		return nil, fmt.Errorf("site policy: %w", err)
	}
	for _, list := range [][]string{s.file.Deny.Services, s.file.Allow.Services, s.file.Trusted, s.file.Deny.Senders} {
		for i := range list {
			list[i] = nameOf(list[i])
		}
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	for i, r := range s.file.Rules {
		if r.Name == "" {
			return nil, fmt.Errorf("site policy: rule %d has no name", i+1)
		}
		compiled, err := compile(env, r.Name, r.When, r.Refuse)
		if err != nil {
			return nil, err
		}
		s.rules = append(s.rules, compiled)
	}
	return s, nil
}

// environment declares what expressions see.
func environment() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("type", cel.StringType),                 // MessageType
		cel.Variable("sender", cel.StringType),               // address
		cel.Variable("sender_udf", cel.StringType),           // of the ProfileAccount
		cel.Variable("service", cel.StringType),              // domain that transmitted it; empty: a local sender
		cel.Variable("service_class", cel.StringType),        // "local", "trusted", "other"
		cel.Variable("recipient", cel.StringType),            // address
		cel.Variable("size", cel.IntType),                    // octets
		cel.Variable("encrypted", cel.BoolType),              // to the recipient
		cel.Variable("contact", cel.BoolType),                // the sender stands in the recipient's contacts
		cel.Variable("rights", cel.ListType(cel.StringType)), // that the recipient grants
	)
}

func compile(env *cel.Env, name, when, refuse string) (siteRule, error) {
	r := siteRule{name: "site-" + name, kind: mesh.MessageUnsupported}
	if refuse != "" {
		i := slices.IndexFunc(refusals, func(k mesh.Kind) bool { return k.String() == refuse })
		if i < 0 {
			return r, fmt.Errorf("site policy: rule %q refuses with %q: one of %v", name, refuse, refusals)
		}
		r.kind = refusals[i]
	}
	ast, issues := env.Compile(when)
	if err := issues.Err(); err != nil {
		return r, fmt.Errorf("site policy: rule %q: %w", name, err)
	}
	if ast.OutputType() != cel.BoolType {
		return r, fmt.Errorf("site policy: rule %q is of type %s, not bool", name, ast.OutputType())
	}
	var err error
	if r.program, err = env.Program(ast, cel.CostLimit(expressionCost)); err != nil {
		return r, fmt.Errorf("site policy: rule %q: %w", name, err)
	}
	return r, nil
}

// nameOf is the spelling in which names of services and senders are compared.
func nameOf(name string) string {
	if strings.Contains(name, "@") {
		if a, err := mesh.ParseAddress(name); err == nil {
			return a.String()
		}
	}
	if strings.Contains(name, ".") {
		if d, err := mesh.CanonicalDomain(name); err == nil {
			return d
		}
	}
	return udf.Canonical(name)
}

// Version names the policy in verdicts: the beginning of the digest of its text.
func (s *Site) Version() string { return s.version }

func (s *Site) deniesService(serviceUDF, domain string) bool {
	return contains(s.file.Deny.Services, serviceUDF, domain)
}

func (s *Site) allowsService(serviceUDF, domain string) bool {
	return len(s.file.Allow.Services) == 0 || contains(s.file.Allow.Services, serviceUDF, domain)
}

func (s *Site) deniesSender(address, senderUDF string) bool {
	return contains(s.file.Deny.Senders, senderUDF, address)
}

func contains(list []string, fingerprint, name string) bool {
	return fingerprint != "" && slices.Contains(list, udf.Canonical(fingerprint)) || name != "" && slices.Contains(list, name)
}

// refuse asks the expressions in their order. One that fails refuses: a policy that cannot be applied must not let through what it
// was written against.
func (s *Site) refuse(f *facts) (name string, kind mesh.Kind, refused bool) {
	if len(s.rules) == 0 {
		return "", 0, false
	}
	values := map[string]any{
		"type":          f.letter.Type,
		"sender":        f.address,
		"sender_udf":    f.identity(),
		"service":       f.serviceDomain,
		"service_class": s.class(f),
		"recipient":     f.recipient,
		"size":          f.size,
		"encrypted":     f.letter.Encrypted,
		"contact":       f.standing.GetContact(),
		"rights":        f.standing.GetRights(),
	}
	for _, r := range s.rules {
		out, _, err := r.program.Eval(values)
		if err != nil {
			return r.name, r.kind, true
		}
		if yes, ok := out.Value().(bool); ok && yes {
			return r.name, r.kind, true
		}
	}
	return "", 0, false
}

func (s *Site) class(f *facts) string {
	switch {
	case !f.fromOther:
		return "local"
	case contains(s.file.Trusted, f.delivery.GetServiceUdf(), f.serviceDomain):
		return "trusted"
	}
	return "other"
}

// SiteFile is the policy of a file that may change.
type SiteFile struct {
	path    string
	current atomic.Pointer[Site]
}

// OpenSite reads the file; without a path the policy refuses nothing.
func OpenSite(path string) (*SiteFile, error) {
	f := &SiteFile{path: path}
	if path == "" {
		f.current.Store(&Site{version: "none"})
		return f, nil
	}
	return f, f.refresh()
}

// Site is the policy now.
func (f *SiteFile) Site() *Site { return f.current.Load() }

func (f *SiteFile) refresh() error {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("site policy: %w", err)
	}
	s, err := ParseSite(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if old := f.current.Load(); old == nil || old.version != s.version {
		f.current.Store(s)
	}
	return nil
}

// Watch reads the file again and again until ctx ends. A file that is wrong leaves the policy as it was, and is reported once.
func (f *SiteFile) Watch(ctx context.Context, log *slog.Logger) {
	if f.path == "" {
		return
	}
	tick := time.NewTicker(siteInterval)
	defer tick.Stop()
	var last error
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := f.Site().Version()
		err := f.refresh()
		switch {
		case err != nil && (last == nil || last.Error() != err.Error()):
			log.ErrorContext(ctx, "site policy not read again: the old one counts", slog.Any("err", err))
		case err == nil && f.Site().Version() != before:
			log.InfoContext(ctx, "site policy read", slog.String("version", f.Site().Version()))
		}
		last = err
	}
}
