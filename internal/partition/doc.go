// Package partition decides for one replica of one partition: who leads, how far the high watermark
// may move, when a flush is owed, when the in-sync replicas change.
//
// It is a step machine. Step takes an input (the log grew, a flush ended, metadata changed) and returns
// effects (move the high watermark, queue a flush) for its runner, package replica, to carry out; the
// runner feeds results back as inputs. Nothing here opens, sends, sleeps or asks the time.
//
// The rule of the high watermark (KIP-966, strict min ISR): it never moves back, never passes the end of
// any member of the maximal ISR, and does not move at all while the committed ISR is smaller than
// min(min.insync.replicas, replicas). Where `write.caching` demands it, it never passes what this
// replica has flushed, so that nothing a consumer saw or a producer was told is taken back by a power
// loss: replies, fetches, the last stable offset and the coordinators all follow the high watermark.
package partition
