// Package groups serves the APIs of classic consumer groups and of committed offsets.
//
// A handler turns a request of any version into the one form that the group coordinator knows, sends it to
// the shard that the group's id hashes to, and turns the answer back. It decides nothing about groups, keeps
// no state of theirs, and never waits: answers are encoded by whoever has them. Topic ids and names are
// resolved here, by the image that is current when the request comes.
package groups
