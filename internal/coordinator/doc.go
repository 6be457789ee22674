// Package coordinator holds the contract between a coordinator's state machine, the shard, and the
// runtime that drives it: one shard per partition of an internal topic, each a pure function of the
// records of its partition and of the requests it was given.
//
// A shard's state has two parts. What is durable is written by Replay alone, the same way while the
// shard serves and while it is loaded. What is soft (members that are joining, parked joins and syncs,
// timers) is written by Handle, Tick and Cancel and dies with the leadership of the partition.
//
//	requests, hang-ups, timers          records of the partition, from its log start
//	           |                                         |
//	  Handle, Cancel, Tick                             Replay
//	           v                                         |
//	        Output --- Records --> append, as one batch --+   (an append that failed replays nothing
//	           |                         |                     and is told to Output.Failed)
//	           |                    high watermark passed
//	           v                         v
//	  Replies, at once          Replies, AfterCommit
//
// The runtime guarantees: calls to one shard never overlap; the records of an Output are appended
// before any Output of a later call, and replayed in their order directly after their append; an
// AfterCommit reply leaves only when everything that was appended before it is committed; when a commit
// or the leadership is lost, the shard is thrown away and never called again.
//
// A shard must never keep what it is not given: it has no clock, no randomness, no goroutine, no lock.
package coordinator
