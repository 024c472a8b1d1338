package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// The file of what was seen outlives the replicas: a service that knows, or guesses, that a device has lost its replica must
// not be able to restore it to a state of before, or without a container. Who wants that nevertheless removes the file.
type seenFile struct {
	Containers []seenContainer `json:"Containers"`
}

// seenContainer is the longest state of a container that this device has verified.
type seenContainer struct {
	Container string      `json:"Container"`
	Frames    int64       `json:"Frames"`
	Digest    jbcd.Binary `json:"Digest"`
}

func (a *Account) loadSeen() error {
	path := filepath.Join(a.dir, fileSeen)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var f seenFile
	if err := jbcd.Unmarshal(content, &f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	a.seen = make(map[string]remote, len(f.Containers))
	for _, c := range f.Containers {
		a.seen[c.Container] = remote{c.Frames, c.Digest}
	}
	return nil
}

// remember notes, durably, replicas that have more than was seen before.
func (a *Account) remember() error {
	changed := false
	for name, r := range a.replicas {
		if r.frames() <= r.seen.index {
			continue
		}
		r.seen = remote{r.frames(), r.peaks().Digest()}
		if a.seen == nil {
			a.seen = map[string]remote{}
		}
		a.seen[name], changed = r.seen, true
	}
	if !changed {
		return nil
	}
	var f seenFile
	for name, at := range a.seen {
		f.Containers = append(f.Containers, seenContainer{name, at.index, at.digest})
	}
	slices.SortFunc(f.Containers, func(a, b seenContainer) int { return strings.Compare(a.Container, b.Container) })
	content, err := jbcd.Marshal(f)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(a.dir, fileSeen), content)
}
