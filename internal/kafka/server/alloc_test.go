package server_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// tape is a connection that reads the same bytes over and over, as often as it is told, and swallows what
// is written. The reader of the server waits in Read until the next round.
type tape struct {
	net.Conn
	rounds chan []byte
	left   []byte
	done   chan struct{} // one value per answer
	size   int           // of all answers of a round
	got    int
}

func (c *tape) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		var more bool
		if c.left, more = <-c.rounds; !more {
			return 0, io.EOF
		}
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *tape) Write(p []byte) (int, error) {
	if c.got += len(p); c.got == c.size {
		c.got = 0
		c.done <- struct{}{}
	}
	return len(p), nil
}

func (c *tape) Close() error                     { return nil }
func (c *tape) LocalAddr() net.Addr              { return c.RemoteAddr() }
func (c *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// produceReply answers each partition of a produce, as the real handler does.
func produceReply(r *server.Request) server.Outcome {
	req := r.Body.(*wire.ProduceRequest)
	resp := r.Response().(*wire.ProduceResponse)
	for i := range req.TopicData {
		topic := wire.Add(&resp.Responses)
		topic.Name = req.TopicData[i].Name
		for j := range req.TopicData[i].PartitionData {
			partition := wire.Add(&topic.PartitionResponses)
			partition.Index = req.TopicData[i].PartitionData[j].Index
			partition.BaseOffset = 42
		}
	}
	r.Reply(resp)
	return server.Done
}

// fetchReply answers a fetch with the records given.
func fetchReply(records []byte) func(r *server.Request) server.Outcome {
	name := []byte("t")
	collect := func(m wire.Response) {
		topic := wire.Add(&m.(*wire.FetchResponse).Responses)
		topic.Topic = name
		partition := wire.Add(&topic.Partitions)
		partition.Records = wire.Records{Bytes: records}
	}
	return func(r *server.Request) server.Outcome {
		r.ReplyLazily(collect)
		return server.Done
	}
}

// Decode, handle and encode of Produce and Fetch allocate nothing once the pools are warm. The budget of
// the whole way is 0, parked or not.
func TestConn_HotPathDoesNotAllocate(t *testing.T) {
	if race || invariants.Enabled {
		t.Skip("assertions allocate, the race detector does too, and sync.Pool drops at random under it")
	}
	park := make(parked, 1)
	go func() {
		for r := range park {
			reply(r)
		}
	}()
	t.Cleanup(func() { close(park) })
	tests := []struct {
		name   string
		row    server.API
		frame  []byte
		answer int // bytes
	}{
		{"produce", api(wire.KeyProduce, produceReply), produce(1, 1, 1000), 4 + 4 + 4 + 3 + 4 + 4 + 2 + 8 + 8 + 4},
		{"parked produce", api(wire.KeyProduce, park.handle), produce(1, -1, 1000), 4 + 4 + 4 + 4},
		{"fetch", api(wire.KeyFetch, fetchReply(make([]byte, 1000))), fetch(1), 4 + 4 + 4 + 4 + 3 + 4 + 4 + 2 + 8 + 8 + 4 + 4 + 1000},
		{"fetch of 1 MiB", api(wire.KeyFetch, fetchReply(make([]byte, 1<<20))), fetch(1), 4 + 4 + 4 + 4 + 3 + 4 + 4 + 2 + 8 + 8 + 4 + 4 + 1<<20},
	}
	for _, test := range tests {
		for _, depth := range []int{1, 64} {
			t.Run(fmt.Sprintf("%s ×%d", test.name, depth), func(t *testing.T) {
				n := start(t, []server.API{test.row}, server.Config{})
				conn := &tape{rounds: make(chan []byte), done: make(chan struct{}), size: depth * test.answer}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = n.ServeConn(n.ctx, conn, server.ConnInfo{Listener: plaintext})
				}()
				var round []byte
				for range depth {
					round = append(round, test.frame...)
				}
				turn := func() {
					conn.rounds <- round
					<-conn.done
				}
				for range 100 {
					turn()
				}
				if got := testing.AllocsPerRun(500, turn); got != 0 {
					t.Errorf("%v allocations per round", got)
				}
				close(conn.rounds)
				<-ended
			})
		}
	}
}

// One connection, the table answers at once. ns/op is per request; the client costs a part of it.
func BenchmarkRoundTrip(b *testing.B) {
	for _, depth := range []int{1, 5, 64} {
		for name, f := range map[string][]byte{"heartbeat": heartbeat(1, "group"), "produce1KiB": produce(1, 1, 1024)} {
			b.Run(fmt.Sprintf("%s/depth=%d", name, depth), func(b *testing.B) {
				n := start(b, []server.API{api(wire.KeyProduce, produceReply), api(wire.KeyHeartbeat, answerAtOnce)}, server.Config{})
				c := n.dial(b)
				c.send(f)
				_, first := c.recv()
				var requests []byte
				for range depth {
					requests = append(requests, f...)
				}
				answers := make([]byte, depth*(8+len(first)))
				b.ReportAllocs()
				b.SetBytes(int64(len(f)))
				for i := 0; i < b.N; i += depth {
					if _, err := c.conn.Write(requests); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c.conn, answers); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A stream of produce requests of 1 MiB, as producers with large batches send them.
func BenchmarkLargeProduce(b *testing.B) {
	n := start(b, []server.API{api(wire.KeyProduce, produceReply)}, server.Config{})
	c := n.dial(b)
	f := produce(1, 1, 1<<20)
	b.ReportAllocs()
	b.SetBytes(int64(len(f)))
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		answer := make([]byte, 4+4+4+3+4+4+2+8+8+4)
		for range b.N {
			if _, err := io.ReadFull(c.conn, answer); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	for range b.N {
		if _, err := c.conn.Write(f); err != nil {
			b.Fatal(err)
		}
	}
	<-answered
}

// Parked fetches, answered by another goroutine: the price of a wake-up.
func BenchmarkParkedRoundTrip(b *testing.B) {
	park := make(parked, 1)
	n := start(b, []server.API{api(wire.KeyFetch, park.handle)}, server.Config{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r := range park {
			reply(r)
		}
	}()
	c := n.dial(b)
	f := fetch(1)
	answer := make([]byte, 4+4+4+4)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.conn.Write(f); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c.conn, answer); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	close(park)
	<-ended
}
