package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

func announce(size uint32, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, size), rest...)
}

func TestConn_FaultsCloseAfterTheAnswersBefore(t *testing.T) {
	cfg := server.Config{SocketRequestMaxBytes: 1 << 20, FrameCap: 1000}
	tests := []struct {
		name   string
		frame  []byte
		reason string
	}{
		{"size of 2^31-1", announce(1<<31-1, 0, 3, 0, 0), "frame_size"},
		{"negative size", announce(1<<31, 0, 3, 0, 0), "frame_size"},
		{"size -1", announce(1<<32-1, 0, 3, 0, 0), "frame_size"},
		{"size 0", announce(0), "frame_size"},
		{"size below a header's", announce(7), "frame_size"},
		{"above socket.request.max.bytes", announce(1<<20+1, 0, 0, 0, 3), "frame_size"},
		{"above the cap of its key", announce(1001, 0, 1, 0, 4), "frame_size"},
		{"TLS hello", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, "frame_size"},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), "frame_size"},
		{"unknown key", frame(999, 0, 9), "unknown_key"},
		{"negative key", frame(-1, 0, 9), "unknown_key"},
		{"removed key", frame(4, 0, 9), "unknown_key"},
		{"version below", frame(wire.KeyProduce, 2, 9), "unsupported_version"},
		{"version above", frame(wire.KeyFetch, 12, 9), "unsupported_version"},
		{"negative version", frame(wire.KeyFetch, -1, 9), "unsupported_version"},
		{"header only", announce(8, 0, 12, 0, 0, 0, 0, 0, 9), "malformed"},
		{"client id beyond the frame", announce(10, 0, 12, 0, 0, 0, 0, 0, 9, 0x7f, 0xff), "malformed"},
		{"empty body", frame(wire.KeyHeartbeat, 0, 9), "malformed"},
		{"2^31-1 topics", append(fetch(9)[:4+8+2+4+17], 0x7f, 0xff, 0xff, 0xff), "malformed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			produces := make(parked, 1)
			n := start(t, append(echo()[1:], api(wire.KeyProduce, produces.handle)), cfg)
			c := n.dial(t)
			c.send(produce(1, 1, 10), test.frame, heartbeat(3, "g"))
			reply(<-produces)
			c.expect(1)
			c.expectClosed()
			if got := n.metric(t, "walser_kafka_connections_closed_total", "reason", test.reason); got != 1 {
				t.Errorf("%v connections closed for %s, want 1", got, test.reason)
			}
		})
	}
}

// Kafka's broker reads a message off a frame and looks no further.
func TestConn_TrailingBytesAreOverlooked(t *testing.T) {
	groups := make(chan string, 2)
	c := start(t, []server.API{api(wire.KeyHeartbeat, func(r *server.Request) server.Outcome {
		groups <- string(r.Body.(*wire.HeartbeatRequest).GroupID)
		return answerAtOnce(r)
	})}, server.Config{}).dial(t)
	c.send(frame(wire.KeyHeartbeat, 0, 1, 0, 1, 'g', 0, 0, 0, 1, 0, 1, 'm', 0, 42), heartbeat(2, "h"),
		flexibleFrame(3, 3, compact("a", "1", 0, 0)...))
	c.expect(1, 2, 3)
	if g, h := <-groups, <-groups; g != "g" || h != "h" {
		t.Errorf("groups %q, %q", g, h)
	}
}

func TestConn_FramesUpToTheCapAreServed(t *testing.T) {
	got := make(chan int, 1)
	n := start(t, []server.API{
		api(wire.KeyProduce, func(r *server.Request) server.Outcome {
			got <- r.FrameSize()
			return answerAtOnce(r)
		}),
	}, server.Config{})
	c := n.dial(t)
	for _, records := range []int{0, 1, 4<<10 - 60, 4 << 10, 16 << 10, 64<<10 - 41, 64 << 10, 256 << 10, 1 << 20, 3 << 20, 20 << 20, 100<<20 - 41} {
		f := produce(1, 1, records)
		c.send(f, f[:7])
		c.expect(1)
		if size := <-got; size != len(f)-4 {
			t.Errorf("frame of %d bytes, want %d", size, len(f)-4)
		}
		c.send(f[7:])
		c.expect(1)
		<-got
	}
	n.await(t, "an idle connection holds no buffer", func() bool {
		return n.metric(t, "walser_kafka_request_memory_bytes") == 0
	})
}

