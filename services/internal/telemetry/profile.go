package telemetry

import (
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"
)

// Profiles last profileSeconds unless asked otherwise, and at most maxProfileSeconds: the admin listener ends slower answers.
const (
	profileSeconds    = 2
	maxProfileSeconds = 8
)

// profiles adds the profiles of this process at the paths where `go tool pprof http://…` looks: processor time
// (/debug/pprof/profile?seconds=N) and those of runtime/pprof by name (/debug/pprof/heap …). They show no user data, but
// taking one slows the process down: for development and measurements only.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/profile", func(w http.ResponseWriter, r *http.Request) {
		seconds := profileSeconds
		if text := r.FormValue("seconds"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > maxProfileSeconds {
				http.Error(w, "seconds: want 1 to "+strconv.Itoa(maxProfileSeconds), http.StatusBadRequest)
				return
			}
			seconds = n
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := pprof.StartCPUProfile(w); err != nil { // one is being taken
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		defer pprof.StopCPUProfile()
		select {
		case <-time.After(time.Duration(seconds) * time.Second):
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("GET /debug/pprof/{name}", func(w http.ResponseWriter, r *http.Request) {
		p := pprof.Lookup(r.PathValue("name"))
		if p == nil {
			http.NotFound(w, r)
			return
		}
		debug, err := strconv.Atoi(r.FormValue("debug"))
		if err != nil {
			debug = 0
		}
		_ = p.WriteTo(w, debug) // who asked has gone
	})
}
