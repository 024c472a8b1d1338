// Package client is the Mesh as a program uses it: an account, its encrypted catalogs, a replica on disk that is
// kept equal to the service's and believes nothing that it can check (PROTOCOL D-57, FLOWS §4).
package client

import (
	"context"
	"net/http"
	"time"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Config says where things are. The zero value uses DNS and the system's roots.
type Config struct {
	Dir       string            // of this machine's Mesh data: profiles, keys, replicas (0700)
	StateFile string            // `meshd dev --state FILE`: endpoints and CA of the providers; replaces DNS
	Services  map[string]string // domain → URL, overrides discovery; http:// is cleartext, every message is encrypted anyway
	DNS       string            // resolver host:port; empty: the system's
	HTTP      *http.Client      // for tests: a transport that lies; nil: TLS 1.3
	Now       func() time.Time  // nil: time.Now
}

// Account is an account on this machine.
type Account struct{ _ struct{} }

// CreateOptions are the options of Create.
type CreateOptions struct {
	Local       bool   // stop before the service
	Description string // of the device
}

// Create makes profiles where there are none, and binds the address at its service. A pending creation is *PendingError.
func Create(ctx context.Context, c Config, address string, o CreateOptions) (*Account, error) {
	panic("stub")
}

// Open opens an account of this machine; address "" is the only or default one.
func Open(c Config, address string) (*Account, error) { panic("stub") }

// Accounts lists the addresses of this machine.
func Accounts(c Config) ([]string, error) { panic("stub") }

// Address is the account's address.
func (a *Account) Address() string { panic("stub") }

// Close releases locks and files.
func (a *Account) Close() error { panic("stub") }

// ServiceInfo is what Hello said, verified.
type ServiceInfo struct {
	Domain, Endpoint string
	Response         *mesh.MeshHelloResponse
	ServiceUDF       string
}

// Hello asks a domain's service for its description.
func Hello(ctx context.Context, c Config, domain string) (*ServiceInfo, error) { panic("stub") }

// Status asks the service for container states.
func (a *Account) Status(ctx context.Context) (*mesh.StatusResponse, error) { panic("stub") }

// Delete deletes the account at its service.
func (a *Account) Delete(ctx context.Context) error { panic("stub") }

// SyncReport says what a Sync did.
type SyncReport struct {
	Containers []ContainerReport
	Conflicts  []ConflictReport
	RoundTrips int
}

// ContainerReport is a container after Sync.
type ContainerReport struct {
	Container            string
	Frames               int64
	Digest               []byte
	Downloaded, Uploaded int
}

// ConflictReport is a local change that met a remote one of the same entry: both versions survive (FLOWS §4.3).
type ConflictReport struct {
	Container, Key string
	Kept           string // "local" or "remote"
	Journal        string // file with the loser
}

// Progress is called during long work; total 0: unknown.
type Progress func(what string, done, total int64)

// Sync downloads, verifies, resolves, uploads. A service that fails a proof gives *ProofError.
func (a *Account) Sync(ctx context.Context, p Progress) (*SyncReport, error) { panic("stub") }

// Catalog is one encrypted catalog, as last synchronised with local changes on top.
type Catalog struct{ _ struct{} }

// Catalog returns the catalog of a container.
func (a *Account) Catalog(container string) (*Catalog, error) { panic("stub") }

// Entry is a live catalog entry.
type Entry struct {
	Key     string   // primary key text
	Tag     string   // CatalogedCredential …
	Body    jbcd.Raw // its structure, as inside the tag
	Pending bool     // a local change not yet at the service
}

// Entries lists live entries, by key.
func (c *Catalog) Entries() ([]Entry, error) { panic("stub") }

// Get returns a live entry.
func (c *Catalog) Get(key string) (Entry, bool, error) { panic("stub") }

// Put queues New or Update durably; value is a struct of package mesh. Sync sends it.
func (c *Catalog) Put(key string, value any) error { panic("stub") }

// PutAll queues many with one durable write.
func (c *Catalog) PutAll(entries map[string]any) error { panic("stub") }

// Delete queues a Delete; false when there is no such entry.
func (c *Catalog) Delete(key string) (bool, error) { panic("stub") }

// PendingError: the service wants the user to finish the request at URL.
type PendingError struct{ Reason, URL string }

// Error implements error.
func (e *PendingError) Error() string { panic("stub") }

// ServiceError is a refusal by the service, authenticated unless Hint.
type ServiceError struct {
	Kind        mesh.Kind
	Code        mesh.Code
	Description string
	RetryAfter  time.Duration
	Hint        bool
}

// Error implements error.
func (e *ServiceError) Error() string { panic("stub") }

// ProofError: the service, or who stands for it, served something that does not prove out. Evidence is a folder on disk.
type ProofError struct {
	Fault     string // short name: "payload-digest", "tree-digest", "signature", "header", "order", "fork", "rollback" …
	Container string
	Index     int64
	Evidence  string
	Err       error
}

// Error implements error.
func (e *ProofError) Error() string { panic("stub") }

// NetworkError: the service could not be reached.
type NetworkError struct{ Err error }

// Error implements error.
func (e *NetworkError) Error() string { panic("stub") }