// Every way of cutting a stream of frames into reads gives the same frames.
func TestConn_FramesComeInAnyPieces(t *testing.T) {
	groups := make(chan string, 100)
	n := start(t, []server.API{
		api(wire.KeyHeartbeat, func(r *server.Request) server.Outcome {
			groups <- string(r.Body.(*wire.HeartbeatRequest).GroupID)
			return answerAtOnce(r)
		}),
	}, server.Config{})
	var stream []byte
	var want []string
	for i := range 12 {
		group := fmt.Sprintf("%d-%s", i, bytes.Repeat([]byte{'g'}, i*i*50))
		want = append(want, group)
		stream = append(stream, heartbeat(int32(i), group)...)
	}
	for _, step := range []int{1, 3, 4, 7, 64, 1000, 4096, len(stream)} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			c, _ := n.pipe(t)
			go func() {
				for rest := stream; len(rest) > 0; {
					k := min(step, len(rest))
					c.send(rest[:k])
					rest = rest[k:]
				}
			}()
			for i, group := range want {
				c.expect(int32(i))
				if got := <-groups; got != group {
					t.Fatalf("frame %d has group %q, want %q", i, got, group)
				}
			}
		})
	}
}

func TestConn_Deadlines(t *testing.T) {
	cfg := server.Config{
		ConnectionsMaxIdle: time.Minute,
		HeaderTimeout:      10 * time.Second,
		WriteTimeout:       30 * time.Second,
		HandshakeTimeout:   5 * time.Second,
		MinBodyRate:        1000,
	}
	slowly := func(bytes int, pause time.Duration) func(c *client) {
		return func(c *client) {
			for _, b := range produce(1, 1, 1<<20)[:bytes] {
				if _, err := c.conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(pause)
			}
		}
	}
	tests := []struct {
		name   string
		client func(c *client)
		reason string
		within [2]time.Duration
	}{
		{"idle from the start", func(*client) {}, "idle", [2]time.Duration{time.Minute, time.Minute}},
		{"idle after a request", func(c *client) {
			time.Sleep(30 * time.Second)
			c.send(heartbeat(1, "g"))
			c.expect(1)
		}, "idle", [2]time.Duration{90 * time.Second, 90 * time.Second}},
		{
			"two bytes of a size", func(c *client) { c.send([]byte{0, 0}) }, "slow_sender",
			[2]time.Duration{10 * time.Second, 10*time.Second + 2*time.Millisecond},
		},
		{
			"a part of a body", func(c *client) { c.send(produce(1, 1, 1<<20)[:50_000]) }, "slow_sender",
			[2]time.Duration{60 * time.Second, 60 * time.Second},
		},
		{
			"a body below the rate", slowly(1<<20, 10*time.Millisecond), "slow_sender",
			[2]time.Duration{11 * time.Second, 12 * time.Second},
		},
		{
			"a body above the rate, then idle", slowly(20_000, time.Millisecond/2), "slow_sender",
			[2]time.Duration{30 * time.Second, 30 * time.Second},
		},
		{"answers are not read", func(c *client) {
			// The pipe has no buffer: the first answer is not taken.
			c.send(heartbeat(1, "g"))
		}, "slow_reader", [2]time.Duration{30 * time.Second, 31 * time.Second}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := start(t, echo(), cfg)
				c, ended := n.pipe(t)
				began := time.Now()
				left := make(chan struct{})
				go func() {
					defer close(left)
					test.client(c)
				}()
				<-ended
				if took := time.Since(began).Truncate(time.Millisecond); took < test.within[0] || took > test.within[1] {
					t.Errorf("closed after %v, want %v to %v", took, test.within[0], test.within[1])
				}
				if n.metric(t, "walser_kafka_connections_closed_total", "reason", test.reason) != 1 {
					t.Errorf("not closed for %s", test.reason)
				}
				<-left
			})
		})
	}
}

// A parked request is not idle, however long it waits.
func TestConn_ParkedIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := make(parked, 1)
		n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{ConnectionsMaxIdle: time.Minute})
		c, _ := n.pipe(t)
		c.send(fetch(1))
		time.Sleep(time.Hour)
		reply(<-fetches)
		c.expect(1)
	})
}

func TestRequest_ThrottleMutesAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, []server.API{
			api(wire.KeyFetch, func(r *server.Request) server.Outcome {
				r.Throttle(3 * time.Second)
				return answerAtOnce(r)
			}),
			api(wire.KeyHeartbeat, answerAtOnce),
		}, server.Config{})
		c, _ := n.pipe(t)
		began := time.Now()
		c.send(fetch(1), heartbeat(2, "g"))
		c.expect(1)
		if took := time.Since(began); took != 0 {
			t.Errorf("the throttled answer took %v", took)
		}
		c.expect(2)
		if took := time.Since(began); took < 3*time.Second || took > 3*time.Second+10*time.Millisecond {
			t.Errorf("the next answer took %v, want 3s", took)
		}
	})
}

func TestServer_GateHoldsAllButOldAPIVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		n := start(t, echo(), server.Config{}, func(d *server.Deps) { d.Gate = gate })
		early, _ := n.pipe(t)
		for version := range int16(3) {
			early.send(frame(wire.KeyAPIVersions, version, int32(version)))
			early.expect(int32(version))
		}
		early.send(frame(wire.KeyAPIVersions, 99, 3, 0))
		early.expect(3)

		for name, f := range map[string][]byte{
			"heartbeat":      heartbeat(7, "g"),
			"produce":        produce(7, 1, 10),
			"ApiVersions v3": frame(wire.KeyAPIVersions, 3, 7, 0, 2, 'a', 2, '1', 0),
		} {
			held, _ := n.pipe(t)
			held.send(f)
			answered := make(chan struct{})
			go func() {
				held.expect(7)
				close(answered)
			}()
			t.Cleanup(func() { <-answered })
			synctest.Wait()
			select {
			case <-answered:
				t.Errorf("%s was answered before the gate was open", name)
			default:
			}
		}
		close(gate)
	})
}

func TestServer_UngatedListenerServesAtOnce(t *testing.T) {
	n := start(t, echo(), server.Config{}, func(d *server.Deps) { d.Gate = make(chan struct{}) })
	l := n.serve(t, server.ListenerInfo{Name: "INTERNAL", Ungated: true}, func(l net.Listener) net.Listener { return l })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: t, conn: conn}
	c.send(heartbeat(1, "g"))
	c.expect(1)
}

func TestServer_SASLListenerServesNothingBeforeAuthentication(t *testing.T) {
	info := server.ListenerInfo{Name: "SASL", Protocol: model.SASLPlaintext}
	tests := []struct {
		name   string
		frame  []byte
		reason string
	}{
		{"a request", heartbeat(1, "g"), "not_authenticated"},
		{"a frame above 512 KiB", announce(512<<10+1, 0, 18, 0, 0), "frame_size"},
		{"nothing", nil, "authentication_timeout"},
		{"ApiVersions over and over", frame(wire.KeyAPIVersions, 0, 1), "authentication_timeout"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := start(t, echo(), server.Config{})
				ours, theirs := net.Pipe()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = n.ServeConn(n.ctx, theirs, server.ConnInfo{Listener: info})
				}()
				c := &client{t: t, conn: ours}
				left := make(chan struct{})
				go func() {
					defer close(left)
					for test.frame != nil {
						if _, err := ours.Write(test.frame); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
				for {
					if _, _, err := c.tryRecv(); err != nil {
						break
					}
				}
				<-ended
				ours.Close()
				<-left
				if n.metric(t, "walser_kafka_connections_closed_total", "reason", test.reason) != 1 {
					t.Errorf("not closed for %s", test.reason)
				}
			})
		})
	}
}

// What is idle, or parked, costs its reader's goroutine and little memory: no second goroutine, no timer
// of its own, no buffer; and a small request behind a large one does not keep the large one's.
func TestConn_IdleAndParkedCostLittle(t *testing.T) {
	const conns = 300
	fetches := make(parked, conns)
	n := start(t, append(echo()[:1], api(wire.KeyFetch, fetches.handle)), server.Config{})
	n.dial(t)
	n.await(t, "the first connection is served", func() bool { return n.metric(t, "walser_kafka_connections") == 1 })
	heapBefore, goroutines := heap(), runtime.NumGoroutine()
	clients := make([]*client, conns)
	for i := range clients {
		clients[i] = n.dial(t)
		clients[i].send(produce(1, 1, 1<<20), fetch(2))
		clients[i].expect(1)
	}
	var waiting []*server.Request
	for range conns {
		waiting = append(waiting, <-fetches)
	}
	n.await(t, "a parked fetch of 39 bytes holds no more than a chunk", func() bool {
		return n.metric(t, "walser_kafka_request_memory_bytes") <= conns*64<<10
	})
	for _, r := range waiting {
		reply(r)
	}
	for _, c := range clients {
		c.expect(2)
	}
	n.await(t, "an idle connection holds no buffer and one goroutine", func() bool {
		return n.metric(t, "walser_kafka_request_memory_bytes") == 0 && runtime.NumGoroutine() <= goroutines+conns
	})
	heap() // the pools are emptied by the second collection
	if each := (heap() - heapBefore) / conns; each > 8<<10 && !race {
		t.Errorf("an idle connection costs %d bytes of heap", each)
	} else {
		t.Logf("an idle connection costs %d bytes of heap, both ends", each)
	}
}

