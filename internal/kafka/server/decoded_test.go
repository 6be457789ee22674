package server_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// wideFetch builds a Fetch v4 of so many topics without a name or a partition: 6 bytes each, and 88 in memory.
func wideFetch(id int32, topics int) []byte {
	f := fetch(id)
	body := f[4+8+2+4 : len(f)-4]
	body = append(body[:len(body):len(body)], byte(topics>>24), byte(topics>>16), byte(topics>>8), byte(topics))
	return frame(wire.KeyFetch, 4, id, append(body, make([]byte, 6*topics)...)...)
}

const (
	memory = "walser_kafka_request_memory_bytes"
	// wideCharge is the least that 5000 topics are charged, and more than the buffers of their frame are.
	wideCharge = 1 << 20
)

// A small frame may hold many fields. What they take is the budget's too, and so are the structures that serving
// them takes: a frame for which there is no room is refused before it is decoded.
func TestConn_DecodedFieldsAreCharged(t *testing.T) {
	fetches := make(parked, 1)
	n := start(t, []server.API{api(wire.KeyFetch, fetches.handle), api(wire.KeyHeartbeat, answerAtOnce)},
		server.Config{QueuedMaxRequestBytes: 8 << 20, SmallFrameReserve: 1 << 20, HeaderTimeout: time.Hour})
	c, _ := n.pipe(t)
	c.send(wideFetch(1, 500)) // whose fields take less than 64 KiB
	r := <-fetches
	unwidened := n.metric(t, memory)
	reply(r)
	c.expect(1)

	c.send(wideFetch(2, 5_000))
	r = <-fetches
	if held := n.metric(t, memory); held < unwidened+wideCharge {
		t.Errorf("%v bytes are charged for 5000 topics, %v for few", held, unwidened)
	}
	reply(r)
	c.expect(2)
	n.await(t, "an answered request costs no more", func() bool { return n.metric(t, memory) <= unwidened })

	var before, after runtime.MemStats
	huge := wideFetch(3, 200_000)
	runtime.ReadMemStats(&before)
	c.send(huge)
	c.expectClosed()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("%d bytes were allocated for a frame of %d that was refused", took, len(huge))
	}
	if got := n.metric(t, "walser_kafka_connections_closed_total", "reason", "memory"); got != 1 {
		t.Errorf("%v connections were closed for memory, want 1", got)
	}
	n.await(t, "a refused request costs nothing", func() bool { return n.metric(t, memory) == 0 })
}

// Whatever becomes of a request, what it was charged comes back.
func TestConn_DecodedFieldsAreGivenBack(t *testing.T) {
	for name, end := range map[string]func(r *server.Request, c *client, ended chan struct{}){
		"answer": func(r *server.Request, c *client, _ chan struct{}) {
			reply(r)
			c.expect(1)
		},
		"wait":            func(r *server.Request, _ *client, _ chan struct{}) { r.ReleaseFrame() },
		"hang-up":         func(_ *server.Request, c *client, ended chan struct{}) { c.conn.Close(); <-ended },
		"late answer":     func(r *server.Request, c *client, ended chan struct{}) { c.conn.Close(); <-ended; reply(r) },
		"close":           func(r *server.Request, c *client, _ chan struct{}) { r.CloseConnection(nil); c.expectClosed() },
		"wait and answer": func(r *server.Request, c *client, _ chan struct{}) { r.ReleaseFrame(); reply(r); c.expect(1) },
	} {
		t.Run(name, func(t *testing.T) {
			fetches := make(parked, 1)
			n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
			c, ended := n.pipe(t)
			c.send(wideFetch(1, 5_000))
			r := <-fetches
			if n.metric(t, memory) < wideCharge {
				t.Fatal("nothing is charged")
			}
			end(r, c, ended)
			n.await(t, "nothing is charged any more", func() bool { return n.metric(t, memory) < wideCharge/2 })
		})
	}
	t.Run("hang-up while it is handled", func(t *testing.T) {
		var n *node
		n = start(t, []server.API{api(wire.KeyFetch, func(*server.Request) server.Outcome {
			n.Close()
			return server.Parked
		})}, server.Config{})
		c, ended := n.pipe(t)
		c.send(wideFetch(1, 5_000))
		<-ended
		n.await(t, "nothing is charged any more", func() bool { return n.metric(t, memory) < wideCharge/2 })
	})
}

