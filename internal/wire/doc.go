// Package wire is the codec of the Kafka protocol: every client-facing message at its full version
// range, the request and response headers, and the records of the internal topics.
//
// It guarantees three things to a server that reads from strangers. Nothing is allocated by an announced
// size: a count must fit the bytes that are left (count × least size of an element), and what a frame
// makes the decoder allocate is charged against 32 × frame + 64 KiB beforehand. A message that was
// decoded at a version encodes at that version to the same meaning, unknown tagged fields included. And
// the encoder refuses what the version cannot carry: null where null is not allowed, a string of more
// than 32767 bytes, a field set that the version lacks (unless Kafka calls it ignorable).
//
// Messages are plain structs generated from defs/*.def (docs/formats/wire.md has the notation), one file
// per API key. Names are Kafka's, with Id, Api and Acl spelt ID, API and ACL. A nested struct keeps
// Kafka's name where no other message of Kafka uses it, and is otherwise prefixed with the name of its
// message: ProduceRequest has TopicProduceData, FetchRequest has FetchRequestFetchTopic.
//
// How fields are represented:
//
//   - A nullable string is a *string and a nullable struct a pointer, nil for null. Slices are nil for
//     null where the field is nullable, and nil is as good as empty where it is not. A nullable array
//     that Kafka presets to empty is preset so by Reset: a literal leaves it null.
//   - The hot messages (Produce, Fetch, Metadata, OffsetCommit, Heartbeat) have every string as []byte,
//     decode into the slices that earlier decodes left behind, and allocate nothing once these have grown.
//   - Every []byte of a decoded message aliases the frame: whoever keeps one clones it.
//   - Reset sets Kafka's presets, many of which are not zero (-1 for offsets and epochs). Elements are
//     therefore added with Add, never by a literal that leaves fields out.
//
// This package must never read a clock, log, lock or do IO, and never panic on input. Readers, writers and
// messages are not safe for concurrent use; their owner pools them.
package wire

//go:generate go run ./gen
