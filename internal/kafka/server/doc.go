// Package server is the Kafka end of a connection: it accepts, frames, orders, dispatches and answers.
//
//	accept ─▶ admission ─▶ reader ─▶ ring of requests ─▶ pump ─▶ socket
//	          (caps, rate)  (frames,   [head … started)    starts what may start, encodes what is
//	                        budget)    [started … tail)     answered, writes all of it at once
//
// One goroutine reads a connection. It reads much at a time, cuts as many frames as there are, and runs
// the pump, which serves them in place. The pump is a token, not a goroutine: whoever holds it starts
// requests, encodes answers in the order the requests came and writes them with one call. Where a
// handler parks a request, the goroutine that completes it only marks it and, if nobody pumps, starts a
// goroutine that does, or sends a short answer itself as far as the socket takes it (ReplyHere). So an idle
// connection costs its reader's stack, no second goroutine, no timer and (plain TCP on a platform that can
// wait for readability) no buffer.
//
// What it guarantees:
//   - Answers leave in the order of their requests. Only Produce overlaps Produce; any other request
//     starts when every answer before it is encoded, and nothing starts while it is being served.
//   - Memory follows the bytes that arrived, never the bytes a peer announced; and of a large request whose
//     handler takes it while it arrives (API.Stream), the pieces that this one asks for. All buffers that hold
//     request bytes are charged to one budget; small frames have a share that large ones cannot take. So is
//     what a request decodes to beyond 64 KiB, before it is allocated: many fields fit into few bytes.
//     When it is out, frames that have stalled are given up, and their connections closed.
//   - A peer that hangs up cancels what it parked. A peer that sends slowly, reads slowly or not at all
//     is closed by a deadline. A handler that panics closes its connection and no other.
//   - A request that is not in the table, does not parse or exceeds its cap closes the connection without
//     an answer, after the answers to the requests before it, as Kafka does.
//
// It must never know what an API means, except for ApiVersions (and, later, SASL), which change the
// connection itself.
package server
