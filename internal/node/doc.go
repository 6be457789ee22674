// Package node builds one Walser node from one configuration, and runs it.
//
// It is where the parts meet and nowhere else: each gets its own small Config and Deps. What is started
// first is stopped last:
//
//	storage, quorum, publisher, controller, replicas, coordinators, server, listeners, membership
//
// Membership comes last since it opens the gate: until this node's image holds its own registration,
// listeners hold requests unanswered. On the way down the listeners close first, then what is in flight
// is answered, and the logs are flushed and marked clean last of all.
//
// There is no global state: several nodes run in one test process, over files and listeners of their own.
package node
