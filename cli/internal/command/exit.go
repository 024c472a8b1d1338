package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Exit codes (spec CLI): stable, for scripts.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitNotFound = 3
	exitRefused  = 4
	exitConflict = 5
	exitProof    = 6
	exitLater    = 7
	exitNetwork  = 8
	exitPending  = 9
)

type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

type notFoundError struct{ error }

func notFoundf(format string, args ...any) error { return notFoundError{fmt.Errorf(format, args...)} }

// conflictError ends a sync that went well but for changes that met others.
type conflictError struct{ n int }

func (e conflictError) Error() string {
	return fmt.Sprintf("%d change(s) met a change made elsewhere; both versions were kept, see above", e.n)
}

func exitCode(err error) int {
	var (
		usage    usageError
		local    *mesh.Error
		missing  notFoundError
		absent   *client.NotFoundError
		stranger *client.StrangerError
		conflict conflictError
		proof    *client.ProofError
		pending  *client.PendingError
		network  *client.NetworkError
		service  *client.ServiceError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), errors.As(err, &local) && local.Kind == mesh.NameInvalid, strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	case errors.As(err, &missing), errors.As(err, &absent), errors.As(err, &stranger):
		return exitNotFound
	case errors.As(err, &conflict):
		return exitConflict
	case errors.As(err, &proof):
		return exitProof
	case errors.As(err, &pending):
		return exitPending
	case errors.As(err, &service):
		switch service.Kind {
		case mesh.RateLimited, mesh.Overloaded:
			return exitLater
		case mesh.Conflict:
			return exitConflict
		default:
			return exitRefused
		}
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return exitNetwork
	}
	return exitError
}

// explain writes an error for a person: what happened, and what can be done about it.
func (a *app) explain(err error) {
	out := visible{a.Err} // part of it is a service's words
	fmt.Fprintf(out, "mesh: %v\n", err)
	var (
		proof   *client.ProofError
		pending *client.PendingError
		network *client.NetworkError
		service *client.ServiceError
		absent  *client.NotFoundError
		locked  *client.LockedError
		unknown *client.StrangerError
		local   *mesh.Error
	)
	switch {
	case errors.As(err, &proof):
		fmt.Fprintln(out, "The service, or somebody between, served what does not prove out. Nothing of it was applied.")
		if proof.Evidence != "" {
			fmt.Fprintf(out, "Evidence is kept in %s\n", proof.Evidence)
		}
	case errors.As(err, &pending):
		fmt.Fprintf(out, "Finish the request at\n  %s\nthen run the same command again.\n", pending.URL)
	case errors.As(err, &network):
		fmt.Fprintln(out, "Is the network there? `mesh account hello` asks the service for its description.")
	case errors.As(err, &unknown):
		fmt.Fprintf(out, "`mesh contact request %s` asks for an exchange of contacts.\n", unknown.Address)
	case errors.As(err, &absent):
		fmt.Fprintln(out, "`mesh account create ADDRESS` makes an account, and goes on with one that is not bound yet.")
	case errors.As(err, &local) && local.Kind == mesh.NameInvalid:
		fmt.Fprintln(out, "An address looks like alice@example.com.")
	case errors.As(err, &locked):
		fmt.Fprintln(out, "Wait for the other command to end, then run this one again.")
	case errors.As(err, &service) && service.Hint:
		fmt.Fprintln(out, "The refusal was not authenticated: it proves nothing about the account.")
	}
}
