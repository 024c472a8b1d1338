package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// faultFile is fault.json of an evidence folder: what failed, and what the replica knew when it did.
type faultFile struct {
	Fault         string        `json:"Fault"`
	Container     string        `json:"Container"`
	Index         int64         `json:"Index"`
	Reason        string        `json:"Reason"`
	Time          jbcd.Time     `json:"Time"`
	Account       string        `json:"Account"`
	ServiceUDF    string        `json:"ServiceUDF"`
	ReplicaFrames int64         `json:"ReplicaFrames"`
	ReplicaPeaks  []jbcd.Binary `json:"ReplicaPeaks"` // tree digests, D-43
}

// proof makes the ProofError of a fault and keeps what speaks for it in a folder of its own: the frame as received
// (frame.json), the answer in which it came, as received (answer.json) and as it opened (response.json), and fault.json.
// Nothing of it is a secret that is not sealed. The service signs no answer (AUTH §11), so all this shows the owner what
// happened; it convinces nobody who does not believe the owner.
func (a *Account) proof(container string, f *fault, answer *received) error {
	e := &ProofError{Fault: string(f.check), Container: container, Index: f.index, Err: f.err}
	dir, err := a.keep(container, f, answer)
	if err != nil {
		return errors.Join(e, fmt.Errorf("evidence not kept: %w", err))
	}
	e.Evidence = dir
	return e
}

func (a *Account) keep(container string, f *fault, answer *received) (string, error) {
	now := a.conf.now().UTC()
	record := faultFile{
		Fault: string(f.check), Container: container, Index: f.index, Reason: f.err.Error(),
		Time: jbcd.Time{Time: now}, Account: a.Address(), ServiceUDF: a.file.Service.UDF,
	}
	r, err := a.replica(container)
	if err != nil {
		return "", err
	}
	peaks := r.peaks()
	record.ReplicaFrames = peaks.Frames
	for i := range peaks.Digests {
		record.ReplicaPeaks = append(record.ReplicaPeaks, peaks.Digests[i][:])
	}
	dir, err := newFolder(filepath.Join(a.dir, dirEvidence),
		fmt.Sprintf("%s-%s-%d-%s", now.Format("20060102T150405Z"), container, f.index, f.check))
	if err != nil {
		return "", err
	}
	files := map[string]any{"fault.json": record}
	if f.frame != nil {
		files["frame.json"] = f.frame
	}
	if answer != nil {
		files["answer.json"] = answer.sealed
		if err := replaceFile(filepath.Join(dir, "response.json"), answer.payload); err != nil { // as it is: perhaps it is no JSON
			return "", err
		}
	}
	for name, v := range files {
		content, err := jbcd.Marshal(v)
		if err != nil {
			return "", err
		}
		if err := replaceFile(filepath.Join(dir, name), content); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// newFolder makes a folder that was not there, in a parent that need not be there.
func newFolder(parent, name string) (string, error) {
	if err := os.MkdirAll(parent, dirMode); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		dir := filepath.Join(parent, name)
		if n > 1 {
			dir += fmt.Sprintf("-%d", n)
		}
		err := os.Mkdir(dir, dirMode)
		if err == nil {
			return dir, syncDir(parent)
		}
		if !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
}

// keepLoser writes an entry that lost a conflict, as {"CatalogedBookmark":{…}}, and returns the file.
func (a *Account) keepLoser(container string, plain []byte, now time.Time) (string, error) {
	parent := filepath.Join(a.dir, dirConflicts)
	dir, err := newFolder(parent, fmt.Sprintf("%s-%s", now.UTC().Format("20060102T150405Z"), container))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "entry.json")
	return path, replaceFile(path, plain)
}
