package config

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// statInterval: a renewed secret acts within a second; a request does not pay for a stat call each.
const statInterval = time.Second

// Watched is the parsed content of a file that is re-read when it changes: a secret, a key ring. Content that does not
// parse leaves the old value in use and is logged once. Safe for concurrent use.
type Watched[T any] struct {
	path  string
	parse func([]byte) (T, error)
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	value   T
	stamp   os.FileInfo
	checked time.Time
}

// Watch reads the file for the first time.
func Watch[T any](path string, log *slog.Logger, parse func([]byte) (T, error)) (*Watched[T], error) {
	w := &Watched[T]{path: path, parse: parse, log: log, now: time.Now}
	if err := w.read(); err != nil {
		return nil, err
	}
	return w, nil
}

// Get returns the newest value.
func (w *Watched[T]) Get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if now.Sub(w.checked) < statInterval {
		return w.value
	}
	w.checked = now
	info, err := os.Stat(w.path) // follows the links that Kubernetes swaps
	if err == nil && os.SameFile(info, w.stamp) && info.ModTime().Equal(w.stamp.ModTime()) && info.Size() == w.stamp.Size() {
		return w.value
	}
	if err := w.read(); err != nil {
		w.log.Error("file not re-read", slog.Any("err", err))
		if info != nil {
			w.stamp = info // say it once per change
		}
	}
	return w.value
}

func (w *Watched[T]) read() error {
	info, err := os.Stat(w.path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	data, err := os.ReadFile(w.path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	value, err := w.parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	w.value, w.stamp = value, info
	return nil
}
