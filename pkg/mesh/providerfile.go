package mesh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// Files of a provider folder. A role is given public/ and its own folder, nothing else.
const (
	fileOffline      = "offline/service.json"
	fileService      = "public/profile-service.json"
	fileHost         = "public/profile-host.json"
	fileHostOutbound = "public/profile-host-outbound.json"
	fileGateway      = "gateway/keys.json"
	fileShard        = "shard/keys.json"
	fileOutbound     = "outbound/keys.json"
)

// maxProviderFile bounds a file that is read: a profile, or a few keys.
const maxProviderFile = 256 << 10

// roleFile is keys.json of a role; each role has some of the members.
type roleFile struct {
	Domain         string             `json:"Domain"`
	Authentication []*keys.PrivateKey `json:"Authentication,omitempty"`
	Signature      *keys.PrivateKey   `json:"Signature,omitempty"`
	Encryption     *keys.PrivateKey   `json:"Encryption,omitempty"`
}

// WriteProvider writes the provider into the folder dir, which must not exist or be empty. The folder appears whole or
// not at all; files with private keys can be read by their owner only.
func (p *Provider) WriteProvider(dir string) error {
	const op = "mesh.WriteProvider"
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return Errorf(op, Conflict, "%s is not empty", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return E(op, Internal, err)
	}
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return E(op, Internal, err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".provider-*") // 0700
	if err != nil {
		return E(op, Internal, err)
	}
	defer func() { _ = os.RemoveAll(work) }() // gone already when all went well
	for name, v := range map[string]any{
		fileOffline:      p.Offline,
		fileService:      p.Gateway.EnvelopedProfileService,
		fileHost:         p.Gateway.EnvelopedProfileHost,
		fileHostOutbound: p.Outbound.EnvelopedProfileHost,
		fileGateway:      roleFile{Domain: p.Domain, Authentication: p.Gateway.Authentication, Signature: p.Gateway.Signature},
		fileShard:        roleFile{Domain: p.Domain, Encryption: p.Shard.Encryption, Signature: p.Shard.Signature},
		fileOutbound:     roleFile{Domain: p.Domain, Authentication: []*keys.PrivateKey{p.Outbound.Authentication}, Signature: p.Outbound.Signature},
	} {
		if err := writeFile(filepath.Join(work, filepath.FromSlash(name)), v); err != nil {
			return E(op, Internal, err)
		}
	}
	if err := os.Rename(work, dir); err != nil {
		return E(op, Internal, err)
	}
	return nil
}

// writeFile writes v as JSON, durably.
func writeFile(path string, v any) error {
	octets, err := jbcd.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(octets, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// LoadGateway reads what a gateway needs of the provider folder dir and checks that it belongs together.
func LoadGateway(dir string) (*GatewayKeys, error) {
	const op = "mesh.LoadGateway"
	r, id, err := loadRole(dir, fileGateway, fileHost)
	if err != nil {
		return nil, E(op, Internal, err)
	}
	g := &GatewayKeys{ServiceIdentity: id, Authentication: r.Authentication, Signature: r.Signature}
	return loaded(op, fileGateway, g, g.check())
}

// LoadShard reads what a shard needs.
func LoadShard(dir string) (*ShardKeys, error) {
	const op = "mesh.LoadShard"
	r, id, err := loadRole(dir, fileShard, fileHost)
	if err != nil {
		return nil, E(op, Internal, err)
	}
	s := &ShardKeys{ServiceIdentity: id, Encryption: r.Encryption, Signature: r.Signature}
	return loaded(op, fileShard, s, s.check())
}

// LoadOutbound reads what the forwarding worker needs.
func LoadOutbound(dir string) (*OutboundKeys, error) {
	const op = "mesh.LoadOutbound"
	r, id, err := loadRole(dir, fileOutbound, fileHostOutbound)
	if err != nil {
		return nil, E(op, Internal, err)
	}
	o := &OutboundKeys{ServiceIdentity: id, Signature: r.Signature}
	if len(r.Authentication) > 0 {
		o.Authentication = r.Authentication[0]
	}
	return loaded(op, fileOutbound, o, o.check())
}

func loaded[T any](op, file string, v *T, err error) (*T, error) {
	if err != nil {
		return nil, E(op, Internal, fmt.Errorf("%s: %w", file, err))
	}
	return v, nil
}

// loadRole reads the keys of a role and the profiles of its host.
func loadRole(dir, roleName, hostName string) (*roleFile, ServiceIdentity, error) {
	r, service, host := new(roleFile), new(dare.Envelope), new(dare.Envelope)
	for name, v := range map[string]any{roleName: r, fileService: service, hostName: host} {
		if err := readFile(filepath.Join(dir, filepath.FromSlash(name)), v); err != nil {
			return nil, ServiceIdentity{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	domain, err := CanonicalDomain(r.Domain)
	if err != nil {
		return nil, ServiceIdentity{}, fmt.Errorf("%s: %w", roleName, err)
	}
	id, err := identity(domain, service, host)
	return r, id, err
}

func readFile(path string, v any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxProviderFile {
		return errors.New("too long")
	}
	octets, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return jbcd.Unmarshal(octets, v)
}