// Two thousand peers announce 100 MiB each and send a little of it. What they announce must cost nothing,
// and others are served meanwhile.
func TestServer_TricklingAnnouncersCostWhatTheySend(t *testing.T) {
	const peers, sent = 2000, 5000
	n := start(t, echo(), server.Config{QueuedMaxRequestBytes: 64 << 20})
	n.dial(t)
	before := heap()
	head := produce(1, 1, 100<<20-41)[:sent]
	for range peers {
		n.dial(t).send(head)
	}
	c := n.dial(t)
	for n.metric(t, "walser_kafka_request_bytes_total") < peers*sent {
		c.send(heartbeat(1, "g"), produce(2, 1, 100_000))
		c.expect(1, 2)
	}
	if held := n.metric(t, "walser_kafka_request_memory_bytes"); held < peers*sent || held > 40<<20 {
		t.Errorf("%d peers that sent %d bytes each hold %.1f MiB of buffers", peers, sent, held/(1<<20))
	}
	if grown := heap() - before; grown > 64<<20 && !race {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	} else {
		t.Logf("%d announcers: heap +%.1f MiB", peers, float64(grown)/(1<<20))
	}
}

// A frame's buffer may be much larger than what has arrived of it, which saves copies, but not for long: peers that send more than
// a trickle of what they announce leave memory for each other.
func TestServer_AnnouncersAreKeptShortWithTheMemory(t *testing.T) {
	const peers, sent = 300, 20_000
	n := start(t, echo(), server.Config{QueuedMaxRequestBytes: 64 << 20})
	head := produce(1, 1, 100<<20-41)[:sent]
	n.dial(t).send(head)
	n.await(t, "the first one has room for its next 256 KiB", func() bool {
		return n.metric(t, "walser_kafka_request_memory_bytes") == 256<<10
	})
	for range peers - 1 {
		n.dial(t).send(head)
	}
	n.await(t, "all is read", func() bool { return n.metric(t, "walser_kafka_request_bytes_total") == peers*sent })
	if held := n.metric(t, "walser_kafka_request_memory_bytes"); held > 40<<20 {
		t.Errorf("%d peers that sent %d bytes each hold %.1f MiB of buffers", peers, sent, held/(1<<20))
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A frame that the budget keeps waiting is not a slow one.
func TestServer_WaitingForTheBudgetIsNotSlowness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		produces := make(parked, 2)
		n := start(t, []server.API{api(wire.KeyProduce, produces.handle)}, server.Config{
			QueuedMaxRequestBytes: 1 << 20,
			HeaderTimeout:         10 * time.Second,
			MinBodyRate:           1 << 20,
		})
		holder, _ := n.pipe(t)
		holder.send(produce(1, 1, 500_000)) // its frame is held while it is parked
		held := <-produces
		c, _ := n.pipe(t)
		f := produce(2, 1, 300_000)
		c.send(f[:60_000])
		time.Sleep(8 * time.Second)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.send(f[60_000:])
		}()
		time.Sleep(5 * time.Second)
		reply(held)
		holder.expect(1)
		<-sent
		reply(<-produces)
		c.expect(2)
	})
}

// Frames that hold the whole budget and wait for one another must not do so for ever.
func TestServer_BudgetBreaksTheDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, echo(), server.Config{QueuedMaxRequestBytes: 1 << 20})
		const peers = 3 // each holds 256 KiB of the 768 for large frames, and needs 512
		served := make(chan bool)
		began := time.Now()
		for range peers {
			c, _ := n.pipe(t)
			go func() {
				f := produce(1, 1, 300_000)
				if _, err := c.conn.Write(f[:200_000]); err != nil {
					served <- false
					return
				}
				time.Sleep(time.Second)
				if _, err := c.conn.Write(f[200_000:]); err != nil {
					served <- false
					return
				}
				_, _, err := c.tryRecv()
				served <- err == nil
			}()
		}
		ok := 0
		for range peers {
			if <-served {
				ok++
			}
		}
		if took := time.Since(began); ok != 1 || took > 2*time.Second {
			t.Errorf("%d of %d served after %v, want 1 within 2s", ok, peers, took)
		}
	})
}

