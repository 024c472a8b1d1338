package shard

import (
	"context"
	"time"
)

// Store is the persistence of one shard: the verbs of the protocol, each atomic and durable when it returns.
//
// Common contract. Every writing verb takes the fence of its partition first (docs/design.md, Partitions): a partition
// that is not open gives mesh.WrongShard (moved or unknown) or mesh.Overloaded (frozen); a reading verb is refused by a moved
// or unknown partition only. The inner error of WrongShard is a shardmap.Stale: the epoch that the partition has seen, of an
// unknown one that of Epoch. Then, in the same transaction and in this order:
//
//   - the account: absent or deleted: mesh.UnknownAccount; pending: mesh.AccountPending; redirect record: mesh.Redirect with
//     the first address as text; blocked: mesh.NotAuthorized, but for Status and Read; Caller.ProfileUDF given and not the
//     account's: mesh.NotAuthorized;
//   - the caller's epoch when it is not 0: mesh.TicketExpired when it is not the account's;
//   - the caller's device. Caller.AuthKID proves which device it is: it may be any authentication key that an entry of the
//     device has named since the device was last added, and the rights are those of the device's current entry. No such device,
//     or one that was removed: mesh.NotAuthorized. The creating device has every right while mmm_Device has no entry;
//   - the rights that the verb names: mesh.NotAuthorized;
//   - deduplication. A request that came to a result before, refusals of single entries included, is remembered for at least
//     DedupLife by (Caller.Domain, Caller.AuthKID, Caller.RequestID) within the partition: the same RequestDigest gives the
//     stored outcome and writes nothing, another gives mesh.Conflict. An empty RequestID is not remembered, nor is a request
//     that ended in an error: it changed nothing.
//
// Writers of one account wait for each other, readers wait for nobody. Arrival times are whole seconds of the store's clock.
// Errors are *mesh.Error. A store that is away, busy or out of the caller's time gives mesh.Overloaded, anything unforeseen
// mesh.Internal, with the driver's text in the chain for the log only.
//
// Byte slices given belong to the caller and are not kept; those returned belong to the caller. Safe for concurrent use.
type Store interface {
	// Resolve returns the account entry of an address, deleted ones (tombstones) included; mesh.UnknownAccount when it never was.
	Resolve(ctx context.Context, partition uint16, address string) (*Account, error)

	// Check says whether the caller is a current device of Account with Right (0: any). It writes nothing.
	Check(ctx context.Context, q CheckQuery) error

	// Create binds an address: account row, frame in mmms_Account of the partition, mmm_Inbound, mmm_Outbound, mmm_Local with
	// frame 0, the initial updates (their rights are not asked: the caller is the creating device). An initial update that
	// cannot be stored fails the whole: mesh.Conflict, or the kind of the first rejected entry. A redirect record has no
	// containers and takes no updates. Exactly one of concurrent creators wins.
	// An address that exists: another ProfileUDF, or a tombstone until it is purged → mesh.AccountRegistered; another MeshUDF →
	// mesh.ProfileInvalid; not newer → Created=false, nothing changed, no entries; newer ProfileUpdated → replaces the profiles
	// and appends AccountFrame (blocked or pending: nothing changes) when Fresh is set and the epoch is the account's, else
	// mesh.TicketExpired, and the caller is a current device with Admin, else mesh.NotAuthorized.
	Create(ctx context.Context, c Creation) (*Created, error)

	// Delete turns the account into a tombstone: state Deleted, epoch + 1, AccountFrame in mmms_Account of the partition. It
	// needs the Admin right. Repeated by a device of the tombstone with that right it succeeds and changes and appends nothing;
	// the epoch does not count then.
	Delete(ctx context.Context, d Deletion) error

	// Status reads the state of containers, in one snapshot. Names that do not exist and those that the device may not read
	// are left out. DeviceUDF of another device needs Admin.
	Status(ctx context.Context, q StatusQuery) (*StatusResult, error)

	// Read returns frames by selectors, in one snapshot, ascending by index, positional over q.Select. The limits hold for the
	// whole response: frames are given whole, in the order of the selections, until one does not fit; that and all later ones
	// stay out. The very first one comes even if its payload does not fit MaxBytes: then alone and cut. Headers and trailers
	// together stay within MaxHeads, so that ten thousand long ones do not fill the memory of two roles.
	Read(ctx context.Context, q ReadQuery) ([]Selected, error)

	// Apply appends frames (Upload). Containers are taken in name order (updates of one container in their order); results are
	// positional over all entries of all updates, then Self.
	//
	// An update is stored whole or not at all. It is not when its Index or Digest differ from frame count and tree digest (of
	// an absent container: 0 and none), when an entry has a fault of its own, or when the state machine of a catalog refuses
	// one: New wants no live entry of its UniqueID, Delete wants one, Update takes both. Then entries with a fault of their own
	// are Reject with its code, all others Conflict. Faults: Reject is set; an EnvelopeID, UniqueID, MessageType or name
	// of a device, key or contact that is not UTF-8, holds U+0000 or has more than MaxName octets; a catalog entry without UniqueID or Event; Index 0 on another entry
	// than an update's first (all code 13). Entries of Self stand each for itself. Atomic: when one entry is not accepted,
	// nothing of the request is stored and what would have been is Conflict. The default is true when two or more updates
	// carry Index.
	//
	// Frame 0: a first entry with Index 0 makes an absent container; is Accept with index 0 and stored no second time when
	// frame 0 is identical (D-24); else the update is in conflict. Without it the service writes frame 0 (FrameZero) itself. An
	// update without entries makes nothing. In a spool an entry whose EnvelopeID (not empty) and PayloadDigest are stored
	// already is Accept with the old index.
	//
	// mmm_Device: a New or Update makes Entry.Device the current entry of the device named by UniqueID (nil: one without keys
	// and rights); a Delete removes that device, its authentication keys die with it. Both count from the commit.
	//
	// mmm_Contact: a New or Update makes Entry.Contact what the account says of the contact named by UniqueID (nil: nothing); a
	// Delete removes it. What a sender is granted comes from here (Standing). Of Addresses the first MaxContactAddresses count.
	Apply(ctx context.Context, a Application) ([]Result, error)

	// Post accepts messages of a device of the account, which needs Message. Results are positional: for message m and recipient
	// r of its R recipients at m·R + r, then Self. A message is Reject with one code for all its recipients when Entry.Reject is
	// set, when it has a fault as of a spool entry (Apply), when SignKID is not the signature key of a current device of the account
	// (13), or when its EnvelopeID is stored in mmm_Outbound with another PayloadDigest (13); a recipient with Reject set is Reject by
	// itself. A message with a recipient left is one frame of mmm_Outbound and one outbox row for each recipient left, Index is
	// that of the frame; with the same EnvelopeID and PayloadDigest as a stored one no second frame and, for a recipient who has a row,
	// no second row is made: Posted then shows the old row and its verdict. Self goes to mmm_Local, as Self of Apply to mmm_Inbound.
	// Each message and each entry of Self stands for itself. A repeated request gives the stored results, with the rows as they are now.
	Post(ctx context.Context, p Posting) ([]Posted, error)

	// Claim takes outbox rows that are due, in partitions that are open, for the relay: those first that are due the longest, at most
	// limit. Nobody else gets them for lease; then they are due again, unless settled. The rows come as they are now: Published, due at
	// the end of the lease. It waits for nobody: rows that others hold are skipped.
	Claim(ctx context.Context, limit int, lease time.Duration) ([]OutboxRow, error)

	// Settle records outcomes of outbox rows of one account, and appends the Event of each to mmm_Outbound and its Failure to mmm_Inbound.
	// A row that is settled already (Delivered or Failed) or is not one of the account is left alone and nothing is appended for it: an
	// outcome has its effect once. Due keeps no verdict. It returns how many took effect. No device is asked, the state of the account does not
	// matter; of a deleted account rows are settled, without frames. An account that never was has no rows.
	Settle(ctx context.Context, partition uint16, address string, list []Settlement) (int, error)

	// Outbox returns outbox rows of an account in any state, settled ones too, ascending by frame: of a message, or those named. An
	// account that never was has none.
	Outbox(ctx context.Context, q OutboxQuery) ([]OutboxRow, error)

	// Backlog tells how many outbox rows of partitions that are here are not settled, and when the oldest of them was made (none: zero). For a scrape: of more
	// than MaxBacklog it tells of those that are due first.
	Backlog(ctx context.Context) (rows int64, oldest time.Time, err error)

	// Standing is what access control asks of a recipient about a sender. An account that is absent or deleted is mesh.UnknownAccount;
	// any other state is told, not refused.
	Standing(ctx context.Context, q StandingQuery) (*Standing, error)

	// Deliver records the verdict on a message for a recipient of this shard and, when it is accepted, appends it to mmm_Inbound. Account absent
	// or deleted: mesh.UnknownAccount; pending: mesh.AccountPending; redirect record: mesh.Redirect. A message without EnvelopeID, or with a
	// fault as of a spool entry (Apply), is Reject with its code (13), and nothing is recorded. Then, by sender (SenderUDF) and recipient, and whatever the
	// verdict, as a refusal never replaces an acceptance: EnvelopeID and PayloadDigest of a message accepted before → Accept with its index;
	// that EnvelopeID with another digest → Reject, 13; that digest under another EnvelopeID → Accept with the index of the stored one; nothing
	// is written in all three. Else the verdict is recorded, of a blocked account as a refusal with code 17, in the place of an earlier
	// refusal of that EnvelopeID. Frames of others and of the account's own devices are no duplicates.
	Deliver(ctx context.Context, a Arrival) (Result, error)

	// Verdicts returns the recorded verdicts on a message for a recipient, by EnvelopeID, one for each sender, newest first. An account
	// that never was has none.
	Verdicts(ctx context.Context, partition uint16, address, envelopeID string) ([]VerdictRecord, error)

	// Report appends a frame to mmms_Incident of a partition and returns its index; an EnvelopeID (not empty) that is stored there gives
	// the old index. A fault as of a spool entry is mesh.MessageInvalid.
	Report(ctx context.Context, partition uint16, incident Entry) (int64, error)

	// Incidents returns frames of mmms_Incident of a partition, whole, ascending from index first, at most limit. Frame 0 is no incident.
	Incidents(ctx context.Context, partition uint16, first int64, limit int) ([]Frame, error)

	// Signer returns the public key octets of a signature key that a device of the account has or had, nil when unknown; also
	// of a tombstone.
	Signer(ctx context.Context, partition uint16, address, kid string) (*SignerKey, error)

	// Where describes what is stored of an address, for meshctl; no device is asked.
	Where(ctx context.Context, partition uint16, address string) (*Location, error)

	// Partitions lists the partitions that this database has. It counts accounts: for an operator, not for every scrape.
	Partitions(ctx context.Context) ([]Partition, error)

	// Epoch is the newest epoch of the shard map that a partition has seen, 0 without partitions.
	Epoch(ctx context.Context) (uint64, error)

	// SetPartitions changes or creates the partitions first to last, each under its exclusive fence: when it returns, no writer
	// that saw another state can still commit. One that has seen a later epoch is left as it is, and mesh.Conflict returned: who
	// holds an old map would open a partition that has moved. A range is done piece by piece: after an error a prefix is done, repeating is
	// harmless.
	SetPartitions(ctx context.Context, first, last uint16, state PartitionState, epoch uint64) error

	// Ping says whether the store can serve its own data: readiness.
	Ping(ctx context.Context) error

	// Close releases everything.
	Close() error
}

