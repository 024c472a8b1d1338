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
	"unicode"

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
	table(visible{w})
	return w.Flush()
}

// visible writes text as a terminal may see it: what comes from imports and other devices may hold escape sequences, which
// could redraw what stands above. Control characters become U+FFFD, but for the ends of cells and lines.
type visible struct{ io.Writer }

func (v visible) Write(p []byte) (int, error) {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, string(p))
	if _, err := io.WriteString(v.Writer, clean); err != nil {
		return 0, err
	}
	return len(p), nil
}

// remark tells a person something beside the result.
func (a *app) remark(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(visible{a.Err}, format+"\n", args...)
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

// secret reads a secret, which is not empty: from the file, from stdin for "-", else by a prompt where there is a terminal.
func (a *app) secret(what, file string) (string, error) {
	s, err := a.readSecret(what, file)
	if err == nil && s == "" { // of a generator that failed, perhaps: it would take the place of a good one
		err = usagef("the %s is empty", what)
	}
	return s, err
}

func (a *app) readSecret(what, file string) (string, error) {
	switch file {
	case "-":
		return firstLine(a.stdin)
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
	return firstLine(bufio.NewReader(f))
}

// maxSecret bounds a secret's length: more is the wrong file.
const maxSecret = 64 << 10

// firstLine reads a line and leaves the rest.
func firstLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		c, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF), err == nil && c == '\n':
			return strings.TrimRight(string(line), "\r"), nil
		case err != nil:
			return "", err
		case len(line) == maxSecret:
			return "", fmt.Errorf("a secret of more than %d KiB: not the right file", maxSecret>>10)
		}
		line = append(line, c)
	}
}

// maxImport bounds an import file: an export of ten thousand logins has about 10 MB.
const maxImport = 256 << 20

// readInput reads a file, or stdin for "-".
func (a *app) readInput(name string) ([]byte, error) {
	var r io.Reader = a.stdin
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
