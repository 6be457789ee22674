// Package topics serves CreateTopics, DeleteTopics and CreatePartitions.
//
// The handlers turn requests into the controller's terms and its answers into responses; what is allowed
// is decided there. A request is answered once this broker's own metadata holds its change, so that a
// client that asks the same broker next finds what it made.
package topics
