package shard

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// The numbers of the store and of the contract are the same today; they are mapped all the same, since each may change alone.

func callerOf(c *shardpb.Caller) Caller {
	return Caller{
		Domain:        c.GetDomain(),
		Mode:          modeOf(c.GetMode()),
		Account:       c.GetAccount(),
		ProfileUDF:    c.GetProfileUdf(),
		DeviceUDF:     c.GetDeviceUdf(),
		AuthKID:       c.GetAuthKid(),
		Epoch:         c.GetEpoch(),
		RequestID:     c.GetRequestId(),
		RequestDigest: c.GetRequestDigest(),
	}
}

func modeOf(m shardpb.Mode) Mode {
	switch m {
	case shardpb.Mode_MODE_DEVICE:
		return ModeDevice
	case shardpb.Mode_MODE_PROFILE:
		return ModeProfile
	case shardpb.Mode_MODE_SERVICE:
		return ModeService
	}
	return 0
}

func stateToWire(s AccountState) shardpb.AccountState {
	switch s {
	case Pending:
		return shardpb.AccountState_ACCOUNT_STATE_PENDING
	case Connected:
		return shardpb.AccountState_ACCOUNT_STATE_CONNECTED
	case Blocked:
		return shardpb.AccountState_ACCOUNT_STATE_BLOCKED
	case Deleted:
		return shardpb.AccountState_ACCOUNT_STATE_DELETED
	}
	return shardpb.AccountState_ACCOUNT_STATE_UNSPECIFIED
}

func partitionStateToWire(s PartitionState) shardpb.PartitionState {
	switch s {
	case PartitionOpen:
		return shardpb.PartitionState_PARTITION_STATE_OPEN
	case PartitionFrozen:
		return shardpb.PartitionState_PARTITION_STATE_FROZEN
	case PartitionMoved:
		return shardpb.PartitionState_PARTITION_STATE_MOVED
	}
	return shardpb.PartitionState_PARTITION_STATE_UNSPECIFIED
}

func partitionStateOf(s shardpb.PartitionState) (PartitionState, bool) {
	switch s {
	case shardpb.PartitionState_PARTITION_STATE_OPEN:
		return PartitionOpen, true
	case shardpb.PartitionState_PARTITION_STATE_FROZEN:
		return PartitionFrozen, true
	case shardpb.PartitionState_PARTITION_STATE_MOVED:
		return PartitionMoved, true
	}
	return 0, false
}

// rightOf is the bit of a right's name; no name is no right, an unknown one is Admin, so that a mistake opens nothing.
func rightOf(name mesh.RightName) Right {
	switch name {
	case mesh.AnyDevice:
		return 0
	case mesh.RightMessage:
		return Message
	case mesh.RightContact:
		return Contact
	case mesh.RightCredential:
		return Credential
	case mesh.RightBookmark:
		return Bookmark
	case mesh.RightCalendar:
		return Calendar
	case mesh.RightNetwork:
		return Network
	case mesh.RightApplication:
		return ApplicationRight
	case mesh.RightConfirmation:
		return Confirmation
	case mesh.RightAll:
		return DefaultGrant
	}
	return Admin
}

func readRight(container string) Right {
	read, _ := mesh.ContainerRights(container)
	return rightOf(read)
}

func writeRight(container string) Right {
	_, write := mesh.ContainerRights(container)
	return rightOf(write)
}

func eventOf(event string) (Event, bool) {
	switch event {
	case "":
		return NoEvent, true
	case "New":
		return New, true
	case "Update":
		return Update, true
	case "Delete":
		return Delete, true
	}
	return NoEvent, false
}

func frameToWire(f *Frame) *shardpb.Frame {
	if f == nil {
		return nil
	}
	w := &shardpb.Frame{
		Index:         f.Index,
		Header:        f.Header,
		Payload:       f.Payload,
		Trailer:       f.Trailer,
		PayloadDigest: f.PayloadDigest,
		DigestWritten: f.DigestWritten,
		TreeDigest:    f.TreeDigest,
		PayloadLength: f.PayloadLength,
		EnvelopeId:    f.EnvelopeID,
	}
	if !f.Received.IsZero() {
		w.Received = timestamppb.New(f.Received)
	}
	return w
}

func statesToWire(states []ContainerState) []*shardpb.ContainerStatus {
	var w []*shardpb.ContainerStatus
	for _, c := range states {
		w = append(w, &shardpb.ContainerStatus{Container: c.Container, Frames: c.Frames, Digest: c.Digest})
	}
	return w
}

func resultsToWire(results []Result) []*shardpb.EntryResult {
	w := make([]*shardpb.EntryResult, len(results))
	for i, r := range results {
		e := &shardpb.EntryResult{}
		switch r.Outcome {
		case Accept:
			index := r.Index
			e.Result, e.Index = shardpb.EntryResult_RESULT_ACCEPT, &index
		case Reject:
			e.Result, e.Code = shardpb.EntryResult_RESULT_REJECT, uint32(r.Code)
		case Conflict:
			e.Result = shardpb.EntryResult_RESULT_CONFLICT
		}
		w[i] = e
	}
	return w
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
