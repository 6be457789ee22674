package server_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/wire"
)

func TestConn_PipelinedAnswersLeaveInOrder(t *testing.T) {
	produces := make(parked, 3)
	c := start(t, []server.API{api(wire.KeyProduce, produces.handle)}, server.Config{}).dial(t)
	c.send(produce(1, -1, 10), produce(2, -1, 10), produce(3, -1, 10))
	first, second, third := <-produces, <-produces, <-produces // all three are in flight at once
	reply(third)
	reply(second)
	reply(first)
	c.expect(1, 2, 3)
}

func TestConn_BarrierWaitsAndHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		produces, fetches, beats := make(parked, 9), make(parked, 9), make(parked, 9)
		n := start(t, []server.API{
			api(wire.KeyProduce, produces.handle),
			api(wire.KeyFetch, fetches.handle),
			api(wire.KeyHeartbeat, beats.handle),
		}, server.Config{})
		c, _ := n.pipe(t)
		c.send(produce(1, -1, 10), produce(2, -1, 10), fetch(3), produce(4, -1, 10), heartbeat(5, "g"), heartbeat(6, "g"))

		steps := []struct {
			from              parked
			id                int32
			produces, fetches int // that have been started when id is about to be answered
			beats             int
		}{
			{produces, 1, 2, 0, 0},
			{produces, 2, 1, 0, 0},
			{fetches, 3, 0, 1, 0},
			{produces, 4, 1, 0, 0},
			{beats, 5, 0, 0, 1},
			{beats, 6, 0, 0, 1},
		}
		for _, step := range steps {
			synctest.Wait()
			if len(produces) != step.produces || len(fetches) != step.fetches || len(beats) != step.beats {
				t.Fatalf("before the answer to %d: %d produces, %d fetches, %d heartbeats in flight, want %d, %d, %d",
					step.id, len(produces), len(fetches), len(beats), step.produces, step.fetches, step.beats)
			}
			reply(<-step.from)
			c.expect(step.id)
		}
	})
}

// What collect reads must be read before the next request starts, or a session would see them swapped.
func TestConn_LazyReplyIsCollectedBeforeTheNextRequestStarts(t *testing.T) {
	var story []string
	fetches := func(r *server.Request) server.Outcome {
		story = append(story, "fetch")
		r.AfterSend(func() { story = append(story, "sent") })
		r.ReplyLazily(func(wire.Response) { story = append(story, "collect") })
		return server.Done
	}
	// The clock stands still, or the first answer would be sent alone where the second takes longer than flushAfter.
	synctest.Test(t, func(t *testing.T) {
		c, ended := start(t, []server.API{api(wire.KeyFetch, fetches)}, server.Config{}).pipe(t)
		c.send(fetch(1), fetch(2))
		c.expect(1, 2)
		c.conn.Close()
		<-ended
	})
	want := []string{"fetch", "collect", "fetch", "collect", "sent", "sent"}
	if !slices.Equal(story, want) {
		t.Fatalf("story %q, want %q", story, want)
	}
}

func TestRequest_NoReplySendsNothing(t *testing.T) {
	noReply := func(r *server.Request) server.Outcome {
		if r.Body.(*wire.ProduceRequest).Acks == 0 {
			r.NoReply()
		} else {
			reply(r)
		}
		return server.Done
	}
	n := start(t, []server.API{api(wire.KeyProduce, noReply)}, server.Config{})
	c := n.dial(t)
	c.send(produce(1, 0, 10), produce(2, 1, 10), produce(3, 0, 10), produce(4, 1, 10), produce(5, 0, 10))
	c.expect(2, 4)
	n.await(t, "the frames are given back", func() bool {
		return n.metric(t, "walser_kafka_request_memory_bytes") == 0
	})
}

func TestRequest_CloseConnectionComesAfterTheAnswersBeforeIt(t *testing.T) {
	produces := make(parked, 9)
	n := start(t, []server.API{api(wire.KeyProduce, produces.handle)}, server.Config{})
	c := n.dial(t)
	c.send(produce(1, 1, 10), produce(2, 0, 10), produce(3, 1, 10))
	first, second, third := <-produces, <-produces, <-produces
	reply(third)
	second.CloseConnection(errors.New("no leader"))
	reply(first)
	c.expect(1)
	c.expectClosed()
}

