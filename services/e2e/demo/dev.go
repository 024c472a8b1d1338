package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// devService is `meshd dev`: two providers, two shards each, in one process.
type devService struct {
	d     *demo
	store string
	cmd   *exec.Cmd
}

func (s *devService) state() string { return filepath.Join(s.d.work, "state.json") }
func (s *devService) data() string  { return filepath.Join(s.d.work, "data") }

func (s *devService) start() error {
	_ = os.Remove(s.state()) // of a run before a kill
	log, err := os.OpenFile(filepath.Join(s.d.work, "meshd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(s.d.bin, "meshd"), "dev", "--store", s.store, "--state", s.state(), "--data", s.data())
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait() // how it ended stands in its log
		close(exited)
	}(s.cmd)
	var dead bool
	err = waitFor("meshd dev is ready", time.Minute, func() bool {
		select {
		case <-exited:
			dead = true
		default:
		}
		_, err := os.Stat(s.state())
		return dead || err == nil
	})
	if dead {
		err = errors.New("meshd dev ended before it was ready")
	}
	if err != nil {
		return fmt.Errorf("%w; see %s", err, log.Name())
	}
	return nil
}

func (s *devService) kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	return waitFor("the killed process is gone", 10*time.Second, func() bool { return s.cmd.Process.Signal(syscall.Signal(0)) != nil })
}

func (s *devService) restart() error           { return s.start() }
func (s *devService) away(domain string) error { return s.control("stop", domain) }
func (s *devService) back(domain string) error { return s.control("start", domain) }

func (s *devService) control(verb, domain string) error {
	return s.d.exec("", "meshctl", "dev", verb, domain, "--state", s.state()).want(0)
}

func (s *devService) stop() {
	if s.cmd == nil || s.cmd.Process.Signal(syscall.SIGTERM) != nil {
		return
	}
	if waitFor("stop", 15*time.Second, func() bool { return s.cmd.Process.Signal(syscall.Signal(0)) != nil }) != nil {
		_ = s.cmd.Process.Kill()
	}
}

// databases lists the database of every shard, from the state file.
func (s *devService) databases() []string {
	var state struct {
		Providers []struct{ Shards []struct{ Database string } }
	}
	b, err := os.ReadFile(s.state())
	if err != nil || json.Unmarshal(b, &state) != nil {
		return nil
	}
	var all []string
	for _, p := range state.Providers {
		for _, shard := range p.Shards {
			all = append(all, shard.Database)
		}
	}
	return all
}

func (s *devService) where(address string) (string, error) {
	return whereByState(s.d, s.state(), address)
}

// whereByState asks meshctl, which finds the shards by the state file.
func whereByState(d *demo, state, address string) (string, error) {
	r := d.exec("", "meshctl", "account", "where", address, "--state", state, "-o", "json")
	if err := r.want(0); err != nil {
		return "", err
	}
	var out struct{ Shard string }
	err := json.Unmarshal([]byte(r.out), &out)
	return out.Shard, err
}

func (s *devService) memory() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return "unknown here"
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return "meshd dev, both providers: RssAnon " + strings.TrimSpace(rest)
		}
	}
	return "unknown here"
}
