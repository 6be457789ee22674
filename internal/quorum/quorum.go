package quorum

import (
	"context"
	"errors"
	"io"

	"github.com/walser-io/walser/internal/model"
)

var (
	// ErrNotLeader says that the batch was not taken: this node does not lead the quorum.
	ErrNotLeader = errors.New("this node does not lead the metadata quorum")
	// ErrRejected says that the batch is in the log but the machine refused it, on every node: it was
	// decided on another state than the one it met.
	ErrRejected = errors.New("the metadata batch was rejected")
	// ErrUnknownOutcome says that the batch may or may not be committed, now or later.
	ErrUnknownOutcome = errors.New("it is not known whether the metadata batch was committed")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the metadata quorum is closed")
)

// Quorum is what the rest of the node knows of consensus. All methods may be called from any goroutine.
type Quorum interface {
	// Propose commits a batch. It returns when the machine of this node has applied it.
	Propose(ctx context.Context, batch []byte) (Committed, error)
	// Commits returns the committed batches, from the one that holds the record offset from on. Where
	// these are no longer at hand, and from offset 0 on for a state that began with a snapshot, it
	// begins with a snapshot.
	Commits(from int64) *Stream
	// Leadership returns who leads, as far as this node knows, and a channel that is closed when that
	// changes.
	Leadership() (Leadership, <-chan struct{})
	// Barrier returns when the machine of this node has applied all that was committed before the call.
	// ErrNotLeader where this node does not lead.
	Barrier(ctx context.Context) error
	// Snapshot stores the machine's state, so that the log before it can go. It happens by itself, too.
	Snapshot(ctx context.Context) error
	// Membership returns the voters and observers.
	Membership() ([]Member, error)
	// Close leaves the quorum and returns when all is still.
	Close() error
}

// Committed is a batch that the machine has taken.
type Committed struct {
	Offset int64 // of its last record
}

// Leadership is who leads the quorum.
type Leadership struct {
	Leading bool   // this node does
	Term    uint64 // the term in which Leading was found; grows with every election
	Leader  string // server id of the leader, "" for unknown
}

// Member is a server of the quorum.
type Member struct {
	ServerID string // the id of its metadata directory: a voter with another disk is another voter
	Address  string
	Voter    bool
}

// ServerID returns the server id of the voter with this metadata directory.
func ServerID(directory model.UUID) string { return directory.String() }

// Machine is the state that the batches build. Apply and Restore are called one after the other, from
// one goroutine; Snapshot from any.
type Machine interface {
	// Apply applies a committed batch and returns the offset of the last record in the state. rejected
	// says why the batch had no effect. fatal stops the node.
	Apply(batch []byte) (offset int64, rejected, fatal error)
	// Snapshot returns the state as it is and how to write it, in O(1). write is called later, beside
	// further calls of Apply.
	Snapshot() (offset int64, write func(io.Writer) error)
	// Restore replaces the state.
	Restore(r io.Reader) error
}
