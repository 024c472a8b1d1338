package gateway

import (
	"net/http"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Limits that Hello advertises (PROTOCOL §1.7).
const (
	maxUploadEntries = 1000
	maxUploadOctets  = 4 << 20
	maxPostMessages  = 32
)

// helloLife is how long an answer to a Hello without ID may be given again (AUTH §8).
const helloLife = 60 * time.Second

// cachedHello is the signed answer to a Hello without ID.
type cachedHello struct {
	body []byte
	made time.Time
}

// helloOf is what a virtual service says of itself, the same to everybody.
func helloOf(d *domain, service, host *dare.Envelope) mesh.MeshHelloResponse {
	return mesh.MeshHelloResponse{
		Version: &mesh.Version{
			Major: 3, Minor: 0,
			Encodings: []mesh.Encoding{{ID: []string{contentType}}},
		},
		ConstraintsUpdate:       &mesh.ConstraintsData{MaxEntries: mesh.Int(maxUploadEntries), BytesMax: mesh.Int(maxUploadOctets)},
		ConstraintsPost:         &mesh.ConstraintsData{MaxEntries: mesh.Int(maxPostMessages), BytesMax: mesh.Int(mesh.MaxMessage)},
		PolicyAccount:           d.names,
		EnvelopedProfileService: service,
		EnvelopedProfileHost:    host,
	}
}

// hello answers an authenticated Hello. The ticket that it may be asked for comes with the seal.
func (q *request) hello(body jbcd.Raw) (mesh.ResponseMessage, error) {
	var v mesh.HelloRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	r := q.domain.hello
	return ok(q, &r), nil
}

// nullHello answers a Hello without authentication by an envelope that the host signs (D-07).
func (q *request) nullHello(body jbcd.Raw) *answer {
	const op = "gateway.nullHello"
	var v mesh.HelloRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return q.refuse(err)
	}
	if len(q.id) == 0 {
		if c := q.domain.cached.Load(); c != nil && q.now().Sub(c.made) < helloLife {
			return &answer{status: http.StatusCreated, body: c.body}
		}
	} else if wait, ok := q.exchanges.take(q.remote()); !ok { // a signature costs what an exchange costs
		return q.refuse(limited(op, wait))
	}
	hello := q.domain.hello
	r := ok(q, &hello)
	payload, err := mesh.EncodeResponse(r)
	if err == nil {
		var e *dare.Envelope
		e, err = dare.New(payload, dare.Options{Holder: q.domain.keys, SignKIDs: []string{q.domain.signer}})
		if err == nil {
			var a *answer
			if a, err = answerOf(e, r.Base()); err == nil {
				if len(q.id) == 0 {
					q.domain.cached.Store(&cachedHello{body: a.body, made: q.now()})
				}
				return a
			}
		}
	}
	return q.refuse(mesh.E(op, mesh.Internal, err))
}
