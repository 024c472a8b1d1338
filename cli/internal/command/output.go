package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/mathmesh/meshd/cli/internal/formats"
	"github.com/mathmesh/meshd/pkg/client"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// emit writes a result: value as JSON, or what table writes.
func (a *app) emit(value any, table func(w io.Writer)) error {
	if a.output == "json" {
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(value)
	}
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// remark tells a person something beside the result.
func (a *app) remark(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.Err, format+"\n", args...)
	}
}

// progress draws a bar on stderr, when that is a terminal.
func (a *app) progress() client.Progress {
	file, ok := a.Err.(*os.File)
	if a.quiet || a.plain || !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	var bar *progressbar.ProgressBar
	last := ""
	return func(what string, done, total int64) {
		if bar == nil || what != last {
			if bar != nil {
				_ = bar.Finish()
			}
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(file), progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(), progressbar.OptionShowCount())
			last = what
		}
		if total > 0 {
			bar.ChangeMax64(total)
		}
		_ = bar.Set64(done)
		if total > 0 && done >= total {
			_ = bar.Finish()
		}
	}
}

// secret reads a secret: from the file, from stdin for "-", else by a prompt where there is a terminal.
func (a *app) secret(what, file string) (string, error) {
	switch file {
	case "-":
		return firstLine(a.In)
	case "":
		in, ok := a.In.(*os.File)
		if !ok || !term.IsTerminal(int(in.Fd())) {
			return "", usagef("no terminal to ask for the %s: use --%s-file FILE, or - for standard input", what, what)
		}
		fmt.Fprintf(a.Err, "%s: ", what)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(a.Err)
		return string(b), err
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return firstLine(f)
}

// maxSecret bounds a secret's length: more is the wrong file.
const maxSecret = 64 << 10

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxSecret)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// maxImport bounds an import file: an export of ten thousand logins has about 10 MB.
const maxImport = 256 << 20

// readInput reads a file, or stdin for "-".
func (a *app) readInput(name string) ([]byte, error) {
	r := a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxImport+1))
	if err == nil && len(data) > maxImport {
		err = fmt.Errorf("%s has more than %d MiB: not an export", name, maxImport>>20)
	}
	return data, err
}

// writeOutput writes a file that only its owner reads, whole or not at all; "-" is stdout.
func (a *app) writeOutput(name string, data []byte) error {
	if name == "-" {
		_, err := a.Out.Write(data)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".mesh-export-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// imported is the result of an import.
type imported struct {
	Added     int             `json:"added"`
	Updated   int             `json:"updated"`
	Unchanged int             `json:"unchanged"`
	Skipped   []skippedOutput `json:"skipped,omitempty"`
}

type skippedOutput struct {
	Item   string `json:"item"`
	Reason string `json:"reason"`
}

func (a *app) emitImport(what string, r imported, skipped []formats.Skipped) error {
	for _, s := range skipped {
		r.Skipped = append(r.Skipped, skippedOutput{s.Item, s.Reason})
	}
	return a.emit(r, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d added, %d updated, %d unchanged, %d remarks\n", what, r.Added, r.Updated, r.Unchanged, len(r.Skipped))
		for _, s := range r.Skipped {
			fmt.Fprintf(w, "  %s:\t%s\n", s.Item, s.Reason)
		}
	})
}