// A reply may point into the frame, so answering keeps it even where the handler lets go of it afterwards.
func TestRequest_ReleaseFrameAfterTheAnswer(t *testing.T) {
	n := start(t, []server.API{api(wire.KeyFetch, func(r *server.Request) server.Outcome {
		resp := r.Response().(*wire.FetchResponse)
		wire.Add(&resp.Responses).Topic = r.Body.(*wire.FetchRequest).Topics[0].Topic
		r.Reply(resp)
		r.ReleaseFrame()
		return server.Parked
	})}, server.Config{})
	c := n.dial(t)
	f := fetch(1)
	body := append(f[4+8+2+4:len(f)-4:len(f)-4], 0, 0, 0, 1, 0, 5, 'n', 'a', 'm', 'e', 's', 0, 0, 0, 0)
	c.send(frame(wire.KeyFetch, 4, 1, body...))
	if _, rest := c.recv(); string(rest[4+4+2:4+4+2+5]) != "names" {
		t.Errorf("the answer is %q", rest)
	}
}

func TestRequest_Reserve(t *testing.T) {
	fetches := make(parked, 1)
	n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{QueuedMaxRequestBytes: 8 << 20, SmallFrameReserve: 1 << 20})
	c, _ := n.pipe(t)
	c.send(fetch(1))
	r := <-fetches
	before := n.metric(t, memory)
	for range 63 {
		if !r.Reserve(1 << 10) {
			t.Fatal("there is no room for a little")
		}
	}
	if held := n.metric(t, memory); held != before {
		t.Errorf("%v bytes are charged for less than 64 KiB", held-before)
	}
	if !r.Reserve(1<<20) || n.metric(t, memory) != before+(63<<10+1<<20) {
		t.Errorf("%v bytes are charged for 1 MiB and 63 KiB", n.metric(t, memory)-before)
	}
	if r.Reserve(7 << 20) {
		t.Error("more is reserved than there is")
	}
	if n.metric(t, memory) != before+(63<<10+1<<20) {
		t.Error("what was refused is charged")
	}
	r.CloseConnection(server.ErrNoMemory)
	c.expectClosed()
	n.await(t, "nothing is charged any more", func() bool { return n.metric(t, memory) == 0 })
	if got := n.metric(t, "walser_kafka_connections_closed_total", "reason", "memory"); got != 1 {
		t.Errorf("%v connections were closed for memory, want 1", got)
	}
}

// Answers are charged while their peers do not read them: for one too many there is no room until others are read.
func TestConn_AnswersAreCharged(t *testing.T) {
	const answerBytes = 100 * 30_000
	name := make([]byte, 30_000)
	n := start(t, []server.API{api(wire.KeyFetch, func(r *server.Request) server.Outcome {
		resp := r.Response().(*wire.FetchResponse)
		for range 100 {
			wire.Add(&resp.Responses).Topic = name
		}
		r.Reply(resp)
		return server.Done
	})}, server.Config{QueuedMaxRequestBytes: 8 << 20, SmallFrameReserve: 1 << 20, HeaderTimeout: time.Hour})
	var clients [3]*client
	for i := range clients {
		clients[i], _ = n.pipe(t)
		clients[i].send(fetch(1))
		if i < 2 {
			n.await(t, "the answer is charged", func() bool { return n.metric(t, memory) >= float64(i+1)*(answerBytes-64<<10) })
		}
	}
	n.await(t, "the third waits for room", func() bool { return n.metric(t, "walser_kafka_request_memory_waits_total") == 1 })
	if held := n.metric(t, memory); held > 3*answerBytes-200_000 {
		t.Errorf("%v bytes are held for three answers, of a budget of 8 MiB", held)
	}
	for i, c := range clients {
		if _, rest := c.recv(); len(rest) < answerBytes {
			t.Errorf("client %d gets %d bytes", i, len(rest))
		}
	}
	n.await(t, "what was read is not charged any more", func() bool { return n.metric(t, memory) < 1<<20 })
}
