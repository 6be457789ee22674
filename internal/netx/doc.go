// Package netx is what Walser adds to package net: writing an answer that lies partly in memory and
// partly in a file, waiting for a peer without holding a buffer for it, and connections in memory.
//
// A PieceWriter puts the pieces of an answer on a connection with as few system calls and copies as the
// connection allows: one writev for memory, sendfile(2) with an explicit offset for large runs of a file.
// io.Copy from a file is not used: it moves the file's shared position and holds its lock as long as a
// slow peer reads.
//
// Listener, Network and Pipe give connections in memory that behave as TCP on loopback does: buffered,
// bounded, with deadlines. They are built on channels and timers, so they work in a testing/synctest
// bubble, which real sockets do not.
//
// No Kafka rule lives here, and nothing here starts a goroutine.
package netx
