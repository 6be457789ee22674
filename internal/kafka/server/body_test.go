package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// bodies is the plain table, with a Produce that takes its requests above 100 bytes in pieces and tells the
// test what they were.
type bodies struct {
	pieces func(left int) int // how much to ask for; nil: 1000
	seen   chan []byte
	peak   func() // called with each piece in hand
}

func (b *bodies) table() []server.API {
	row := api(wire.KeyProduce, answerAtOnce)
	row.Stream = b.stream
	return append(echo()[1:], row)
}

var bodyConfig = server.Config{StreamAbove: 100}

func (b *bodies) stream(r *server.Request, body *server.Body) server.Outcome {
	var all []byte
	for body.Left() > 0 {
		n := 1000
		if b.pieces != nil {
			n = b.pieces(body.Left())
		}
		piece, err := body.Peek(n)
		if err != nil {
			r.CloseConnection(err)
			return server.Parked
		}
		if b.peak != nil {
			b.peak()
		}
		n = min(n, len(piece))
		if b.seen != nil {
			all = append(all, piece[:n]...)
		}
		body.Take(n)
	}
	if b.seen != nil {
		b.seen <- all
	}
	reply(r)
	return server.Done
}

// filled is produce with records that tell their places apart.
func filled(id int32, records int) []byte {
	f := produce(id, 1, records)
	rng := rand.New(rand.NewPCG(uint64(id), 0))
	for i := len(f) - records; i < len(f); i++ {
		f[i] = byte(rng.Uint32())
	}
	return f
}

// afterHeader is what of a produce frame its handler sees.
const afterHeader = 4 + 8 + 2 + 4

// However a stream of frames is cut, and whatever its handler asks for, a streamed body is what was sent; and
// what comes before and after it is served in order.
func TestBody_ComesInAnyPieces(t *testing.T) {
	var stream []byte
	var want [][]byte
	for i, records := range []int{500, 70, 5000, 100_000, 71, 9999} {
		f := filled(int32(2*i), records)
		if len(f)-4 > bodyConfig.StreamAbove {
			want = append(want, f[afterHeader:])
		}
		stream = append(stream, f...)
		stream = append(stream, heartbeat(int32(2*i+1), "g")...)
	}
	for _, step := range []int{1, 3, 64, 1000, 70_000, len(stream)} {
		for _, ask := range []int{1, 7, 1000, 100_000, 1 << 30} {
			t.Run(fmt.Sprintf("%d/%d", step, ask), func(t *testing.T) {
				b := &bodies{seen: make(chan []byte, len(want)), pieces: func(int) int { return ask }}
				n := start(t, b.table(), bodyConfig)
				c, _ := n.pipe(t)
				go func() {
					for rest := stream; len(rest) > 0; {
						k := min(step, len(rest))
						c.send(rest[:k])
						rest = rest[k:]
					}
				}()
				for id := range int32(12) {
					c.expect(id)
				}
				for i := range want {
					if got := <-b.seen; !bytes.Equal(got, want[i]) {
						t.Fatalf("body %d differs: %d bytes, want %d", i, len(got), len(want[i]))
					}
				}
				n.await(t, "an idle connection holds no more than the buffer it waits with", func() bool {
					return n.metric(t, "walser_kafka_request_memory_bytes") <= 4<<10
				})
			})
		}
	}
}

// A request needs memory for the pieces that its handler asks for, not for all of it.
func TestBody_TakesTheMemoryOfAPiece(t *testing.T) {
	var peak float64
	b := &bodies{pieces: func(int) int { return 1 << 20 }}
	n := start(t, b.table(), bodyConfig)
	b.peak = func() { peak = max(peak, n.metric(t, "walser_kafka_request_memory_bytes")) }
	c := n.dial(t)
	c.send(produce(1, 1, 64<<20))
	c.expect(1)
	if most := float64(4 << 20); peak < 1<<20 || peak > most {
		t.Errorf("a request of 64 MiB in pieces of 1 MiB held %.0f bytes, want at most %.0f", peak, most)
	}
}

// Only Produce overlaps Produce, streamed or not.
func TestBody_WaitsForItsTurn(t *testing.T) {
	fetches, produces := make(parked, 1), make(parked, 2)
	b := &bodies{seen: make(chan []byte, 1)}
	row := api(wire.KeyProduce, produces.handle)
	row.Stream = b.stream
	n := start(t, []server.API{row, api(wire.KeyFetch, fetches.handle)}, bodyConfig)
	c := n.dial(t)
	c.send(fetch(1))
	waiting := <-fetches
	c.send(filled(2, 5000), produce(3, 1, 10))
	select {
	case <-b.seen:
		t.Fatal("the produce overtook the fetch before it")
	case <-produces:
		t.Fatal("the small produce overtook both")
	default:
	}
	reply(waiting)
	c.expect(1)
	<-b.seen
	small := <-produces
	c.expect(2)
	c.send(filled(4, 5000))
	<-b.seen // beside the small one, which is in flight
	reply(small)
	c.expect(3, 4)
}

