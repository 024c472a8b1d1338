package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
)

const (
	readyTime = 30 * time.Second // a service on a new database; it asks for less than two
	stopTime  = 15 * time.Second // what it gives requests under way, and some
	restTime  = 2 * time.Second  // after which a process that has nothing to do is at rest
)

// child is a process that meshbench started, and the only kind that it ends.
type child struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// startChild starts a program of folder bin; what it says goes to a file in dir.
func startChild(name, dir, program string, args ...string) (*child, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	c := &child{name: name, cmd: exec.Command(program, args...), log: log.Name(), ended: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is for us, we stop it
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is in the log
		close(c.ended)
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the process and waits for it.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.ended:
		return nil
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("%s did not stop in %v, killed", c.name, stopTime), c.cmd.Process.Kill())
	}
}

// await waits until ready says so, the child ends, or it takes too long.
func (c *child) await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for !ready() {
		select {
		case <-c.ended:
			return fmt.Errorf("%s ended: %s", c.name, tail(c.log))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %s", c.name, ctx.Err(), tail(c.log))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	return string(text[max(0, len(text)-most):])
}

// dev is a running `meshd dev`.
type dev struct {
	*child
	stateFile string
	state     *stack.State
}

// startDev starts `meshd dev` with its data in dir.
func startDev(ctx context.Context, bin, dir string, args ...string) (*dev, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { // a private PostgreSQL runs as another user
		return nil, err
	}
	d := &dev{stateFile: filepath.Join(dir, "state.json")}
	args = append([]string{"dev", "--state", d.stateFile, "--data", filepath.Join(dir, "data")}, args...)
	var err error
	if d.child, err = startChild("meshd-dev", dir, filepath.Join(bin, "meshd"), args...); err != nil {
		return nil, err
	}
	err = d.await(ctx, func() bool {
		d.state, err = stack.ReadState(d.stateFile)
		return err == nil
	})
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// roles are a gateway and a shard as processes of their own, with the keys of a provider of `meshd dev`.
type roles struct{ gateway, shard *child }

// startRoles starts them on database, a PostgreSQL URL that nobody else serves. Nothing is asked of them.
func startRoles(ctx context.Context, bin, dir, database string, p *stack.ProviderState) (r roles, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	if err := writeRoleFiles(dir, database, p); err != nil {
		return r, err
	}
	meshd := filepath.Join(bin, "meshd")
	for _, role := range []struct {
		name string
		into **child
		file string
	}{
		{"shard", &r.shard, fmt.Sprintf(`name: s00
listen: 127.0.0.1:0
admin_listen: %%s
store: postgres
database_file: %[1]s/database
services: [{domain: %[2]s, provider_dir: %[3]s}]
cert_file: %[4]s/shard.pem
key_file: %[4]s/shard-key.pem
ca_file: %[4]s/ca.pem
`, dir, p.Domain, p.Provider, p.PKI)},
		{"gateway", &r.gateway, fmt.Sprintf(`listen: 127.0.0.1:0
cleartext_listen: 127.0.0.1:0
admin_listen: %%s
shard_map_file: %[5]s
services: [{domain: %[2]s, provider_dir: %[3]s, tls_cert_file: %[1]s/tls.pem, tls_key_file: %[1]s/tls-key.pem, ring_file: %[1]s/ring.json}]
cert_file: %[4]s/gateway.pem
key_file: %[4]s/gateway-key.pem
ca_file: %[4]s/ca.pem
`, dir, p.Domain, p.Provider, p.PKI, p.ShardMap)},
	} {
		admin, err := freeAddress()
		if err != nil {
			return r, err
		}
		file := filepath.Join(dir, role.name+".yaml")
		if err := os.WriteFile(file, fmt.Appendf(nil, role.file, admin), 0o600); err != nil {
			return r, err
		}
		if *role.into, err = startChild(role.name, dir, meshd, role.name, "--config", file); err != nil {
			return r, err
		}
		err = (*role.into).await(ctx, func() bool {
			_, err := get(ctx, "http://"+admin+"/readyz")
			return err == nil
		})
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// writeRoleFiles makes what a provider of `meshd dev` has in memory only.
func writeRoleFiles(dir, database string, p *stack.ProviderState) error {
	now := time.Now()
	ca, err := rpc.NewCA("meshbench", now)
	if err != nil {
		return err
	}
	cert, key, err := ca.IssueServer([]string{p.Domain}, []net.IP{net.IPv4(127, 0, 0, 1)}, now)
	if err != nil {
		return err
	}
	ring, err := make1.NewRing([]make1.RingEntry{make1.NewRingEntry(now.Add(-time.Minute))})
	if err != nil {
		return err
	}
	ringFile, err := ring.Marshal()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"tls.pem": cert, "tls-key.pem": key, "ring.json": ringFile, "database": []byte(database)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (r roles) stop() error {
	var errs []error
	for _, c := range []*child{r.gateway, r.shard} {
		if c != nil {
			errs = append(errs, c.stop())
		}
	}
	return errors.Join(errs...)
}

// freeAddress is a loopback address that was free a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