// DedupLife is how long outcomes are remembered: a client that retries a request does so within minutes (AUTH §6).
const DedupLife = 15 * time.Minute

// MaxName bounds EnvelopeID, UniqueID and MessageType, in octets: they are keys of indexes, whose rows have less than 2704
// octets in PostgreSQL. Ours have 56 characters.
const MaxName = 1024

// MaxBacklog bounds what Backlog reads: a backlog of so many rows calls an operator, whatever the number.
const MaxBacklog = 100_000

// MaxContainers bounds the containers of an account: one has some twenty, and a Status of this many is still small. One more is
// mesh.QuotaExceeded for the whole request.
const MaxContainers = 1000

// FrameZero is the stored header of a frame 0 that the service writes: what is left of R-29's
// {"ContainerInfo":{"DataEncoding":"JSON","ContainerType":"Merkle","Index":0}} without ContainerInfo, which is spliced in when
// the frame is served. Its payload is empty, it has no trailer and no time of arrival.
const FrameZero = "{}"

// MaxHeads is how many octets of headers and trailers a Read returns at most. With the 4 MiB of payload that a Download has
// unless more is asked for (PROTOCOL §1.7), twice in base64, an answer stays below the 16 MiB that our client reads; with the
// 16 MiB that it may have, within one message between roles. Ten thousand headers of the usual half KiB fit.
const MaxHeads = 6 << 20

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