// A produce before it may be in flight: its bytes stay as they are while the body is read to behind them.
func TestBody_LeavesTheFramesBeforeItAlone(t *testing.T) {
	const buffer = 4 << 10                     // of a first read
	small := filled(1, 40)                     // below StreamAbove
	first := buffer - len(small) - afterHeader // ends where the buffer does
	produces := make(parked, 1)
	row := api(wire.KeyProduce, produces.handle)
	row.Stream = (&bodies{pieces: func(int) int { return first }}).stream
	n := start(t, []server.API{row}, bodyConfig)
	c := n.dial(t)
	c.send(small, filled(2, 9000))
	inFlight := <-produces
	n.await(t, "the body is taken", func() bool {
		return n.metric(t, "walser_kafka_request_bytes_total") == float64(len(small)+len(filled(2, 9000)))
	})
	records := inFlight.Body.(*wire.ProduceRequest).TopicData[0].PartitionData[0].Records
	if !bytes.Equal(records, small[len(small)-40:]) {
		t.Errorf("the records of the produce in flight became %x", records)
	}
	reply(inFlight)
	c.expect(1, 2)
}

func TestBody_Ends(t *testing.T) {
	cfg := bodyConfig
	cfg.HeaderTimeout, cfg.MinBodyRate, cfg.ConnectionsMaxIdle = 10*time.Second, 1000, time.Hour
	for _, test := range []struct {
		name   string
		send   func(c net.Conn, f []byte)
		reason string
	}{
		{"the peer hangs up", func(c net.Conn, f []byte) {
			_, _ = c.Write(f[:5000])
			c.Close()
		}, "hang_up"},
		{"the peer stops", func(c net.Conn, f []byte) { _, _ = c.Write(f[:5000]) }, "slow_sender"},
		{"the peer is slow", func(c net.Conn, f []byte) {
			for len(f) > 0 {
				if _, err := c.Write(f[:1]); err != nil {
					return
				}
				f = f[1:]
				time.Sleep(10 * time.Millisecond)
			}
		}, "slow_sender"},
		{"the header is none", func(c net.Conn, f []byte) {
			f[12], f[13] = 0x7f, 0xff // of the client id
			_, _ = c.Write(f)
		}, "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := start(t, (&bodies{}).table(), cfg)
				c, ended := n.pipe(t)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					test.send(c.conn, filled(1, 20_000))
				}()
				<-ended
				c.conn.Close()
				<-sent
				if n.metric(t, "walser_kafka_connections_closed_total", "reason", test.reason) != 1 {
					t.Errorf("not closed for %s", test.reason)
				}
				if held := n.metric(t, "walser_kafka_request_memory_bytes"); held != 0 {
					t.Errorf("%v bytes are held", held)
				}
			})
		})
	}
}

// A body above the minimum rate may take as long as it takes; what the handler takes its time for is not the
// peer's fault. Here the peer sends 2000 bytes in 12 s that it is waited for and 20 s that it is not.
func TestBody_MayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bodies{peak: func() { time.Sleep(10 * time.Second) }}
		n := start(t, b.table(), server.Config{
			StreamAbove: 100, HeaderTimeout: 10 * time.Second, MinBodyRate: 100, ConnectionsMaxIdle: time.Hour,
		})
		c, _ := n.pipe(t)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for rest := filled(1, 20_000); len(rest) > 0; time.Sleep(32 * time.Second) {
				k := min(2000, len(rest))
				if _, err := c.conn.Write(rest[:k]); err != nil {
					return // it was closed, which the test sees
				}
				rest = rest[k:]
			}
		}()
		c.expect(1)
		<-sent
	})
}

// A handler that closes the connection, or panics, in the middle of a body does not leave it half read.
func TestBody_HandlerGivesUp(t *testing.T) {
	for _, test := range []struct {
		name, reason string
		stream       func(*server.Request, *server.Body) server.Outcome
	}{
		{"malformed", "malformed", func(r *server.Request, body *server.Body) server.Outcome {
			r.CloseConnection(body.Malformed("so the handler says"))
			return server.Done
		}},
		{"panic", "panic", func(*server.Request, *server.Body) server.Outcome { panic("a bug") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			produces := make(parked, 1)
			row := api(wire.KeyProduce, produces.handle)
			row.Stream = test.stream
			n := start(t, append(echo()[1:], row), bodyConfig)
			c := n.dial(t)
			c.send(produce(1, 1, 10))
			before := <-produces
			c.send(filled(2, 50_000)[:20_000], heartbeat(3, "g"))
			if test.reason == "malformed" {
				reply(before) // answers before it still leave
				c.expect(1)
			}
			c.expectClosed()
			n.await(t, "closed for "+test.reason, func() bool {
				return n.metric(t, "walser_kafka_connections_closed_total", "reason", test.reason) == 1
			})
			if test.reason == "panic" {
				reply(before)
			}
		})
	}
}