// The budget holds an answer from when it is encoded: the request behind it may take its time, and only then are both sent.
func TestServer_BudgetHoldsAnswersThatWaitToBeSent(t *testing.T) {
	const topics, name = 7, 30_000
	begun, release := make(chan struct{}), make(chan struct{})
	n := start(t, []server.API{
		api(wire.KeyFetch, func(r *server.Request) server.Outcome {
			resp := r.Response().(*wire.FetchResponse)
			for range topics {
				wire.Add(&resp.Responses).Topic = make([]byte, name)
			}
			r.Reply(resp)
			return server.Done
		}),
		api(wire.KeyHeartbeat, func(r *server.Request) server.Outcome {
			close(begun)
			<-release
			return answerAtOnce(r)
		}),
	}, server.Config{})
	c := n.dial(t)
	c.send(fetch(1), heartbeat(2, "g"))
	<-begun
	const free = 64 << 10
	if got := n.metric(t, "walser_kafka_request_memory_bytes"); got < topics*name-free {
		t.Errorf("%v bytes are charged, an answer of %d waits to be sent", got, topics*name)
	}
	close(release)
	c.expect(1, 2)
	n.await(t, "all of it is given back", func() bool { return n.metric(t, "walser_kafka_request_memory_bytes") == 0 })
}

// Peers that fill the budget with large frames and stall neither stop small frames nor, for long, a large
// one that flows.
func TestServer_BudgetShedsTheSlowestLargeHolder(t *testing.T) {
	n := start(t, echo(), server.Config{QueuedMaxRequestBytes: 8 << 20})
	var stalled []*client
	for range 5 {
		c := n.dial(t)
		c.send(produce(1, 1, 4<<20)[:1_000_000])
		stalled = append(stalled, c)
	}
	small := n.dial(t)
	for id := range int32(100) {
		small.send(heartbeat(id, "g"))
		small.expect(id)
	}
	var wg sync.WaitGroup
	large := n.dial(t)
	f := produce(2, 1, 3<<20)
	wg.Go(func() { large.send(f) })
	large.expect(2)
	wg.Wait()
	if n.metric(t, "walser_kafka_connections_closed_total", "reason", "memory") == 0 {
		t.Error("nobody was closed for it")
	}
	if got := n.metric(t, "walser_kafka_request_memory_bytes"); got > 8<<20 {
		t.Errorf("%v bytes in use, the budget is 8 MiB", got)
	}
	for _, c := range stalled {
		c.conn.Close()
	}
}

// Large frames of which only the first bytes come leave the reserve alone, although each of their buffers
// is a small one; and the bytes of small frames that do not come to their end go to frames that do.
func TestServer_StalledFramesDoNotStarveSmallOnes(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame []byte
		most  float64 // that stalled frames may hold
	}{
		{"large", produce(1, 1, 1<<20), 3<<20 + 100*4<<10}, // and a first read, when nobody knows that it is large
		{"small", produce(1, 1, 64<<10-100), 4 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := start(t, echo(), server.Config{QueuedMaxRequestBytes: 4 << 20})
				const peers = 100 // who would hold 6 MiB
				for range peers {
					c, _ := n.pipe(t)
					go func() { _, _ = c.conn.Write(test.frame[:60_000]) }() // fails where it is closed
				}
				synctest.Wait()
				time.Sleep(300 * time.Millisecond) // they have stalled
				if held := n.metric(t, "walser_kafka_request_memory_bytes"); held > test.most {
					t.Errorf("they hold %.0f bytes, want at most %.0f", held, test.most)
				}
				began := time.Now()
				small, _ := n.pipe(t)
				for id := range int32(100) {
					small.send(heartbeat(id, "g"))
					small.expect(id)
				}
				if took := time.Since(began); took > 10*time.Millisecond {
					t.Errorf("100 heartbeats took %v", took)
				}
			})
		})
	}
}

// A handler that blocks on the reader's goroutine still learns that its peer has gone.
func TestRequest_GoneWhileTheHandlerBlocks(t *testing.T) {
	for _, how := range []string{"closes", "resets"} {
		t.Run(how, func(t *testing.T) {
			began, done := make(chan struct{}), make(chan struct{})
			n := start(t, []server.API{
				api(wire.KeyHeartbeat, func(r *server.Request) server.Outcome {
					if r.Gone() {
						t.Error("the peer is gone before it went")
					}
					close(began)
					for limit := time.Now().Add(10 * time.Second); !r.Gone(); runtime.Gosched() {
						if time.Now().After(limit) {
							t.Error("the handler is not told")
							break
						}
					}
					close(done)
					return answerAtOnce(r)
				}),
			}, server.Config{})
			c := n.dial(t)
			c.send(heartbeat(1, "g"))
			<-began
			if how == "resets" {
				if err := c.conn.(*net.TCPConn).SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			c.conn.Close()
			<-done
		})
	}
}