// AllRights is what the creating device has; DefaultGrant is what `All` and a missing list mean.
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
	Index         *int64         // ContainerInfo.Index as written by the client; only 0 counts
	Reject        uint16         // extended code of a fault found before: result is Reject, nothing is stored
	Device        *DeviceChange  // effect on the device table, of an entry of mmm_Device
	Contact       *ContactChange // effect on the contact tables, of an entry of mmm_Contact
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
	DeviceUDF        string // ProfileDevice UDF; this and the key identifiers in the spelling of udf.Canonical
	AuthKID          string // ConnectionAccount.KeyAuthentication
	MeshAuthKID      string // ConnectionDevice.KeyAuthentication, may be empty
	SignKID          string // ConnectionAccount.KeySignature
	SignCurve        string
	SignKey          []byte
	ConnectionDigest []byte // PayloadDigest of the ConnectionAccount envelope: what a credential shows
	Rights           Right
	Remove           bool // Delete: the device of the entry's UniqueID goes; the Event says it too, and alone counts
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
	Partition    uint16
	Account      string
	Caller       Caller
	AccountFrame Entry // Delete of the account's entry in mmms_Account
}

// StatusQuery asks for container states.
type StatusQuery struct {
	Partition        uint16
	Account          string
	Caller           Caller
	Containers       []ContainerRight // wanted names with the right to read; empty: every container, with RightOf
	RightOf          func(container string) Right
	DeviceUDF        string // empty: the caller's own
	ConnectionDigest []byte // of the connection that the caller showed; nil when unknown
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
	DeviceEntry *Frame           // current frame of the device in mmm_Device: of another device always, of the own when its ConnectionDigest differs from the query's, which is known
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
	MaxEntries int64  // of the whole response, at least 1
	MaxBytes   int64  // payload octets of the whole response, at least 1
	Offset     *int64 // octets of the payload to skip, beyond its end gives none; exactly one frame must be selected, else mesh.ProfileInvalid
	Payload    bool   // payloads are wanted; otherwise they do not count and are left empty
}

