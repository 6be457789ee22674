// Package replica runs the partitions of one broker: it owns their logs and step machines, and the
// produces, fetches and delete-records that wait for them.
//
// A Replica is one partition on this broker. Its machine (package partition) decides; the replica
// appends, moves the log's high watermark, queues flushes and wakes who waited. One lock per replica
// guards the machine and the wait lists; it is never held across IO or a callback: waiters are collected
// under it and completed after it.
//
//	Append → validate → log.AppendAsLeader → Appended{end} → MoveHighWatermark / QueueFlush
//	                                                              |               |
//	                         waiting produces, fetches  <---------+     syncer → Flushed{offset}
//
// Waiting costs no goroutine and no timer of its own: deadlines stand in one heap. A fetch registers
// with its partitions and then checks again, so that no record slips between; being woken only marks it
// ready, and the connection's writer reads (Collect). Every callback is called exactly once, from any
// goroutine, and never under a lock.
//
// Storage has errors of its own; they become Kafka's error codes here, once (errors.go).
package replica
