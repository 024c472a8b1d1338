package client

import (
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// FuzzServedFrame: whatever a service serves, the verifier ends in a verdict, and believes nothing but the frame that was
// made.
func FuzzServedFrame(f *testing.F) {
	p := newPerson(f, "alice@example.com")
	laptop, _ := p.device(mesh.RightAdmin, mesh.RightAll)
	s := newShelf(f, mesh.CatalogCredential)
	s.put(laptop, credential(1))
	s.put(laptop, deletion(credential(1)))
	for _, e := range s.frames {
		f.Add(e.Header, e.Payload, e.Trailer)
	}
	f.Add([]byte(`{"ContainerInfo":{"Index":1}}`), []byte("x"), []byte(`{"signatures":[{}]}`))
	f.Fuzz(func(t *testing.T, header, payload, trailer []byte) {
		v := (&replica{container: mesh.CatalogCredential}).verifier(trustOf(laptop, laptop))
		if _, f := v.batch(s.frames[:1]); f != nil {
			t.Fatal(f)
		}
		passed, fault := v.batch([]*dare.Envelope{{Header: header, Payload: payload, Trailer: trailer}})
		if (fault == nil) != (len(passed) == 1) {
			t.Fatal("neither verdict nor frame")
		}
		if fault == nil && string(payload) != string(s.frames[1].Payload) {
			t.Error("a payload that nobody signed was believed")
		}
	})
}