// A handler says how to cancel once what it parked is under way, and that may have answered by then.
func TestConn_HangUpCancelsNothingThatIsAnswered(t *testing.T) {
	served := make(chan *server.Request, 2)
	n := start(t, []server.API{api(wire.KeyProduce, func(r *server.Request) server.Outcome {
		if r.Header.CorrelationID == 2 { // which waits behind the first for its turn to be sent
			reply(r)
			r.OnCancel(func(uint64) { t.Error("an answered request was cancelled") }, 0)
		}
		served <- r
		return server.Parked
	})}, server.Config{})
	c, ended := n.pipe(t)
	c.send(produce(1, -1, 1), produce(2, -1, 1))
	first := <-served
	<-served
	c.conn.Close()
	<-ended
	reply(first)
}

func TestConn_HangUpCancelsWhatIsParked(t *testing.T) {
	for _, how := range []string{"tcp", "memory"} {
		t.Run(how, func(t *testing.T) {
			fetches := make(parked, 1)
			n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
			c, ended := n.pipe(t)
			if how == "tcp" {
				c = n.dial(t)
			}
			c.send(fetch(1), fetch(2))
			r := <-fetches
			cancelled := make(chan struct{})
			r.OnCancel(func(uint64) { close(cancelled) }, 0)
			sent := make(chan struct{})
			r.AfterSend(func() { close(sent) })
			c.conn.Close()
			<-cancelled
			<-r.Context().Done()
			after := false
			r.OnCancel(func(uint64) { after = true }, 0)
			if !after {
				t.Error("OnCancel after the hang-up did not run at once")
			}
			reply(r) // late, and of no effect but to let go
			<-sent
			r.OnCancel(func(uint64) { t.Error("OnCancel after the answer ran") }, 0)
			if how == "memory" {
				<-ended
				if err := context.Cause(r.Context()); err == nil || err.Error() != "peer hung up" {
					t.Errorf("cause %v", err)
				}
			}
			if len(fetches) != 0 {
				t.Error("a request that waited behind the parked one was started after the hang-up")
			}
		})
	}
}

// acks=0 clients send and go: what arrived whole before the end counts.
func TestConn_ServesWhatCameBeforeTheEnd(t *testing.T) {
	const frames = 200
	served := make(chan struct{}, frames)
	c := start(t, []server.API{api(wire.KeyProduce, func(r *server.Request) server.Outcome {
		served <- struct{}{}
		r.NoReply()
		return server.Done
	})}, server.Config{}).dial(t)
	for range frames {
		c.send(produce(1, 0, 1000))
	}
	c.conn.Close()
	for range frames {
		<-served
	}
}

// The end of the stream is seen while another goroutine pumps: what came before it is served all the same,
// and a peer that closed only its own half gets the answers.
func TestConn_HalfCloseIsServedToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches, produced := make(parked, 1), make(chan struct{}, 9)
		n := start(t, []server.API{
			api(wire.KeyFetch, fetches.handle),
			api(wire.KeyProduce, func(r *server.Request) server.Outcome {
				produced <- struct{}{}
				r.NoReply()
				return server.Done
			}),
		}, server.Config{})
		ours, theirs := netx.Pipe("client", "server")
		defer ours.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = n.ServeConn(n.ctx, theirs, server.ConnInfo{Listener: plaintext})
		}()
		c := &client{t: t, conn: ours}
		c.send(fetch(1))
		collecting := make(chan struct{})
		(<-fetches).ReplyLazily(func(wire.Response) { <-collecting })
		c.send(produce(2, 0, 10), produce(3, 0, 10))
		if err := ours.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		close(collecting)
		c.expect(1)
		<-ended
		if len(produced) != 2 {
			t.Errorf("%d of 2 produces that came before the end were served", len(produced))
		}
	})
}

// Serving a connection ends after everything that serves it.
func TestServer_CloseWaitsForTheOneWhoPumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := make(parked, 1)
		n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
		c, ended := n.pipe(t)
		c.send(fetch(1))
		collecting := make(chan struct{})
		(<-fetches).ReplyLazily(func(wire.Response) { <-collecting })
		synctest.Wait()
		n.Close()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("ended while a reply was being collected")
		default:
		}
		close(collecting)
		<-ended
	})
}

func TestConn_ReadAheadIsBounded(t *testing.T) {
	for name, cfg := range map[string]server.Config{
		"by count": {MaxInFlight: 4},
		"by bytes": {ReadAheadBytes: 150},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fetches := make(parked, 99)
				n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, cfg)
				c, _ := n.pipe(t)
				go func() {
					for id := range int32(50) {
						c.send(fetch(id))
					}
				}()
				for id := range int32(50) {
					synctest.Wait()
					if len(fetches) != 1 {
						t.Fatalf("%d fetches in flight", len(fetches))
					}
					reply(<-fetches)
					c.expect(id)
				}
			})
		})
	}
}
