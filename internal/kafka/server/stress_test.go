package server_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// Many connections send a random mix, are answered at random by several goroutines, and some hang up in
// the middle. Each answer must be the next one due on its connection and carry its own request's content;
// no request that is not produce may overlap another; in the end nothing is held.
func TestServer_Stress(t *testing.T) {
	const conns, answerers = 24, 4
	requests := 400
	if testing.Short() {
		requests = 50
	}
	work := make(chan *server.Request, 1024)
	var inFlight sync.Map // *server.Conn → *flights
	begin := func(r *server.Request) *flights {
		f, _ := inFlight.LoadOrStore(r.Conn, new(flights))
		return f.(*flights)
	}
	handle := func(pipelined bool) func(r *server.Request) server.Outcome {
		return func(r *server.Request) server.Outcome {
			f := begin(r)
			if pipelined {
				if f.produces.Add(1); f.others.Load() != 0 {
					t.Error("produce overlaps another request")
				}
			} else if f.others.Add(1) != 1 || f.produces.Load() != 0 {
				t.Error("a barrier overlaps another request")
			}
			if r.Header.CorrelationID%3 == 0 {
				answerStress(t, r, f)
				return server.Done
			}
			if r.Header.CorrelationID%3 == 1 {
				r.ReleaseFrame()
			}
			work <- r
			return server.Parked
		}
	}
	n := start(t, []server.API{
		api(wire.KeyProduce, handle(true)),
		api(wire.KeyHeartbeat, handle(false)),
	}, server.Config{MaxInFlight: 16, QueuedMaxRequestBytes: 32 << 20})

	var answering sync.WaitGroup
	for range answerers {
		answering.Go(func() {
			for r := range work {
				runtime.Gosched()
				answerStress(t, r, begin(r))
			}
		})
	}
	var clients sync.WaitGroup
	for i := range conns {
		c := n.dial(t)
		clients.Go(func() { stressClient(t, c, rand.New(rand.NewPCG(1, uint64(i))), requests) })
	}
	clients.Wait()
	n.await(t, "no connection and no buffer is held", func() bool {
		return n.metric(t, "walser_kafka_connections") == 0 && n.metric(t, "walser_kafka_request_memory_bytes") == 0
	})
	close(work)
	answering.Wait()
}

// flights counts what a connection has in flight.
type flights struct{ produces, others atomic.Int32 }

func answerStress(t *testing.T, r *server.Request, f *flights) {
	if r.ClientID() != "test" {
		t.Errorf("client id %q", r.ClientID())
	}
	switch r.Header.Key {
	case wire.KeyProduce:
		f.produces.Add(-1)
		resp := r.Response().(*wire.ProduceResponse)
		resp.ThrottleTimeMs = r.Header.CorrelationID
		r.Reply(resp)
	default:
		f.others.Add(-1)
		reply(r)
	}
}

func stressClient(t *testing.T, c *client, rng *rand.Rand, requests int) {
	defer c.conn.Close()
	hangUpAt := requests
	if rng.IntN(3) == 0 {
		hangUpAt = rng.IntN(requests)
	}
	plan := make([]byte, requests)
	for i := range plan {
		plan[i] = byte(rng.IntN(4))
	}
	sizes := rand.New(rand.NewPCG(2, rng.Uint64()))
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		for i, kind := range plan {
			f := heartbeat(int32(i), "group")
			if kind != 0 {
				f = produce(int32(i), 1, sizes.IntN(1<<(4+4*kind)))
			}
			if _, err := c.conn.Write(f); err != nil {
				return // hung up below
			}
		}
	})
	for i, kind := range plan {
		if i == hangUpAt {
			c.conn.Close()
			return
		}
		id, rest, err := c.tryRecv()
		if err != nil {
			t.Errorf("answer %d: %v", i, err)
			return
		}
		if int(id) != i {
			t.Errorf("answer to %d, want the one to %d", id, i)
			return
		}
		if kind != 0 && int(binary.BigEndian.Uint32(rest[4:])) != i {
			t.Errorf("answer to %d has the content of another: %x", i, rest)
			return
		}
	}
}
