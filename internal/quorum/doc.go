// Package quorum is the agreement on the metadata log: one port of seven methods, and hashicorp/raft
// behind it on the stores of raftstore.
//
//	Propose ──► raft log ──► Machine.Apply on every voter ──► Commits
//
// Guarantees. What Propose reports as committed is durable on a majority and was accepted by the
// machine. Every voter applies the same batches in the same order, a stale one to no effect. A proposal
// whose fate is not known is reported so (ErrUnknownOutcome) and may still be committed later; the
// fences in the batches keep that from doing harm. A store that fails, or a batch that the machine
// cannot apply, calls Fatal.
//
// With one voter no port is opened, and the first leader is there within milliseconds: nobody else
// could be one, so that no timeout has to pass.
//
// The package does not look into batches; metadata and publish do.
package quorum
