package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// show checks the signatures of the profiles in public/ and, of each role whose keys are there, that the keys are
// those of the profiles. It prints public keys only, by name.
func show(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("show", flag.ContinueOnError)
	if err := parse(flags, args, 1, stderr); err != nil {
		return err
	}
	dir := flags.Arg(0)
	envelope, err := read(dir, "profile-service.json")
	if err != nil {
		return err
	}
	service, err := mesh.VerifyProfileService(envelope)
	if err != nil {
		return fmt.Errorf("profile-service.json: %w", err)
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	line := func(title, value string) { _, _ = fmt.Fprintf(w, "%s\t%s\n", title, value) } // Flush has the error
	for _, name := range service.Names {
		line("domain", name)
	}
	line("service", service.UDF())
	line("  encryption", service.KeyEncryption.KID())
	for _, h := range []struct{ title, file string }{
		{"host", "profile-host.json"}, {"outbound host", "profile-host-outbound.json"},
	} {
		if err := showHost(line, dir, h.title, h.file, service); err != nil {
			return err
		}
	}
	for _, r := range []struct {
		role, file string
		load       func(string) error
	}{
		{"gateway keys", "gateway/keys.json", ignore(mesh.LoadGateway)},
		{"shard keys", "shard/keys.json", ignore(mesh.LoadShard)},
		{"outbound keys", "outbound/keys.json", ignore(mesh.LoadOutbound)},
		{"offline keys", "offline/service.json", nil},
	} {
		state, err := "complete", error(nil)
		_, statErr := os.Stat(filepath.Join(dir, filepath.FromSlash(r.file)))
		switch {
		case errors.Is(statErr, fs.ErrNotExist):
			state = "not here"
		case statErr != nil:
			err = statErr
		case r.load == nil:
			state = "here: keep them offline"
		default:
			err = r.load(dir)
		}
		if err != nil {
			return err
		}
		line(r.role, state)
	}
	return w.Flush()
}

func showHost(line func(title, value string), dir, title, file string, service *mesh.ProfileService) error {
	envelope, err := read(dir, file)
	if err != nil {
		return err
	}
	host, err := mesh.VerifyProfileHost(envelope, service)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	s := host.KeyAuthentication
	line(title, host.UDF())
	line("  authentication", s.KID()+life(s))
	for i := range host.KeysOnlineSignature {
		line("  signature", host.KeysOnlineSignature[i].KID())
	}
	return nil
}

func life(k *mesh.KeyData) string {
	if k.NotOnOrAfter == nil {
		return ""
	}
	end := k.NotOnOrAfter.UTC()
	if !time.Now().Before(end) {
		return ", EXPIRED " + end.Format(time.DateOnly)
	}
	return ", accepted before " + end.Format(time.DateOnly)
}

func ignore[T any](load func(string) (*T, error)) func(string) error {
	return func(dir string) error { _, err := load(dir); return err }
}

// maxProfile bounds a file that is read: a profile is some kilobytes.
const maxProfile = 256 << 10

func read(dir, name string) (*dare.Envelope, error) {
	f, err := os.Open(filepath.Join(dir, "public", name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was read
	octets, err := io.ReadAll(io.LimitReader(f, maxProfile))
	if err != nil {
		return nil, err
	}
	envelope := new(dare.Envelope)
	if err := jbcd.Unmarshal(octets, envelope); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return envelope, nil
}
