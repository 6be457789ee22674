// Package cleaner runs log compaction: it looks which log of the node is dirtiest, and rewrites it.
//
//	storage.Log.Compaction ──look──▶ compact.Log.Measure ──due──▶ learn: dirty batches ─▶ compact.Round
//	                                                                                          │
//	cleaner-offset-checkpoint ◀── Cleaned ◀── Commit ◀── storage.Rewrite ◀── what stays ◀── filter
//
// Guarantees:
//   - A log that cannot be compacted is set aside with the reason, in the log, in Uncleanable and in a
//     metric; the others go on. That holds for a panic as for a damaged batch.
//   - Memory is bounded by log.cleaner.dedupe.buffer.size and a few MiB per thread, taken when there is
//     work and given back after.
//   - Reads and writes together stay below log.cleaner.io.max.bytes.per.second.
//   - When Run returns nothing is left half done that the next start would not resolve (storage.Rewrite).
//
// It decides nothing about records: compact does. It touches no file: storage does.
package cleaner
