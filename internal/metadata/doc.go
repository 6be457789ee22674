// Package metadata is the state of the cluster and the records it is made of.
//
// An Image is the whole state at one offset of the metadata log: brokers, topics, partitions, configs,
// features, the next producer id. It is immutable; Apply folds records into a new Image that shares
// what did not change, and says in a Delta what did. Every node replays the same records and so holds
// the same image, and Records turns an image back into records, which is what a snapshot holds.
//
//	controller: decide on Image ──► []Record + Fence ──► EncodeBatch ──► quorum
//	every node: quorum ──► DecodeBatch ──► Image.Commit ──► (Image, Delta) ──► publish
//
// Guarantees. Apply is deterministic and total: a record that cannot be is an error (ErrImpossible),
// never a guess, and the caller stops the node. Commit rejects (ErrStale) a batch that was decided on
// anything but the image it lands on, so a controller that was deposed, or whose earlier batch was
// lost, cannot change the cluster. Decoders bound every count by the bytes that are left.
//
// Offsets count records: the first record of the log is 0, a batch of n records takes n offsets, and
// an image's offset is that of the last record in it (-1 when there is none). The encoding is Walser's
// own and versioned per record; docs/formats/metadata.md describes it.
//
// The package must never do IO, ask the time or draw random numbers.
package metadata
