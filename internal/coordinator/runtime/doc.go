// Package runtime drives coordinator shards: it gives each partition of an internal topic that this node
// leads its shard, loads it, hands it requests one at a time, appends what it asks for and answers when
// that is committed.
//
// A fixed set of workers serves all shards. Each shard has a mailbox, and a worker that takes it empties
// it in one turn: the records of a turn are one append and one wait for the high watermark. One heap of
// deadlines serves the timers of all shards.
//
// Guarantees: a request is answered exactly once, whatever happens to it; calls to one shard never
// overlap; an answer that waits for a commit waits for everything that was appended before it, so a
// request that only reads sees nothing that can be lost; after a lost commit the shard is rebuilt from
// its partition; what belongs to an older term of the shard does nothing; a panic in a shard takes that
// one partition offline until its next election.
//
// No goroutine exists outside Run, and none belongs to a shard or a request.
package runtime
