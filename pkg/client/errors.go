package client

import (
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// PendingError says that the service wants the user to finish the request at URL. The account file is kept: the same
// Create again, unchanged, goes on with it (FLOWS §2, 5b).
type PendingError struct{ Reason, URL string }

// Error implements error.
func (e *PendingError) Error() string {
	s := "the service has not bound the account yet"
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.URL != "" {
		s += " (finish at " + e.URL + ")"
	}
	return s
}

// ServiceError is a refusal by the service, authenticated unless Hint. After a Hint the outcome of a write is not known.
type ServiceError struct {
	Kind        mesh.Kind
	Code        mesh.Code
	Description string        // what the service calls it
	Reason      string        // of CreateResponse, or of the first entry that was refused
	RetryAfter  time.Duration // 0: not said
	Hint        bool          // anybody on the way may have said it
}

// Error implements error.
func (e *ServiceError) Error() string {
	s := fmt.Sprintf("refused by the service: %d/%d %s", e.Code.Status, e.Code.Extended, e.Description)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(" (again in %s)", e.RetryAfter)
	}
	if e.Hint {
		s += " (unauthenticated)"
	}
	return s
}

// Temporary says that the same request may succeed later (429, 503): exit code 7.
func (e *ServiceError) Temporary() bool { return e.Code.Status == 429 || e.Code.Status == 503 }

// ProofError says that the service, or who stands for it, served something that does not prove out. Evidence is a folder on disk.
type ProofError struct {
	Fault     string // short name: "payload-digest", "tree-digest", "signature", "header", "order", "fork", "rollback" …: Faults lists them
	Container string // empty: of no container (a profile)
	Index     int64  // of the frame; of a "rollback" or "fork", the frames that the service admits to; -1: of no frame
	Evidence  string
	Err       error
}

// Error implements error.
func (e *ProofError) Error() string {
	s := "proof failed: " + e.Fault
	if e.Container != "" {
		s += " in " + e.Container
		if e.Index >= 0 {
			s += fmt.Sprintf(" at %d", e.Index)
		}
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Evidence != "" {
		s += " (evidence: " + e.Evidence + ")"
	}
	return s
}

// Unwrap returns the inner error.
func (e *ProofError) Unwrap() error { return e.Err }

// NetworkError says that the service could not be reached, or what answered was no Mesh Service.
type NetworkError struct{ Err error }

// Error implements error.
func (e *NetworkError) Error() string { return "service not reached: " + e.Err.Error() }

// Unwrap returns the inner error.
func (e *NetworkError) Unwrap() error { return e.Err }

// NotFoundError says that there is no such account on this machine.
type NotFoundError struct{ What string }

// Error implements error.
func (e *NotFoundError) Error() string { return e.What + " not found" }

// LockedError says that another process has the account open.
type LockedError struct {
	Address string
	Path    string
}

// Error implements error.
func (e *LockedError) Error() string {
	return fmt.Sprintf("account %s is in use by another process (lock %s)", e.Address, e.Path)
}

// ExistsError says that the account is on this machine already.
type ExistsError struct{ Address string }

// Error implements error.
func (e *ExistsError) Error() string { return "account " + e.Address + " is on this machine already" }

const errMissingEntries = errConst("the answer does not say what became of each entry")
