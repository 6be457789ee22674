// Package segment is one segment of a partition's log: N.log with the record batches, and beside it
// N.index, N.timeindex and N.txnindex, all in Kafka's formats (docs/formats/log-directory.md).
//
// Guarantees:
//   - A position in N.log is written once: bytes that a reader was given never change under it, they can
//     only be cut off.
//   - An append is one write. If it falls short the file is cut back before the next one, or the
//     segment refuses more (ErrDamaged).
//   - Indexes are hints. Entries of the active segment are kept in memory and written in bulk; every
//     entry is checked against the batch it points to when it is used, and an index that lies is
//     rebuilt. So an index is never needed to be durable for a read to be right.
//
// It never decides when to roll, sync or delete, and it keeps no descriptor beyond a FileCache.
package segment
