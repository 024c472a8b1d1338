package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTimeout: a probe that waits longer is a failed probe for Kubernetes anyway.
const checkTimeout = time.Second

// Readiness asks "can I serve my own data", never "are my peers ready": a role that waits for its peers makes
// rolling updates stop. The zero value has no checks and is not yet up.
type Readiness struct {
	mu     sync.Mutex
	up     bool
	checks map[string]func(context.Context) error
}

// Add names a check. Add before Up.
func (r *Readiness) Add(name string, check func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks == nil {
		r.checks = make(map[string]func(context.Context) error)
	}
	r.checks[name] = check
}

// Up says that all listeners are open; Down that the role is stopping.
func (r *Readiness) Up() { r.set(true) }

// Down makes the role un-ready, so that balancers look elsewhere before its listeners close.
func (r *Readiness) Down() { r.set(false) }

func (r *Readiness) set(up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = up
}

// Check runs every check and returns their results by name; ok when the role is up and none failed.
func (r *Readiness) Check(ctx context.Context) (results map[string]error, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r.mu.Lock()
	results = map[string]error{"up": nil}
	if !r.up {
		results["up"] = errors.New("starting or stopping")
	}
	checks := r.checks
	r.mu.Unlock()
	for name, check := range checks {
		results[name] = check(ctx)
	}
	ok = true
	for _, err := range results {
		ok = ok && err == nil
	}
	return results, ok
}

// AdminHandler serves /livez, /readyz (?verbose lists the checks), /metrics and, with Options.Profiling, profiles. It belongs on a listener that only the
// deployment reaches; it tells names of checks and their errors, no user data.
func (t *Telemetry) AdminHandler(r *Readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) {
		results, ok := r.Check(req.Context())
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if !req.URL.Query().Has("verbose") {
			fmt.Fprintln(w, map[bool]string{true: "ok", false: "not ready"}[ok])
			return
		}
		names := make([]string, 0, len(results))
		for name := range results {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if err := results[name]; err != nil {
				fmt.Fprintf(w, "[-] %s: %v\n", name, err)
			} else {
				fmt.Fprintf(w, "[+] %s\n", name)
			}
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{}))
	if t.profiling {
		profiles(mux)
	}
	return mux
}
