// Package model holds the names and numbers of the domain that every floor shares: broker ids, topic
// ids, topic-partitions, endpoints, the rules for topic names, and how a key finds its coordinator.
//
// Offsets are int64, leader and partition epochs int32, timestamps int64 milliseconds since the Unix
// epoch: plain numbers, as on the wire. -1 is "none" for all of them unless a comment says otherwise.
package model
