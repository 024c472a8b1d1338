package shard

import (
	"context"
	"time"
)

// Store is the persistence of one shard: the verbs of the protocol, each atomic and durable when it returns.
//
// Common contract. Every writing verb takes the fence of its partition first (docs/design.md, Partitions): a partition
// that is not open gives mesh.WrongShard (moved or unknown) or mesh.Overloaded (frozen). Then, in the same transaction:
// the account (absent or deleted: mesh.UnknownAccount; pending: mesh.AccountPending; blocked: mesh.NotAuthorized unless the
// verb only reads; redirect record: mesh.Redirect with the first address as text), the caller's epoch when it is not 0
// (different: mesh.TicketExpired), the caller's device by Caller.AuthKID (no current row: mesh.NotAuthorized; the creating
// device has every right until mmm_Device exists), the rights that the verb names. Writing verbs are idempotent by
// (Caller.Domain, Caller.AuthKID, Caller.RequestID) for DedupLife: the same RequestDigest gives the stored outcome and writes
// nothing, another gives mesh.Conflict. Errors are *mesh.Error; driver text never leaves the implementation.
//
// Byte slices given belong to the caller and are not kept; those returned belong to the caller.
type Store interface {
	// Resolve returns the account entry of an address, deleted ones (tombstones) included; mesh.UnknownAccount when it never was.
	Resolve(ctx context.Context, partition uint16, address string) (*Account, error)

	// Check says whether the caller is a current device of Account with Right. It writes nothing.
	Check(ctx context.Context, q CheckQuery) error

	// Create binds an address: account row, frame in mmms_Account of the partition, mmm_Inbound, mmm_Outbound, mmm_Local with
	// frame 0, the initial updates. Exactly one of concurrent creators wins. An address that exists: same ProfileUDF, same
	// MeshUDF and not newer → Created=false, nothing changed; newer Updated → replaces the profiles when Replace allows it
	// (Admin of a current device, Fresh), else mesh.TicketExpired; another MeshUDF → mesh.ProfileInvalid;
	// another ProfileUDF, also of a tombstone in quarantine → mesh.AccountRegistered.
	Create(ctx context.Context, c Creation) (*Created, error)

	// Delete turns the account into a tombstone: state Deleted, epoch + 1. It needs the Admin right; repeated, also with
	// the credential of a device of the tombstone, it succeeds and changes nothing.
	Delete(ctx context.Context, d Deletion) error

	// Status reads the state of containers, in one snapshot.
	Status(ctx context.Context, q StatusQuery) (*StatusResult, error)

	// Read returns frames by selectors, in one snapshot, ascending by index.
	Read(ctx context.Context, q ReadQuery) ([]Selected, error)

	// Apply appends frames (Upload). Containers are locked in name order; results are positional over all entries of all
	// updates, then Self. Index and Digest of an update are compared with frame count and tree digest: a mismatch makes all its
	// entries Conflict and stores nothing of it. Atomic: every update or none.
	Apply(ctx context.Context, a Application) ([]Result, error)

	// Signer returns the public key octets of a signature key that a device of the account has or had, nil when unknown.
	Signer(ctx context.Context, partition uint16, address, kid string) (*SignerKey, error)

	// Where describes what is stored of an address, for meshctl; no device is asked.
	Where(ctx context.Context, partition uint16, address string) (*Location, error)

	// Partitions lists the partitions that this database has.
	Partitions(ctx context.Context) ([]Partition, error)

	// SetPartitions changes or creates partitions under their exclusive fence.
	SetPartitions(ctx context.Context, first, last uint16, state PartitionState, epoch uint64) error

	// Ping says whether the store can serve its own data: readiness.
	Ping(ctx context.Context) error

	// Close releases everything.
	Close() error
}

// DedupLife is how long outcomes are remembered: a client that retries a request does so within minutes (AUTH §6).
const DedupLife = 15 * time.Minute

// Right is a set of rights of a device (PROTOCOL D-16). The numbers are stored: do not change them.
type Right uint32

// The rights.
const (
	Admin Right = 1 << iota
	Message
	Contact
	Credential
	Bookmark
	Calendar
	Network
	ApplicationRight
	Confirmation
)

// AllRights is what the creating device has; All without Admin is what `All` and a missing list mean.
const (
	AllRights    = Admin | allButAdmin
	allButAdmin  = Message | Contact | Credential | Bookmark | Calendar | Network | ApplicationRight | Confirmation
	DefaultGrant = allButAdmin
)

// Caller is who the gateway authenticated.
type Caller struct {
	Domain        string
	Mode          Mode
	Account       string // canonical
	ProfileUDF    string
	DeviceUDF     string
	AuthKID       string
	Epoch         uint64 // 0 under an exchange
	RequestID     []byte
	RequestDigest []byte // SHA-256
}

// Mode of authentication.
type Mode uint8

// The modes.
const (
	ModeDevice Mode = iota + 1
	ModeProfile
	ModeService
)

// AccountState is stored: do not change the numbers.
type AccountState uint8

// The states of an account.
const (
	Pending AccountState = iota + 1
	Connected
	Blocked
	Deleted
)

// Account is an account entry.
type Account struct {
	Number         int64
	State          AccountState
	Epoch          uint64
	ProfileUDF     string
	MeshUDF        string
	ProfileUpdated time.Time
	ProfileMesh    []byte // compact JSON of the envelope as received
	ProfileAccount []byte
	ProfileGroup   []byte
	Redirect       string
}

// CheckQuery asks for a right.
type CheckQuery struct {
	Partition uint16
	Account   string
	Caller    Caller
	Right     Right
}

