// Package raftstore keeps what a raft voter must not forget: its log, its term and vote, and snapshots
// of its state machine, for hashicorp/raft, on a vfs.FS.
//
//	__walser_metadata/
//	  lock
//	  vote                          term and vote: two slots, written in turn
//	  log-00000000000000000001.seg  entries from index 1, space allocated ahead
//	  spare                         the next segment, allocated and empty
//	  snap-<term>-<index>.snap      state of the machine, in checked blocks
//
// Guarantees. StoreLogs and Set return after one sync; what they stored is there after a power loss. So is
// what an open store shows: Open syncs what a process that was killed may have left in the page cache.
// Every entry carries a CRC-32C that covers its content and the checksum of the entry before it; it is
// checked when the log is opened and at every read. A write that a crash cut short is removed at Open.
// Damage to what had been synced is not repaired but refused, with file and offset (ErrCorrupt): a
// voter that forgets acknowledged entries can lose them for the whole cluster.
//
// Votes and entries go into space that was allocated before, so a full disk does not reach them until
// the segment in use and the spare are full. A write or sync that fails otherwise is never retried: the
// store calls Fatal, and every later call returns the first error.
//
// The formats are in docs/formats/raftstore.md.
package raftstore
