package embedded_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/internal/queue/embedded"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

func TestStart(t *testing.T) {
	ca, err := rpc.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.QueueServer(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var text safe
	dir := filepath.Join(t.TempDir(), "made")
	good := embedded.Options{Dir: dir, Addr: "127.0.0.1:0", TLS: config, Log: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	s, err := embedded.Start(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.HasPrefix(s.URL(), "tls://127.0.0.1:") || s.Monitoring() != "" {
		t.Errorf("at %s, monitoring %q", s.URL(), s.Monitoring())
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if !strings.Contains(text.String(), "nats: Server is ready") {
		t.Errorf("the log has not the server's words:\n%s", text.String())
	}
	start := time.Now()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, change := range map[string]func(*embedded.Options) context.Context{
		"no TLS":        func(o *embedded.Options) context.Context { o.TLS = nil; return t.Context() },
		"no port":       func(o *embedded.Options) context.Context { o.Addr = "127.0.0.1"; return t.Context() },
		"port taken":    func(o *embedded.Options) context.Context { o.Addr = s.URL()[len("tls://"):]; return t.Context() },
		"context ended": func(*embedded.Options) context.Context { return ended },
	} {
		o := good
		o.Dir = t.TempDir()
		if s, err := embedded.Start(change(&o), o); err == nil {
			t.Errorf("%s: started", name)
			s.Close()
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v to refuse", took)
	}
}

// safe is a buffer for several writers.
type safe struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
