// Package client is the Mesh as a program uses it: an account, its encrypted catalogs, a replica on disk that is
// kept equal to the service's and believes nothing that it can check (PROTOCOL D-57, FLOWS §1–§4, §14).
//
// Create makes an account, Open opens one that is on this machine, Catalog reads and changes entries on disk, Sync
// brings replica and service together. Reading and changing need no network: a change is sealed, signed and durable
// when Put or Delete returns, and goes out with the next Sync, once.
//
// Promised: nothing of a catalog is shown that was not sealed for the account, signed by a device that the account
// vouches for, and found at its place in the Merkle tree that the replica knows; a service that takes frames back,
// swaps, changes or forks them is found, named and reported as *ProofError, the evidence kept, and of its answer
// nothing is applied to that container. A change that met another's is never lost: both versions survive.
// That holds against all that this device has seen, also when the replica was lost since.
// Not promised: that a service which shows this device an old state that it has never seen newer is found, that states of
// two containers are of one moment, that a frame of a device that was removed was made before, or that frames which the
// service never accepted exist.
//
// Errors to tell apart: *PendingError, *ServiceError, *ProofError, *NetworkError, *NotFoundError, *ExistsError,
// *LockedError, and *mesh.Error of kind NameInvalid for an address that is none.
package client

import (
	"crypto/x509"
	"net/http"
	"time"

	"github.com/mathmesh/meshd/pkg/discover"
)

// Config says where things are. The zero value but for Dir uses DNS and the system's roots.
type Config struct {
	Dir       string            // of this machine's Mesh data: profiles, keys, replicas (0700)
	StateFile string            // `meshd dev --state FILE`: endpoints and CA of the providers; replaces DNS
	Services  map[string]string // domain → URL, overrides discovery; http:// is cleartext, every message is encrypted anyway
	Pins      map[string]string // domain → UDF of its ProfileService, known from elsewhere; needed where there is no TLS
	DNS       string            // resolver host:port; empty: the system's
	Roots     *x509.CertPool    // of certificate authorities; nil: the system's (the state file names its own)
	HTTP      *http.Client      // used as it is instead of one with TLS 1.3 and the checks of FLOWS §1.5: for tests
	Now       func() time.Time  // nil: time.Now
	Public    bool              // connect to addresses of the public internet only: for services, which strangers' names lead
}

func (c *Config) source() *discover.Source {
	return &discover.Source{Services: c.Services, StateFile: c.StateFile, Server: c.DNS, Public: c.Public}
}

func (c *Config) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// Progress is called during long work, from one goroutine; total 0: unknown. what is a short phrase for people.
type Progress func(what string, done, total int64)

func (p Progress) report(what string, done, total int64) {
	if p != nil {
		p(what, done, total)
	}
}
