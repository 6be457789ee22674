// Package storage is the log of every partition on this node: Log appends, reads, truncates and recovers
// one; Manager owns the log directories and what runs in the background; Syncer makes data durable.
//
// Guarantees:
//   - What lies below FlushedOffset survives a power loss. What was appended survives the end of the
//     process, whatever ends it.
//   - An append is one write under the append lock, and no sync, open, rename, callback or read happens
//     there. It takes effect whole or not at all: producer state and offsets move after the write.
//   - A sync that failed is never tried again: its directory goes offline, alone, and nothing that
//     waited for the sync is told that it succeeded.
//   - A full disk refuses appends with ErrNoSpace and nothing else: reads, retention and deletes go on,
//     and the first append after there is space succeeds.
//   - Recovery reads what can be damaged and no more, and a log whose end it could not vouch for is cut
//     at its first bad batch. Below the recovery point nothing is cut: what is damaged there stays, is
//     reported, and is an error to who reads it; what stands behind it is served.
//
// The files are Kafka's (docs/formats/log-directory.md); all IO goes through vfs.FS. An idle log costs a
// few KiB of memory: no goroutine, timer, buffer or descriptor.
//
// The package knows nothing of replication: who leads, what is committed and who must wait is told to
// it by replica (Lead, Follow, SetHighWatermark) or asked of it through Hooks.
package storage
