package runtime

import "github.com/walser-io/walser/internal/coordinator"

// Log is one partition of an internal topic, as its leader in one leader epoch. None of the methods
// wait for anything but the disk.
type Log interface {
	// Append writes records as one batch at leaderEpoch and returns the end offset behind it; records
	// are the caller's again afterwards. NOT_LEADER_OR_FOLLOWER says that the epoch is over. With an
	// error nothing is left of it, and committed is never called; otherwise committed is called once,
	// from any goroutine and maybe before Append returns: with nil when the high watermark has
	// reached end, with an error when it is not known whether it ever will.
	Append(leaderEpoch int32, records []coordinator.Record, committed func(err error)) (end int64, err error)
	// AwaitCommit calls committed like Append does, for what is already in the log below offset.
	AwaitCommit(offset int64, committed func(err error))
	// Bounds returns the log start offset and the log end offset.
	Bounds() (start, end int64)
	// Read calls visit with records from offset on, in their order, and returns the offset behind
	// what it has read: of one chunk that is worth a turn, at least one batch. It leaves out control
	// records. The memory of a record is only lent.
	Read(offset int64, visit func(rec coordinator.Record) error) (next int64, err error)
	// MaxBatchBytes returns how large a batch may be.
	MaxBatchBytes() int
}
