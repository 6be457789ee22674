// Package compact decides about log compaction: which log is due, which records stay, and which segments
// become one. It is pure; storage reads and writes the bytes, storage/cleaner runs the rounds.
//
// A log as compaction sees it:
//
//	base                cleaned                  bound                 end
//	 |--- clean part ------|------ dirty part -----|--- not to be touched ---|
//	   one record per key     keys occur again       the active segment, records
//	                                                 that are too young, undecided
//	                                                 or not yet durable
//
// One round reads the dirty part into an OffsetMap, as far as its memory goes, and then rewrites every
// segment from the base to where the map ended. What is too much for the map is the next round's.
//
// Guarantees:
//   - The last record of each key stays, at its offset. No offset, sequence number or leader epoch of what
//     stays changes.
//   - A tombstone stays until delete.retention.ms after the first round that removed what it deletes: the
//     batch carries that time, its delete horizon (KIP-534). A reader that takes less than that from the
//     start of the log to its end sees either the tombstone or nothing of the key.
//   - The last batch of a producer stays, without records if need be: its sequence number must be found
//     again. Control batches stay.
//   - A round takes no more memory than it was given, whatever the number of keys.
//
// It must never drop a record that lies at or past the end of its map: nothing is known of those.
package compact
