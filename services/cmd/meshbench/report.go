package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// result is one measurement for people and programs.
type result struct {
	Transaction string  `json:"transaction"`
	Clients     int     `json:"clients"`
	Loop        string  `json:"loop"` // closed, open
	Rate        float64 `json:"rate,omitempty"`
	Seconds     float64 `json:"seconds"`
	Requests    int64   `json:"requests"`
	Failures    int64   `json:"failures"`
	Failure     string  `json:"failure,omitempty"` // the first
	RanOut      bool    `json:"ran_out,omitempty"` // of sealed requests: the measurement was cut short
	PerSecond   float64 `json:"per_second"`
	P50         int64   `json:"p50_us"`
	P99         int64   `json:"p99_us"`
	Max         int64   `json:"max_us"`

	// Of the service, when its admin listener can be reached.
	Allocations float64 `json:"allocations_per_request,omitempty"`
	Octets      float64 `json:"allocated_octets_per_request,omitempty"`
	Processor   float64 `json:"processor_us_per_request,omitempty"`

	Breakdown *breakdown `json:"breakdown,omitempty"`
}

func resultOf(s *sample, spent usage) result {
	r := result{
		Transaction: string(s.transaction), Clients: s.clients, Loop: "closed", Rate: s.rate,
		Seconds: s.seconds, Requests: s.requests, Failures: s.failures, RanOut: s.short, PerSecond: s.perSecond(),
		P50: s.latency.ValueAtQuantile(50), P99: s.latency.ValueAtQuantile(99), Max: s.latency.Max(),
	}
	if s.rate > 0 {
		r.Loop = "open"
	}
	if s.failure != nil {
		r.Failure = s.failure.Error()
	}
	if s.requests > 0 {
		n := float64(s.requests)
		r.Allocations, r.Octets, r.Processor = spent.allocations/n, spent.octets/n, spent.processor*1e6/n
	}
	return r
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeResults(w io.Writer, results ...result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "transaction\tclients\tloop\tper second\tp50 ms\tp99 ms\tmax ms\tfailures\tallocations\tKiB allocated\tprocessor µs\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%d\t%s\t%.0f\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", r.Transaction, r.Clients, r.Loop, r.PerSecond,
			ms(r.P50), ms(r.P99), ms(r.Max), r.Failures, known(r.Allocations), known(r.Octets/1024), known(r.Processor))
	}
	return t.Flush()
}

func ms(us int64) string { return fmt.Sprintf("%.2f", float64(us)/1000) }

// known writes a figure, or a dash for one that could not be read.
func known(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", v)
}

// write prints a comparison with what is asked beside what was measured.
func (c *comparison) write(w io.Writer) error {
	fmt.Fprintf(w, "%d processors, load average before: %s\n\n", c.Processors, c.Load)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "transaction\tclients\tper second\tp50 ms\tp99 ms\tallocations\tKiB allocated\tpgbench\tratio\tµs: meshd\tPostgres\tmeshbench\t")
	for _, r := range c.Rows {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t\n", r.Transaction, r.Clients, r.PerSecond, ms(r.P50), ms(r.P99),
			known(r.Allocations), known(r.Octets/1024), r.Pgbench, r.Ratio, r.Processor, r.Postgres, r.Bench)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nProcessor time per Upload:")
	if err := c.Breakdown.write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if last := c.uploads(); last != nil {
		asked(t, fmt.Sprintf("Upload ÷ pgbench, %d clients", last.Clients), last.Ratio, ">=", askedRatio, "")
	}
	asked(t, "own time per Upload", c.Breakdown.Own, "<=", askedOwn, "µs")
	asked(t, "RssAnon, meshd dev", c.Memory.Dev, "<=", askedDevMemory, "MiB")
	asked(t, "RssAnon, gateway", c.Memory.Gateway, "<=", askedMemory, "MiB")
	asked(t, "RssAnon, shard", c.Memory.Shard, "<=", askedMemory, "MiB")
	return t.Flush()
}

// uploads is the row of Upload with the most clients.
func (c *comparison) uploads() *row {
	var best *row
	for i := range c.Rows {
		if r := &c.Rows[i]; r.Transaction == string(upload) && (best == nil || r.Clients > best.Clients) {
			best = r
		}
	}
	return best
}

func asked(w io.Writer, what string, have float64, relation string, want float64, unit string) {
	holds := have <= want
	if relation == ">=" {
		holds = have >= want
	}
	verdict := "holds"
	if !holds {
		verdict = "DOES NOT HOLD"
	}
	fmt.Fprintf(w, "%s\t%.3g %s\tasked %s %.3g\t%s\n", what, have, unit, relation, want, verdict)
}
