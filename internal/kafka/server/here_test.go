package server_test

import (
	"bytes"
	"runtime/debug"
	"testing"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// replyHere answers a request once nobody serves its connection, and says whether it was done on the way.
func (n *node) replyHere(t *testing.T, r *server.Request, records ...byte) (here bool) {
	n.await(t, "the handler has returned", r.Rests)
	r.ReplyHere(func(response wire.Response) {
		here = bytes.Contains(debug.Stack(), []byte("pumpHere"))
		topic := wire.Add(&response.(*wire.FetchResponse).Responses)
		topic.Topic = []byte("t")
		wire.Add(&topic.Partitions).Records.Bytes = records
	})
	return here
}

// A short answer is collected and sent by whoever gives it. A long one too, but for the sending.
func TestReplyHere_SendsOnTheWay(t *testing.T) {
	fetches := make(parked, 1)
	n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
	c := n.dial(t)
	for i, size := range []int{10, 30_000, 100_000} {
		c.send(fetch(int32(i)))
		records := bytes.Repeat([]byte{byte(i)}, size)
		if !n.replyHere(t, <-fetches, records...) {
			t.Errorf("an answer of %d bytes was left to others", size)
		}
		if id, rest := c.recv(); id != int32(i) || !bytes.HasSuffix(rest, records) {
			t.Errorf("%d bytes of an answer to %d, want one to %d with its records", len(rest), id, i)
		}
	}
}

// Whoever gives an answer does not wait for a peer that does not read, and nothing is lost.
func TestReplyHere_WaitsForNoReader(t *testing.T) {
	const size = 30_000
	records := func(i int32) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	fetches := make(parked, 1)
	n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{SendBuffer: 16 << 10})
	c := n.dial(t)
	var answers int32
	for full := false; !full; answers++ {
		c.send(fetch(answers))
		if !n.replyHere(t, <-fetches, records(answers)...) {
			t.Fatalf("answer %d was left to others", answers)
		}
		n.await(t, "the answer is sent, or the socket is full", func() bool {
			full = n.Writing() > size
			return full || n.metric(t, "walser_kafka_requests_total") > float64(answers)
		})
	}
	c.send(fetch(answers))
	for i := range answers {
		if id, rest := c.recv(); id != i || !bytes.HasSuffix(rest, records(i)) {
			t.Fatalf("%d bytes of an answer to %d, want one to %d with its records", len(rest), id, i)
		}
	}
	n.replyHere(t, <-fetches)
	c.expect(answers)
}

// The next request may take its time, and whoever gives the answer before it does not.
func TestReplyHere_ServesNothing(t *testing.T) {
	fetches := make(parked, 1)
	begun, release := make(chan struct{}), make(chan struct{})
	slow := func(r *server.Request) server.Outcome {
		close(begun)
		<-release
		reply(r)
		return server.Done
	}
	n := start(t, []server.API{api(wire.KeyFetch, fetches.handle), api(wire.KeyHeartbeat, slow)}, server.Config{})
	c := n.dial(t)
	c.send(fetch(1), heartbeat(2, "g"))
	n.replyHere(t, <-fetches)
	<-begun
	close(release)
	c.expect(1, 2)
}
