package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/google/pprof/profile"
)

// breakdown says where the processor time of meshd for one request goes, in µs.
type breakdown struct {
	Parts map[part]float64 `json:"parts_us"`
	Total float64          `json:"total_us"`
	Own   float64          `json:"own_us"` // without Ed448 and TLS

	Sockets float64 `json:"own_sockets_us"` // of Own: reads and writes of sockets, most of them below TLS
}

// breakdownOf spreads the processor time per request over the parts as the profile has it.
func breakdownOf(p *profile.Profile, perRequest float64) (*breakdown, error) {
	s, sockets, err := shares(p)
	if err != nil {
		return nil, err
	}
	b := &breakdown{Parts: make(map[part]float64), Total: perRequest, Sockets: sockets * perRequest}
	for part, share := range s {
		b.Parts[part] = share * perRequest
		if part.ours() {
			b.Own += share * perRequest
		}
	}
	return b, nil
}

func (b *breakdown) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, p := range parts() {
		fmt.Fprintf(t, "%s\t%.0f µs\t\n", p, b.Parts[p])
	}
	fmt.Fprintf(t, "meshd\t%.0f µs\t\nof it without Ed448 and TLS\t%.0f µs\t\nof that reads and writes of sockets\t%.0f µs\t\n", b.Total, b.Own, b.Sockets)
	return t.Flush()
}
