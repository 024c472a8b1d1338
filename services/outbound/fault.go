package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/discover"
)

// report logs that a destination has stopped to answer, or refuses us. Errors name domains and addresses, so they are named here.
func (w *Worker) report(d *destination, a *answer, opened bool) {
	var proof *client.ProofError
	switch _, permanent := a.permanent(); {
	case errors.As(a.err, &proof):
		w.log.Error("a destination is another service than it was", w.hash(d.route.to))
	case permanent:
		w.log.Warn("refused by a destination", w.hash(d.route.to), slog.String("fault", fault(a.err)))
	case opened:
		w.log.Warn("destination left alone", w.hash(d.route.to), slog.String("fault", fault(a.err)), slog.Time("until", d.until))
	}
}

// fault is the kind of an error with the code of a refusal, without a name in it: for logs.
func fault(err error) string {
	var refusal *client.ServiceError
	if errors.As(err, &refusal) {
		return fmt.Sprintf("refused %d/%d", refusal.Code.Status, refusal.Code.Extended)
	}
	return kind(err)
}

// kind is one of a few words: for metrics.
func kind(err error) string {
	var none *discover.Error
	var refusal *client.ServiceError
	var network net.Error
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return "none"
	case errors.As(err, &none):
		return "dns: " + none.Reason.String()
	case errors.As(err, &refusal):
		return "refused"
	case errors.Is(err, discover.ErrNotPublic):
		return "address not public"
	case errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return "certificate"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &network):
		return "connection"
	}
	return "answer"
}
