package gateway

import (
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// hint is the refusal of a request of which nothing could be opened: a plain null envelope that proves nothing
// (AUTH §3.5).
func hint(err error) *answer {
	a := hintOf(mesh.Failure(err, nil))
	a.retryAfter = retryAfter(err)
	return a
}

// transportRefusal is the hint that goes with an HTTP code of its own (PROTOCOL §5).
func transportRefusal(status int) *answer {
	kind := mesh.BadRequest
	switch status {
	case http.StatusRequestEntityTooLarge:
		kind = mesh.RequestSize
	case http.StatusServiceUnavailable:
		kind = mesh.Overloaded
	}
	return hintOf(&mesh.Response{
		Status:            int64(status),
		StatusExtended:    int64(kind.Code().Extended),
		StatusDescription: kind.String(),
	})
}

func overloaded() *answer { return transportRefusal(http.StatusServiceUnavailable) }

func hintOf(r *mesh.Response) *answer {
	a := &answer{status: int(r.Status), extended: int(r.StatusExtended)}
	payload, err := mesh.EncodeResponse(r)
	if err != nil {
		return a // cannot be: three members of plain text
	}
	a.body = append(a.body, `[{},"`...)
	a.body = base64.RawURLEncoding.AppendEncode(a.body, payload)
	a.body = append(a.body, `"]`...)
	return a
}

// answerOf is the answer with this envelope around r.
func answerOf(e *dare.Envelope, r *mesh.Response) (*answer, error) {
	body, err := e.MarshalJBCD()
	if err != nil {
		return nil, err
	}
	return &answer{status: int(r.Status), extended: int(r.StatusExtended), body: body}, nil
}

// retryAfter is when to try again, as the shard or a limit said; a second when nobody did.
func retryAfter(err error) time.Duration {
	var retry rpc.RetryAfter
	if errors.As(err, &retry) {
		return time.Duration(retry)
	}
	return 0
}

// ok fills in what every success says.
func ok[R mesh.ResponseMessage](q *request, r R) R {
	b := r.Base()
	b.Status, b.ID = http.StatusCreated, q.id
	return r
}
