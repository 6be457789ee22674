// Package producerstate keeps what one partition's log knows of its idempotent and transactional
// producers: per producer id the epoch, the last five batches and the open transaction (KIP-98, KIP-360).
//
// Guarantee: a batch of a known producer is accepted exactly once and in sequence; a retry of one of its
// last five batches is recognised. Nothing changes before Apply, so an append that fails leaves no trace.
// A snapshot restores the same five batches: Kafka's own snapshot file holds only the last one, so a
// checksummed side file stands beside it (docs/formats/producer-state.md).
//
// The package is pure and not safe for concurrent use: the log calls it under its append lock.
package producerstate
