package jbcd

import (
	"encoding/json"
	"strings"
	"testing"
)

// benchUpload has the shape of an Upload of 20 entries.
type benchUpload struct {
	ID      string        `json:"ID,omitempty"`
	Account string        `json:"Account,omitempty"`
	Updates []benchUpdate `json:"Updates,omitempty"`
}

type benchUpdate struct {
	Container string      `json:"Container,omitempty"`
	Index     *int64      `json:"Index,omitempty"`
	Digest    string      `json:"Digest,omitempty"`
	Envelopes []benchBody `json:"Envelopes,omitempty"`
}

type benchBody struct {
	EnvelopeID string `json:"EnvelopeID,omitempty"`
	Payload    string `json:"Payload,omitempty"`
	Atomic     bool   `json:"Atomic,omitempty"`
	Length     int64  `json:"Length,omitempty"`
}

func benchInput() benchUpload {
	index := int64(4)
	u := benchUpdate{Container: "mmm_Bookmark", Index: &index, Digest: strings.Repeat("q0_-", 21)}
	for range 20 {
		u.Envelopes = append(u.Envelopes, benchBody{EnvelopeID: "MAED-GUSI-NZVB-C6RJ-X3F6-SIOP-T3IW", Payload: strings.Repeat("q0_-", 100), Atomic: true, Length: 300})
	}
	return benchUpload{ID: "q01_-w", Account: "alice@example.com", Updates: []benchUpdate{u}}
}

func BenchmarkUnmarshal(b *testing.B) {
	in, err := Marshal(benchInput())
	if err != nil {
		b.Fatal(err)
	}
	for name, unmarshal := range map[string]func([]byte, any) error{"jbcd": Unmarshal, "encoding-json": json.Unmarshal} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				var v benchUpload
				if err := unmarshal(in, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	v := benchInput()
	for name, marshal := range map[string]func(any) ([]byte, error){"jbcd": Marshal, "encoding-json": json.Marshal} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := marshal(&v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValid(b *testing.B) {
	in, err := Marshal(benchInput())
	if err != nil {
		b.Fatal(err)
	}
	for name, valid := range map[string]func([]byte) bool{
		"jbcd":          func(p []byte) bool { return Valid(p, DefaultLimits) == nil },
		"encoding-json": json.Valid,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if !valid(in) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
