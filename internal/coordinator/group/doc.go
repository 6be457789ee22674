// Package group is the shard of __consumer_offsets: classic consumer groups and committed offsets.
//
// Durable, written by Replay alone: of each group its last stable generation with members and
// assignments (a GroupMetadata record), and its committed offsets (one OffsetCommit record each), in the
// record formats of Apache Kafka. Soft, gone with the leadership: which members are joining, member ids
// that were handed out and not used yet, parked joins and syncs, session and rebalance timers. A group
// that was rebalancing when its coordinator moved comes back as it last was stable, with every session
// armed anew; its members find a generation they do not know and join again.
//
//	         join                 every member joined,        the leader's assignment
//	Empty ---------> Preparing -- or the time is up ---> Completing --- is appended ---> Stable
//	  ^              Rebalance     (generation + 1)      Rebalance                         |
//	  |               |  ^                                  |                              |
//	  +--- no member -+  +--- a member joins, leaves, ------+------------------------------+
//	       is left            expires, or never syncs
//
// Guarantees: while one coordinator serves, generations only grow; an assignment leaves only after it is
// committed; a committed offset is answered only after it is committed, and never goes back
// but by a later commit, a delete or expiry; a static member's id is fenced the moment its successor is
// accepted.
//
// Sources: KIP-62, KIP-134, KIP-211, KIP-345, KIP-394, KIP-559, KIP-800, KIP-814, KIP-915.
package group