// Entry is an envelope to be stored: D-24. Header and Trailer are JSON texts without the members that the service writes.
type Entry struct {
	Header        []byte
	Payload       []byte
	Trailer       []byte // nil: none
	PayloadDigest []byte // 64 octets
	DigestWritten bool   // the client wrote it itself
	EnvelopeID    string
	UniqueID      string
	Event         Event
	MessageType   string
	Index         *int64        // ContainerInfo.Index as written by the client
	Reject        uint16        // extended code of a fault found before: result is Reject, nothing is stored
	Device        *DeviceChange // effect on the device table, of an entry of mmm_Device
}

// Event of a catalog frame; stored.
type Event uint8

// The events. Spool frames have none.
const (
	NoEvent Event = iota
	New
	Update
	Delete
)

// DeviceChange is what an entry of mmm_Device says, read by the service (DATA §5).
type DeviceChange struct {
	DeviceUDF        string // ProfileDevice UDF
	AuthKID          string // ConnectionAccount.KeyAuthentication
	MeshAuthKID      string // ConnectionDevice.KeyAuthentication, may be empty
	SignKID          string // ConnectionAccount.KeySignature
	SignCurve        string
	SignKey          []byte
	ConnectionDigest []byte // PayloadDigest of the ConnectionAccount envelope: what a credential shows
	Rights           Right
	Remove           bool // Delete: only the row of the entry's UniqueID goes
}

// ContainerUpdate is one update of Create or Apply; the name is canonical.
type ContainerUpdate struct {
	Container string
	Index     *int64
	Digest    []byte
	Right     Right // needed to write; 0: any current device
	Entries   []Entry
}

// Creation asks for an account.
type Creation struct {
	Partition      uint16
	Address        string
	Caller         Caller
	ProfileUDF     string
	MeshUDF        string
	ProfileUpdated time.Time
	ProfileMesh    []byte
	ProfileAccount []byte
	AccountFrame   Entry        // AccountEntry for mmms_Account
	State          AccountState // Connected or Pending by site policy
	Redirect       string       // not empty: a redirect record (profiles kept, no containers)
	Updates        []ContainerUpdate
	Fresh          bool // ticket of profile mode issued ≤ 120 s ago: may replace profiles
	OnlyExisting   bool // closed policy: nothing new; mesh.NotAuthorized when the address is free
}

// Created is the outcome of Create.
type Created struct {
	Created bool // false: was there before
	State   AccountState
	Epoch   uint64
	Entries []Result
}

// Deletion asks for a tombstone.
type Deletion struct {
	Partition uint16
	Account   string
	Caller    Caller
}

// StatusQuery asks for container states.
type StatusQuery struct {
	Partition        uint16
	Account          string
	Caller           Caller
	Containers       []ContainerRight // wanted names with the right to read; empty: every container, with RightOf
	RightOf          func(container string) Right
	DeviceUDF        string // other device than the caller's: needs Admin
	ConnectionDigest []byte // of the connection shown; nil when unknown
}

// ContainerRight is a container and the right needed.
type ContainerRight struct {
	Container string
	Right     Right
}

// ContainerState is frame count and tree digest.
type ContainerState struct {
	Container string
	Frames    int64
	Digest    []byte
}

// StatusResult is a snapshot.
type StatusResult struct {
	Account     Account
	Containers  []ContainerState // ascending by name
	DeviceEntry *Frame           // current frame of the device in mmm_Device, when its ConnectionDigest differs from the query's
}

// Selection selects frames of one container.
type Selection struct {
	Container string
	Right     Right
	Min, Max  *int64 // inclusive
	NotBefore time.Time
	Before    time.Time // exclusive; zero: none
}

// ReadQuery asks for frames.
type ReadQuery struct {
	Partition  uint16
	Account    string
	Caller     Caller
	Select     []Selection
	MaxEntries int64  // of the whole response
	MaxBytes   int64  // payload octets of the whole response; a first frame that does not fit comes alone, cut
	Offset     *int64 // exactly one frame must be selected, else mesh.ProfileInvalid
	Payload    bool   // payloads are wanted; otherwise they do not count and are left empty
}

// Selected is the answer to one Selection.
type Selected struct {
	Container string
	Present   bool // false: unknown, or the caller may not read it
	Forbidden bool
	Frames    int64
	Digest    []byte
	Entries   []Frame
	Next      int64 // 0, or the index to continue with
}

// Frame is a stored frame.
type Frame struct {
	Index         int64
	Header        []byte
	Payload       []byte
	Trailer       []byte
	PayloadDigest []byte
	DigestWritten bool
	TreeDigest    []byte
	Received      time.Time // zero: written by the service itself
	PayloadLength int64
	EnvelopeID    string
}

// Application asks for an Upload.
type Application struct {
	Partition uint16
	Account   string
	Caller    Caller
	Updates   []ContainerUpdate
	Self      []Entry // mmm_Inbound; needs Message
	Atomic    *bool   // nil: D-22
}

// Outcome of one entry; stored.
type Outcome uint8

// The outcomes.
const (
	Accept Outcome = iota + 1
	Reject
	Conflict
)

// Result is the fate of one entry.
type Result struct {
	Outcome Outcome
	Index   int64  // when accepted
	Code    uint16 // extended code of a rejection
}

// SignerKey is a signature key of a device.
type SignerKey struct {
	Curve   string
	Key     []byte
	Current bool // the device has not been removed
}

// Location is what Where found.
type Location struct {
	Number     int64
	State      AccountState
	Containers []ContainerState
}

// PartitionState is stored.
type PartitionState uint8

// The states of a partition.
const (
	PartitionOpen PartitionState = iota + 1
	PartitionFrozen
	PartitionMoved
)

// Partition is a row of the fence table.
type Partition struct {
	Number   uint16
	State    PartitionState
	Epoch    uint64
	Accounts int64
}
