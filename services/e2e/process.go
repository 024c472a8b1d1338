package e2e

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stopTime: a role finishes what is under way, at most ten seconds, and ends.
const stopTime = 15 * time.Second

// Process is one role.
type Process struct {
	Name   string
	Admin  string // its admin listener
	Config string

	binaries Binaries
	program  string // empty: meshd
	args     []string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, once ended
}

// NewProcess is meshd with these arguments, not yet started.
func NewProcess(b Binaries, name string, args ...string) *Process {
	return &Process{binaries: b, Name: name, args: args}
}

// Start starts the process; it is killed at the end of the test. A process that has ended may be started again.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.binaries.Command(cmp.Or(p.program, "meshd"), p.args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(ended)
	}()
	p.cmd, p.ended = cmd, ended
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended long ago
		<-ended
	})
}

// WaitReady waits until the process says that it is ready.
func (p *Process) WaitReady(t testing.TB) {
	t.Helper()
	var out []byte
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.ended:
			t.Fatalf("%s ended: %v", p.Name, p.err)
		default:
		}
		var err error
		if out, err = p.binaries.Command("meshd", "healthcheck", p.Admin).CombinedOutput(); err == nil {
			return
		}
	}
	t.Fatalf("%s is not ready after %v: %s", p.Name, startTime, out)
}

// Signal sends a signal: SIGSTOP and SIGCONT for a process that hangs.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
}

// Kill ends the process as a power failure would.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGKILL)
	<-p.ended
}

// Stop asks the process to end, and wants exit code 0.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("%s stopped with %v, want exit code 0", p.Name, p.err)
		}
	case <-time.After(stopTime):
		t.Errorf("%s did not stop in %v", p.Name, stopTime)
		p.Kill(t)
	}
}

// RSSAnon is the anonymous resident memory of the process in octets.
func (p *Process) RSSAnon() (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no RssAnon")
}
