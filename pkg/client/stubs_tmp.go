package client

import (
	"context"
	"time"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Account is an account on this machine. It holds the account's lock until Close. Not for concurrent use.
type Account struct{ _ struct{} }

// CreateOptions are the options of Create.
type CreateOptions struct {
	Local       bool   // stop before the service; a later Create without Local goes on
	Description string // of the device, shown to the owner: "laptop"
}

// Create makes profiles where there are none, and binds the address at its service. The profiles of an account that
// is on this machine already are used again. A pending creation is *PendingError: the same call goes on with it.
// An address that this machine has already bound is *ExistsError.
func Create(ctx context.Context, c Config, address string, o CreateOptions) (*Account, error) {
	panic("stub")
}

// Open opens an account of this machine; address "" is the only or default one. It waits a little for another process
// that has it open, then gives *LockedError. No such account: *NotFoundError.
func Open(c Config, address string) (*Account, error) { panic("stub") }

// Accounts lists the canonical addresses of this machine, the default one first.
func Accounts(c Config) ([]string, error) { panic("stub") }

// Address is the account's canonical address.
func (a *Account) Address() string { panic("stub") }

// Info is what Profile says of an account.
type Info struct {
	Address    string
	AccountUDF string // ProfileAccount: the identity
	MeshUDF    string // ProfileMesh
	DeviceUDF  string // this device's ProfileDevice
	ServiceUDF string // pinned ProfileService, "" before the first contact
	State      string // "local", "pending", "connected"
}

// Info describes the account as this machine knows it.
func (a *Account) Info() Info { panic("stub") }

// Close releases locks and files.
func (a *Account) Close() error { panic("stub") }

// ServiceInfo is what Hello said, verified.
type ServiceInfo struct {
	Domain, Endpoint string
	Response         *mesh.MeshHelloResponse
	ServiceUDF       string
}

// Hello asks a domain's service for its description, unauthenticated (AUTH §8), and verifies the answer.
func Hello(ctx context.Context, c Config, domain string) (*ServiceInfo, error) { panic("stub") }

// Status asks the service for container states.
func (a *Account) Status(ctx context.Context) (*mesh.StatusResponse, error) { panic("stub") }

// Download passes a Download to the service (`account download`): what comes back is decoded, not verified, and not
// applied to the replica.
func (a *Account) Download(ctx context.Context, selects []mesh.ConstraintsSelect, limits *mesh.ConstraintsData) (*mesh.DownloadResponse, error) {
	panic("stub")
}

// Delete deletes the account at its service. What is on this machine stays.
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
	Digest               []byte // tree digest, 64 octets
	Downloaded, Uploaded int    // frames
	Fault                string // of the ProofError that stopped it; its frames are those of before
}

// ConflictReport is a local change that met a remote one of the same entry: both versions survive (FLOWS §4.3).
type ConflictReport struct {
	Container, Key string
	Kept           string // "local" or "remote": the version that stands
	Journal        string // file with the other, decrypted: {"CatalogedBookmark":{…}}
}

// Sync downloads, verifies, resolves, uploads, in that order, and leaves the replica equal to the service's
// containers. Containers that fail a proof are left as they were and the others go on: then the report is not nil and
// the error holds a *ProofError for each (errors.As finds the first). After a *NetworkError what was queued stays so.
func (a *Account) Sync(ctx context.Context, p Progress) (*SyncReport, error) { panic("stub") }

// Catalog is one encrypted catalog, as last synchronised with local changes on top.
type Catalog struct{ _ struct{} }

// Catalog returns the catalog of a container (mesh.CatalogBookmark, or an alias); spools are refused.
func (a *Account) Catalog(container string) (*Catalog, error) { panic("stub") }

// Entry is a live catalog entry.
type Entry struct {
	Key     string   // primary key text
	Tag     string   // CatalogedCredential …
	Body    jbcd.Raw // its structure, as inside the tag
	Labels  []string // of its frame: "conflict" when it was kept against a deletion
	Updated time.Time
	Pending bool // a local change not yet at the service
}

// Decode reads the entry into its structure of package mesh.
func (e Entry) Decode() (mesh.Entry, error) { panic("stub") }

// Entries lists live entries, by key. It decrypts them all: a thousand take a fraction of a second.
func (c *Catalog) Entries() ([]Entry, error) { panic("stub") }

// Get returns a live entry; only this one is decrypted.
func (c *Catalog) Get(key string) (Entry, bool, error) { panic("stub") }

// Put queues entries, New or Update, with one durable write; Sync sends them. Each lies under its PrimaryKey; the last
// of a key counts. An entry without key, or of another catalog, is an error, and nothing is queued.
func (c *Catalog) Put(entries ...mesh.Entry) error { panic("stub") }

// Delete queues a Delete; false when there is no such entry.
func (c *Catalog) Delete(key string) (bool, error) { panic("stub") }
