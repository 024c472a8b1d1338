package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// demo is one run.
type demo struct {
	ctx      context.Context
	bin      string
	testdata string
	work     string
	began    time.Time
	service  service
	messages bool // between the providers
}

// service is the system under the demo: `meshd dev`, or the compose stack.
type service interface {
	start() error
	kill() error // SIGKILL of whatever serves requests, all of it
	restart() error
	away(domain string) error // takes one provider down
	back(domain string) error
	stop()
	state() string       // state file for the tools
	databases() []string // of every shard: URL or file
	where(address string) (shard string, err error)
	memory() string // RSS of what runs, for the transcript
}

// step runs one step and prints it with its time.
func (d *demo) step(title string, f func() (string, error)) error {
	began := time.Now()
	detail, err := f()
	if err != nil {
		fmt.Printf("  ✗ %s\n", title)
		return fmt.Errorf("%s: %w", title, err)
	}
	fmt.Printf("  ✓ %-66s %7.2f s\n", title, time.Since(began).Seconds())
	if detail != "" {
		fmt.Printf("      %s\n", detail)
	}
	return nil
}

// do runs a step of which there is nothing to tell but that it went well.
func (d *demo) do(title string, f func() error) error {
	return d.step(title, func() (string, error) { return "", f() })
}

func chapter(title string) { fmt.Printf("\n%s\n", title) }

// result is what a command did.
type result struct {
	code     int
	out, err string
}

func (r result) want(code int) error {
	if r.code != code {
		return fmt.Errorf("exit code %d, want %d: %s%s", r.code, code, r.err, r.out)
	}
	return nil
}

// mesh runs the user's tool on one person's data; input is standard input.
func (d *demo) mesh(who, input string, args ...string) result {
	args = append([]string{"--dir", filepath.Join(d.work, who), "--state", d.service.state(), "-o", "json"}, args...)
	return d.exec(input, "mesh", args...)
}

func (d *demo) exec(input, name string, args ...string) result {
	ctx, cancel := context.WithTimeout(d.ctx, 2*time.Minute) // a hung tool is a failure, not a hung demo
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader([]byte(input)), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	r := result{out: out.String(), err: errs.String()}
	switch {
	case err == nil:
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	default:
		r.code, r.err = -1, r.err+err.Error()
	}
	return r
}

// decode reads the JSON that a command wrote.
func decode[T any](r result) (v T, err error) {
	if err := r.want(0); err != nil {
		return v, err
	}
	return v, json.Unmarshal([]byte(r.out), &v)
}

// files reads a folder: relative path → content.
func files(dir string) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		all[rel], err = os.ReadFile(path)
		return err
	})
	return all, err
}

// copyPerson copies a person's data: a second copy of the same device.
func (d *demo) copyPerson(from, to string) error {
	dst := filepath.Join(d.work, to)
	if err := os.RemoveAll(dst); err != nil {
		return err
	}
	return os.CopyFS(dst, os.DirFS(filepath.Join(d.work, from)))
}

// replica is the folder of a person's replica files.
func (d *demo) replica(who, address string) string {
	return filepath.Join(d.work, who, "accounts", address, "replica")
}

// waitFor polls f until it is true.
func waitFor(what string, limit time.Duration, f func() bool) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f() {
			return nil
		}
	}
	return fmt.Errorf("%s: not within %v", what, limit)
}

// eventually asks f, which asks a service, until it is true or fails. It is asked once at least.
func (d *demo) eventually(what string, limit time.Duration, f func() (bool, error)) error {
	for deadline := time.Now().Add(limit); ; {
		if ok, err := f(); ok || err != nil {
			return err
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-time.After(500 * time.Millisecond): // services limit how often one may ask
		}
	}
}
