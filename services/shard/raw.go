package shard

import "time"

// RawContainer is a container as it lies in a database, for a checker (meshctl fsck): nothing is derived.
type RawContainer struct {
	Partition uint16
	Account   int64  // 0: the partition's own containers (mmms_Account)
	Address   string // empty for account 0, or when the account row is missing, which is a fault
	State     AccountState
	Number    int64 // of the container within the account
	Name      string
	Frames    int64
	Peaks     []byte // 64 octets each (D-43), largest subtree first
}

// RawFrame is a frame as it lies in a database.
type RawFrame struct {
	Index         int64
	Header        []byte
	Payload       []byte
	Trailer       []byte // nil: none
	PayloadLength int64
	PayloadDigest []byte
	TreeDigest    []byte
	DigestWritten bool
	EnvelopeID    string
	UniqueID      string
	Event         Event
	MessageType   string
	Own           bool // written by the service itself
	Received      time.Time
}
