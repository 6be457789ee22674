// Package epoch keeps which leader epoch wrote which offsets of one partition's log: the list that
// finds where two replicas diverge (KIP-101, KIP-279), and its text form, the file
// leader-epoch-checkpoint.
//
// Guarantee: entries are strictly increasing in epoch and in start offset, whatever is assigned,
// truncated or decoded. The package is pure and not safe for concurrent use: its owner locks.
package epoch
