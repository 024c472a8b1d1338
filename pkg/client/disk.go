package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Files and folders are for their owner alone: they hold private keys, or tell whom one knows.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// lockWait is how long Open waits for another process: a sync of an ordinary account is over by then, and who
// waits at a terminal has not given up yet.
const lockWait = 10 * time.Second

// replaceFile writes a file so that after a crash either the old or the new content is there, whole.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes creations, renames and removals in a folder durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // folders cannot be synced there, the file system journals them
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// lock takes the lock file of a folder. The system frees it when the process ends, however that happens; the
// file stays, since removing it would let two processes lock two files of one name.
func lock(path string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		free, err := tryLock(f)
		if err == nil && free {
			return f, nil
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if time.Now().After(end) {
			return nil, errors.Join(errLocked, f.Close())
		}
	}
}

const errLocked = errConst("locked by another process")

// errConst is an error that is a constant.
type errConst string

func (e errConst) Error() string { return string(e) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func replicaDir(a *Account) string { return filepath.Join(a.dir, dirReplica) }
