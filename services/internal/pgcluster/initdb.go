package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Binaries finds the directory of initdb and postgres: PATH, then where Debian puts the newest.
func Binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil && executable(filepath.Join(filepath.Dir(path), "postgres")) {
			return filepath.Dir(path), nil
		}
	}
	best, version := "", 0
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, dir := range dirs {
		v, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if v > version && executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			best, version = dir, v
		}
	}
	if best == "" {
		return "", errors.New("no initdb and postgres in PATH or /usr/lib/postgresql/*/bin; install them (Debian: apt-get install postgresql)")
	}
	return best, nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// user is whom the server runs as.
type user struct {
	uid, gid int
	switched bool
}

func runAs() (*user, error) {
	if os.Geteuid() != 0 {
		return &user{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	u, err := osuser.Lookup("postgres")
	if err != nil {
		return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres to run it as (Debian: apt-get install postgresql)")
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return &user{uid, gid, true}, err
}

func (u *user) attributes() *syscall.SysProcAttr {
	a := new(syscall.SysProcAttr)
	if u.switched {
		a.Credential = &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
	}
	return a
}

// tempDir makes a directory of the user's. A long TMPDIR is not used: sockets lie within.
func (u *user) tempDir(name string) (string, error) {
	base := os.TempDir()
	if len(base) > 60 {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, name)
	if err != nil {
		return "", err
	}
	if err := os.Chown(dir, u.uid, u.gid); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// ownDir makes dir if need be and gives it to the user.
func (u *user) ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chown(dir, u.uid, u.gid); err != nil {
		return err
	}
	if !u.switched {
		return nil
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return err
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode()&0o001 == 0 && int(owner.Uid) != u.uid {
			return fmt.Errorf("the user postgres cannot enter %s: choose another place, or chmod o+x", parent)
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

// initialise runs initdb. A cluster that is not durable is copied from a template that the machine keeps: 0.2 s instead of 1 s.
func initialise(ctx context.Context, bin string, who *user, data string, o Options) error {
	if o.Durable {
		return initdb(ctx, bin, who, data)
	}
	version, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return err
	}
	template := filepath.Join(os.TempDir(), fmt.Sprintf("meshpg-template-%d-%s", who.uid, strings.Map(digit, string(version))))
	if !who.owns(template) {
		work, err := who.tempDir("meshpg")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(work) }()
		fresh := filepath.Join(work, "data")
		if err := initdb(ctx, bin, who, fresh, "--no-sync"); err != nil {
			return err
		}
		// Whoever comes first wins; of somebody else's directory of that name we take nothing.
		if err := os.Rename(fresh, template); err != nil && !who.owns(template) {
			return who.command(ctx, "cp", "-a", fresh, data)
		}
	}
	return who.command(ctx, "cp", "-a", template, data)
}

func digit(r rune) rune {
	if r >= '0' && r <= '9' || r == '.' {
		return r
	}
	return -1
}

// owns says whether dir is a directory that only the user writes to.
func (u *user) owns(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == u.uid
}

func initdb(ctx context.Context, bin string, who *user, data string, more ...string) error {
	// Locale C: our keys are compared as octets, and an update of the machine's libc breaks no index.
	args := append([]string{"-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-instructions"}, more...)
	return who.command(ctx, filepath.Join(bin, "initdb"), args...)
}

func (u *user) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr, cmd.Env, cmd.Dir = u.attributes(), environment(), "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out)
	}
	return nil
}
