// Package sim runs a whole node, as it ships, over files in memory, takes its power away or kills it at
// points that a seed chooses, starts it again on what is left, and holds it to what it had promised.
//
// A seed draws the shape of the load (topics, partitions, producers of both kinds, consumers that commit,
// topics made and deleted) and, for each life of the node, how it ends:
//
//	power    at a moment of the load, with none, some or all of the unsynced data on disk, torn, stale
//	kill     kill -9: the page cache stays, maybe half a write with it
//	op       either of them, at the k-th operation that changes a file, in the middle of start-up too
//	stop     an orderly stop, then power
//
// Clients live through all of it. What a node promised is in the ledger (see ledger.go): each
// acknowledged record at its offset, each record a consumer saw, each committed position, each topic.
// After every start the logs are read back whole and compared.
//
// It guarantees that a seed fixes the load and the faults; the schedule is the Go runtime's, so a seed that
// turned red once may need several runs. Nothing here sleeps or knows how the node works inside: the
// protocol is the way in, vfs the only lever.
package sim
