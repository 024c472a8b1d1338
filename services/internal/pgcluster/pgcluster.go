// Package pgcluster runs a private PostgreSQL from the machine's binaries: for tests (pgtest) and for meshd dev.
//
// A cluster listens on a Unix socket only, in a directory that nobody else may enter. PostgreSQL refuses to run as root; then
// it runs as the user postgres. It is a child: it stops when Stop is called, and at once when this process dies by any means,
// which a durable cluster survives without loss.
package pgcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// port is the name of the socket in a directory that is ours alone.
const port = "5432"

// startTime bounds initdb and the start each. They take one second; recovery of a killed cluster on a slow disk takes more.
const startTime = 60 * time.Second

// Options say what cluster to run.
type Options struct {
	Dir      string   // holds the cluster, kept across restarts; empty: a temporary one, removed by Stop
	Durable  bool     // commits reach the disk
	Settings []string // name=value
}

// Cluster is a running PostgreSQL.
type Cluster struct {
	dir       string // removed by Stop when temporary
	temporary bool
	sockets   string
	elsewhere bool // sockets is not within dir
	process   *os.Process
	log       string
	ended     chan struct{} // closed when the process has ended
}

// Start makes the cluster when it does not exist, starts it, and returns when it takes connections.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("private PostgreSQL: %w", err)
	}
	return c, nil
}

func start(ctx context.Context, o Options) (*Cluster, error) {
	bin, err := Binaries()
	if err != nil {
		return nil, err
	}
	who, err := runAs()
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: o.Dir, temporary: o.Dir == ""}
	if c.temporary {
		if c.dir, err = who.tempDir("meshpg"); err != nil {
			return nil, err
		}
	} else if err := who.ownDir(c.dir); err != nil {
		return nil, err
	}
	if err = c.socketDir(who); err == nil {
		err = c.run(ctx, bin, who, o)
	}
	if err != nil {
		return nil, errors.Join(err, c.clean())
	}
	return c, nil
}

// socketDir puts the socket beside the data, or where its path is short enough: it has at most 107 octets.
func (c *Cluster) socketDir(who *user) (err error) {
	c.sockets = filepath.Join(c.dir, "socket")
	if len(c.sockets) < 80 && filepath.IsAbs(c.sockets) {
		return who.ownDir(c.sockets)
	}
	c.sockets, err = who.tempDir("meshpg")
	c.elsewhere = true
	return err
}

func (c *Cluster) run(ctx context.Context, bin string, who *user, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	data := filepath.Join(c.dir, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err != nil {
		if err := initialise(ctx, bin, who, data, o); err != nil {
			return err
		}
	}
	args := []string{"-D", data, "-k", c.sockets, "-p", port, "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700", "-c", "logging_collector=off"}
	if !o.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	for _, s := range o.Settings {
		args = append(args, "-c", s)
	}
	c.log = filepath.Join(c.dir, "log")
	for {
		err := c.launch(ctx, filepath.Join(bin, "postgres"), args, who)
		// The postmaster of a killed predecessor may need a moment to go.
		if err == nil || ctx.Err() != nil || !errors.Is(err, errLocked) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var errLocked = errors.New("another server still runs on its data") // a constant; errors.Is needs a value

// launch starts the server and waits until it answers.
func (c *Cluster) launch(ctx context.Context, program string, args []string, who *user) error {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.sockets
	cmd.Env = environment()
	cmd.SysProcAttr = who.attributes()
	// A group of its own: an interrupt from the terminal is for us, we stop the server. SIGQUIT is its immediate shutdown.
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGQUIT

	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig follows the thread that started the process: it must live as long
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	c.process, c.ended = cmd.Process, ended
	for {
		conn, err := pgx.Connect(ctx, c.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(c.log)
			// The second: the postmaster was killed and has left children, who notice and go.
			if bytes.Contains(text, []byte("postmaster.pid")) || bytes.Contains(text, []byte("pre-existing shared memory block")) {
				return errLocked
			}
			return fmt.Errorf("the server ended:\n%s", text)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err, c.stop(syscall.SIGQUIT))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// URL names a database of the cluster.
func (c *Cluster) URL(database string) string {
	q := url.Values{"host": {c.sockets}, "port": {port}, "sslmode": {"disable"}}
	return "postgres://postgres@/" + url.PathEscape(database) + "?" + q.Encode()
}

// CreateDatabase makes a database when there is none of that name.
func (c *Cluster) CreateDatabase(ctx context.Context, name string) error {
	_, err := CreateDatabase(ctx, c.URL("postgres"), name)
	return err
}

// PID is the process of the server.
func (c *Cluster) PID() int { return c.process.Pid }

// Stop ends the server: in good order, connections are cut. A temporary cluster is removed.
func (c *Cluster) Stop() error {
	how := syscall.SIGINT
	if c.temporary {
		how = syscall.SIGQUIT // nobody needs its checkpoint
	}
	return errors.Join(c.stop(how), c.clean())
}

// Crash ends the server as a crash does: without a checkpoint, connections cut. A cluster with a directory can be started again.
func (c *Cluster) Crash() error {
	return c.stop(syscall.SIGQUIT)
}

func (c *Cluster) stop(how syscall.Signal) error {
	if c.process == nil {
		return nil
	}
	if err := c.process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.ended:
		return nil
	case <-time.After(startTime): // a checkpoint that takes longer is none
		return errors.Join(fmt.Errorf("PostgreSQL %d did not stop in %v, killed", c.process.Pid, startTime), c.process.Kill())
	}
}

func (c *Cluster) clean() error {
	var err error
	if c.elsewhere {
		err = os.RemoveAll(c.sockets)
	}
	if c.temporary && c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// environment keeps PGHOST and its like away from our server.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "PG") || strings.HasPrefix(s, "LC_") })
}
