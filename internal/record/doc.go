// Package record is Kafka's record batch, version 2 (KIP-98): the one format in which records travel, lie on disk and are replicated.
//
//	0        8      12          16  17   21    23        27         35         43        51     53       57     61
//	+--------+------+-----------+---+----+-----+---------+----------+----------+---------+------+--------+------+---------
//	| base   | len  | partition | 2 | CRC| at- | last    | base     | max      | producer| pr.  | base   | re-  | records
//	| offset |      | leader    |   | 32C| tri-| offset  | time-    | time-    | id      | epoch| se-    | cord | (one
//	|        |      | epoch     |   |    | butes delta  | stamp    | stamp    |         |      | quence | count| block)
//	+--------+------+-----------+---+----+-----+---------+----------+----------+---------+------+--------+------+---------
//	                                     |<----------------- covered by the CRC ------------------------------------------>
//
// A Batch is a view over these bytes; nothing is decoded that is not asked for. The leader's offset and
// epoch lie before the CRC, so an append patches 12 bytes and computes no checksum.
//
// What it guarantees:
//   - No input panics, and nothing is allocated because a length field says so: memory follows the bytes that
//     are really there, within the Limits of a Scratch. Compressed records are inflated through a window.
//   - Validate accepts only what every reader can read: what the iterator would refuse, it refuses.
//   - In steady state Validate and the iterator allocate nothing for uncompressed batches.
//
// What it must never do: know a topic, a partition or an offset beyond the one batch, or read a clock. The
// time is an argument, and the memory is the caller's: one Scratch per worker.
//
// The format is pictured byte by byte in docs/formats/record-batch.md; a test decodes the example there.
package record
