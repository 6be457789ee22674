// Package loadgen puts a described load on a Kafka cluster through a stock Go client, and measures what
// the client sees of it. It is the driver behind bench/ and walser bench.
//
// A Load says everything that decides what is offered: two runs of equal Loads offer the same bytes in the
// same way. There are six ways to offer it:
//
//   - Saturate is a closed loop: producers keep their buffers full, and what is measured is how much is
//     acknowledged. It measures no latency, since a full buffer says how long the buffer is.
//   - RoundTrips is a closed loop of one record per request and connection.
//   - Pace is an open loop at a fixed rate, and Stream the same with a consumer behind it. Latency counts from
//     the moment a record was due, so a stall is seen by every record that it delayed (no coordinated omission).
//   - Replay is a closed loop of requests that were encoded before the clock starts: it costs the client
//     little more than the socket, so that the broker is what saturates.
//   - CatchUp reads a backlog that Fill wrote, and Read one that somebody else did.
//
// Every way checks what it offered: a record that was refused, lost, doubled or read out of order is an
// error, never a fast answer. What is measured lies between two calls of Window.Edge, after a warm-up; the
// caller reads the broker's CPU there. Window.Progress says meanwhile how far the load has come.
//
// The package starts no process, knows no broker but by the Kafka protocol, and never retries a run.
package loadgen
