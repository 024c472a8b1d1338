package keys

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// maxFile bounds what ReadFile reads: a key is some 250 octets, so this is thousands of them.
const maxFile = 1 << 20

// WriteFile writes keys, in this order, to a new file that its owner alone may read (mode 0600): a JSON array of
// PrivateKeyECDH objects, each with its kid. An existing file is left alone and the error is os.ErrExist. The file
// appears under its name whole and on stable storage, or not at all.
func WriteFile(path string, keys ...*PrivateKey) (err error) {
	list := make([]jbcd.Raw, len(keys))
	for i, k := range keys {
		if list[i], err = k.marshal(k.KID()); err != nil {
			return err
		}
	}
	octets, err := jbcd.Marshal(list)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if _, err = f.Write(append(octets, '\n')); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace what is there.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the new name durable. Windows has no such call, and writes the name with the file.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadFile reads what WriteFile wrote. A key whose kid is not that of the octets is refused: the file is damaged.
func ReadFile(path string) ([]*PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was read
	octets, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(octets) > maxFile {
		return nil, fmt.Errorf("keys: %s: too long for a file of keys", path)
	}
	list, err := jbcd.Array(octets)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", path, err)
	}
	keys := make([]*PrivateKey, len(list))
	for i, raw := range list {
		k, kid, err := unmarshalPrivate(raw)
		if err != nil {
			return nil, fmt.Errorf("keys: %s: key %d: %w", path, i, err)
		}
		if kid != "" && kid != k.KID() {
			return nil, fmt.Errorf("keys: %s: key %d: %w: kid of another key", path, i, ErrKey)
		}
		keys[i] = k
	}
	return keys, nil
}
