// Package checkpoint reads and writes the small files of a log directory in Kafka's forms: the offset
// checkpoints, meta.properties, partition.metadata and .kafka_cleanshutdown.
//
// Guarantee: a file that is replaced is replaced whole and durably (written beside, synced, renamed,
// directory synced), and what Decode* accepts is well formed to the last byte. It decides nothing about
// what the offsets mean.
package checkpoint
