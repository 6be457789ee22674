// Package fetch serves Fetch, ListOffsets and OffsetForLeaderEpoch: how records go out.
//
// A fetch waits in package replica and is read when its answer's turn to be sent has come: the handler
// then lays out the response, in which record data is a piece of a file that the network layer sends.
// Fetch sessions (KIP-227) live here; they hold what a consumer asked for and was last told, never data.
package fetch