// Selected is the answer to one Selection.
type Selected struct {
	Container string
	Present   bool // false: unknown, or the caller may not read it; then the rest is empty
	Forbidden bool // the caller may not read it, whether it exists or not
	Frames    int64
	Digest    []byte
	Entries   []Frame
	More      bool  // the limits left selected frames out
	Next      int64 // the first of them, when More
}

// Frame is a stored frame.
type Frame struct {
	Index         int64
	Header        []byte
	Payload       []byte // empty or cut, as the query says
	Trailer       []byte // nil: none
	PayloadDigest []byte // 64 octets
	DigestWritten bool
	TreeDigest    []byte    // 64 octets (D-43)
	Received      time.Time // UTC, whole seconds; zero: written by the service itself. Time windows use the time of writing
	PayloadLength int64     // octets of the whole payload
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
	Epoch      uint64 // of the partition
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

// ContactRight is a set of rights that an account grants to a contact (PROTOCOL D-39). The numbers are stored: do not change them.
type ContactRight uint32

// The rights of contacts. Block takes all others away.
const (
	MayContact ContactRight = 1 << iota
	MayConfirm
	MayGroup
	MayTask
	MayMessage
	Block
)

// ContactChange is what an entry of mmm_Contact says, read by the service (DATA §5, D-39).
type ContactChange struct {
	Addresses  []string // canonical, in the order of the entry, at most MaxContactAddresses
	ProfileUDF string   // of the ProfileAccount that stands in it: the pin; canonical spelling, may be empty
	Rights     ContactRight
}

// MaxContactAddresses bounds the addresses of one contact that count; people have a handful.
const MaxContactAddresses = 32

// Posting asks for a Post of a client.
type Posting struct {
	Partition uint16
	Account   string
	Caller    Caller
	Letters   []Letter
	Self      []Entry // mmm_Local
	Waiter    string  // whom to tell verdicts of local recipients; kept in the rows
}

// Letter is a message with its recipients.
type Letter struct {
	Entry      Entry
	SignKID    string // canonical: of the device that signed it, verified by the gateway
	Recipients []Addressee
}

// Addressee is one recipient of a message.
type Addressee struct {
	Address string // canonical
	Domain  string // destination; empty: local
	Reject  uint16 // extended code of a refusal found before
}

// Posted is the fate of one message for one recipient, or of an entry of Self.
type Posted struct {
	Result
	Row     OutboxID // zero for Self and for refusals
	Settled bool     // the row was settled before; then
	Verdict Verdict  // is its verdict
}

// OutboxID is the identifier of an outbox row: a random UUID.
type OutboxID [16]byte

// OutboxState is stored: do not change the numbers.
type OutboxState uint8

// The states of an outbox row.
const (
	Due       OutboxState = iota + 1
	Published             // claimed by a relay
	Delivered
	Failed
)

// OutboxRow is a message on its way to one recipient.
type OutboxRow struct {
	ID          OutboxID
	Partition   uint16
	Account     string // of the sender
	SenderUDF   string // ProfileAccount of the sender
	Frame       Frame  // of mmm_Outbound, whole
	MessageID   string // UniqueID of the frame
	MessageType string
	Recipient   string
	Domain      string // destination; empty: local
	State       OutboxState
	Attempts    int
	Waiter      string
	Created     time.Time
	NextAttempt time.Time
	Verdict     Verdict
	VerdictAt   time.Time // zero: none yet
}

// Verdict is the outcome of access control, or of the way there. Zero: none.
type Verdict struct {
	Accepted bool
	Code     uint16 // extended code of a refusal
	Rule     string // that decided
	Policy   string // version of the policy
}

// Settlement is the outcome of one attempt for one row: Delivered or Failed for good, or Due again at NextAttempt (Attempts + 1).
type Settlement struct {
	ID          OutboxID
	State       OutboxState
	NextAttempt time.Time
	Verdict     Verdict
	Event       *Entry // for mmm_Outbound, nil: none
	Failure     *Entry // for mmm_Inbound, nil: none
}

// OutboxQuery asks for rows of one account by EnvelopeID, or by IDs when there are any.
type OutboxQuery struct {
	Partition  uint16
	Account    string
	EnvelopeID string
	IDs        []OutboxID
}

// StandingQuery asks what a recipient says of a sender. A contact counts when one of its addresses is SenderAddress, or its pin is SenderUDF.
type StandingQuery struct {
	Partition     uint16
	Recipient     string
	SenderAddress string // canonical
	SenderUDF     string // canonical
	PIN           string // EnvelopeID of the MessagePIN that would admit the message; empty: none
}

// Standing is the answer. Of several contacts that count, rights add up; with Block among them Rights is Block alone.
type Standing struct {
	State     AccountState
	Redirect  string // not empty: the account has moved there, or this is a second address of that
	Contact   bool   // the sender is in the contact catalog
	Rights    ContactRight
	PinnedUDF string // of a contact with SenderAddress, when it has a pin other than SenderUDF
	PIN       *Frame // the newest frame of mmm_Local with the EnvelopeID asked for, without payload; nil: none
	Inbound   int64  // frames of mmm_Inbound
}

// Arrival is a message for a recipient with the verdict of access control.
type Arrival struct {
	Partition     uint16
	Recipient     string
	SenderAddress string
	SenderUDF     string
	Message       Entry
	Verdict       Verdict
	Inputs        string // what the rules saw, for Verdicts: JSON, no user data beyond addresses
}

// VerdictRecord is a recorded verdict.
type VerdictRecord struct {
	SenderAddress string
	SenderUDF     string
	MessageType   string
	Index         int64 // in mmm_Inbound, when accepted
	Verdict       Verdict
	Inputs        string
	At            time.Time
}
