package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/wire"
)

func TestNew_ReportsEveryFault(t *testing.T) {
	beat := api(wire.KeyHeartbeat, answerAtOnce)
	handlerless := api(wire.KeyFetch, nil)
	tooNew := api(wire.KeyProduce, answerAtOnce)
	tooNew.Max = 99
	_, err := server.New([]server.API{
		beat, beat, handlerless, tooNew,
		{Key: 999, Handle: answerAtOnce},
		{Key: wire.KeyAPIVersions, Handle: answerAtOnce},
	}, server.Config{MaxInFlight: -1, SmallFrameReserve: 1}, server.Deps{Registerer: prometheus.NewRegistry()})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"MaxInFlight is -1, must be at least 1",
		"SmallFrameReserve is 1, must be at least 65536",
		beat.Key.String() + ": stands in the table twice",
		handlerless.Key.String() + ": has no handler",
		tooNew.Key.String() + ": serves v3 to v99",
		"Key(999): has no messages",
		"belongs to the server",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestServer_PanicClosesItsConnectionOnly(t *testing.T) {
	for name, handle := range map[string]func(*server.Request) server.Outcome{
		"before the reply": func(*server.Request) server.Outcome { panic("boom") },
		"after the reply": func(r *server.Request) server.Outcome {
			reply(r)
			panic("boom")
		},
		"while collecting": func(r *server.Request) server.Outcome {
			r.ReplyLazily(func(wire.Response) { panic("boom") })
			return server.Done
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			n := start(t, []server.API{api(wire.KeyFetch, handle), api(wire.KeyHeartbeat, answerAtOnce)}, server.Config{},
				func(d *server.Deps) { d.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			other := n.dial(t)
			c, ended := n.pipe(t)
			c.send(fetch(1))
			c.expectClosed()
			<-ended
			other.send(heartbeat(1, "g"))
			other.expect(1)
			if got := log.String(); !strings.Contains(got, "boom") || !strings.Contains(got, "server_test.go") {
				t.Errorf("the log does not say what panicked and where:\n%s", got)
			}
			n.await(t, "the panicked request's bytes are given back", func() bool {
				return n.metric(t, "walser_kafka_request_memory_bytes") == 0
			})
		})
	}
}

func TestServer_DoneWithoutAnswerClosesTheConnection(t *testing.T) {
	n := start(t, []server.API{api(wire.KeyFetch, func(*server.Request) server.Outcome { return server.Done })}, server.Config{})
	c := n.dial(t)
	c.send(fetch(1))
	c.expectClosed()
}

func TestServer_DrainAnswersWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		produces, fetches := make(parked, 9), make(parked, 9)
		n := start(t, []server.API{api(wire.KeyProduce, produces.handle), api(wire.KeyFetch, fetches.handle)}, server.Config{})
		idle, idleEnded := n.pipe(t)
		_ = idle
		producer, producerEnded := n.pipe(t)
		consumer, _ := n.pipe(t)
		producer.send(produce(1, -1, 10))
		consumer.send(fetch(1), fetch(2))
		synctest.Wait()
		first := <-produces
		first.OnHangUp(func(uint64) { t.Error("a request that only a hang-up ends was cut") }, 0)

		drained := make(chan error)
		go func() { drained <- n.Drain(t.Context()) }()
		<-idleEnded
		late, lateEnded := n.pipe(t)
		<-lateEnded
		late.expectClosed()
		producer.send(produce(2, -1, 10)) // is not started any more
		synctest.Wait()
		if len(produces) != 0 {
			t.Fatalf("%d more produces were started", len(produces))
		}
		reply(first)
		producer.expect(1)
		producer.expectClosed()
		<-producerEnded
		synctest.Wait()
		select {
		case err := <-drained:
			t.Fatalf("drained before the parked fetch was answered: %v", err)
		default:
		}
		reply(<-fetches)
		consumer.expect(1)
		consumer.expectClosed()
		if err := <-drained; err != nil {
			t.Fatal(err)
		}
	})
}

func TestServer_DrainCutsLongPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := make(parked, 1)
		n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
		c, ended := n.pipe(t)
		c.send(fetch(1))
		cancelled := make(chan struct{})
		(<-fetches).OnCancel(func(uint64) { close(cancelled) }, 0)
		synctest.Wait()
		if err := n.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-cancelled
		<-ended
		c.expectClosed()
	})
}

func TestServer_DrainEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := make(parked, 1)
		n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
		c, ended := n.pipe(t)
		c.send(fetch(1))
		r := <-fetches
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := n.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v", err)
		}
		n.Close()
		<-r.Context().Done()
		<-ended
		c.expectClosed()
	})
}

func TestServer_ContextEndsServing(t *testing.T) {
	fetches := make(parked, 1)
	n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- n.Serve(ctx, l, plaintext) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: t, conn: conn}
	c.send(fetch(1))
	<-fetches
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	c.expectClosed()
}

// Whoever stops a server need not know how far those have come that serve its listeners.
func TestServer_StoppedBeforeItServes(t *testing.T) {
	n := start(t, echo(), server.Config{})
	if err := n.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := netx.NewNetwork().Listen("127.0.0.1:9092")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Serve(t.Context(), l, plaintext); err != nil {
		t.Errorf("serve after the stop: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("its listener: %v, want net.ErrClosed", err)
	}
}

// A peer that connects to a TLS listener and says nothing must not keep others from being accepted.
func TestServer_HandshakeDoesNotBlockAccept(t *testing.T) {
	n := start(t, echo(), server.Config{})
	l := n.serve(t, server.ListenerInfo{Name: "SSL"}, func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	})
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: t, conn: conn}
	for id := range int32(3) {
		c.send(heartbeat(id, "g"), produce(100+id, 1, 100_000))
		c.expect(id, 100+id)
	}
}

func TestServer_SilentHandshakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, echo(), server.Config{HandshakeTimeout: 10 * time.Second})
		ours, theirs := net.Pipe()
		defer ours.Close()
		began := time.Now()
		err := n.ServeConn(n.ctx, tls.Server(theirs, &tls.Config{}), server.ConnInfo{Listener: plaintext})
		if took := time.Since(began); err == nil || took != 10*time.Second {
			t.Errorf("ended after %v with %v", took, err)
		}
	})
}

// Closing a TLS connection says goodbye to its peer, for up to five seconds if the peer does not listen.
// The one who closes may be the goroutine of all deadlines.
func TestServer_ClosingTLSDoesNotWaitForThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := make(parked, 1)
		n := start(t, []server.API{api(wire.KeyFetch, fetches.handle)}, server.Config{})
		ours, theirs := net.Pipe()
		defer ours.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			conn := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, SessionTicketsDisabled: true})
			_ = n.ServeConn(n.ctx, conn, server.ConnInfo{Listener: plaintext})
		}()
		c := &client{t: t, conn: tls.Client(ours, &tls.Config{InsecureSkipVerify: true})}
		c.send(fetch(1))
		<-fetches
		began := time.Now()
		n.Close()
		<-ended
		if took := time.Since(began); took != 0 {
			t.Errorf("closing took %v", took)
		}
	})
}

// failingListener fails a few times before it accepts.
type failingListener struct {
	net.Listener
	left int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.left > 0 {
		l.left--
		return nil, errors.New("accept: too many open files")
	}
	return l.Listener.Accept()
}

func TestServer_AcceptErrorsAreNotTheEnd(t *testing.T) {
	n := start(t, echo(), server.Config{})
	l := n.serve(t, plaintext, func(l net.Listener) net.Listener { return &failingListener{l, 3} })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: t, conn: conn}
	c.send(heartbeat(1, "g"))
	c.expect(1)
	if got := n.metric(t, "walser_kafka_accept_errors_total"); got != 3 {
		t.Errorf("%v accept errors counted, want 3", got)
	}
}

func TestServer_GlobalCapClosesTheNextConnection(t *testing.T) {
	n := start(t, echo(), server.Config{})
	n.SetLimits(server.Limits{MaxConnections: 2})
	first, second := n.dial(t), n.dial(t)
	for _, c := range []*client{first, second} {
		c.send(heartbeat(1, "g"))
		c.expect(1)
	}
	n.dial(t).expectClosed()
	first.conn.Close()
	n.await(t, "a place is free again", func() bool { return n.metric(t, "walser_kafka_connections") == 1 })
	n.await(t, "somebody gets it", func() bool {
		c := n.dial(t)
		if _, err := c.conn.Write(heartbeat(1, "g")); err != nil {
			return false
		}
		_, _, err := c.tryRecv()
		return err == nil
	})
}

// A late answer must not spoil the connection's next requests, nor must a handler that keeps bytes.
func TestRequest_ReleasedFramesAreSpoiled(t *testing.T) {
	if !invariants.Enabled {
		t.Skip("needs the build tag invariants")
	}
	kept := make(chan []byte, 1)
	c, ended := start(t, []server.API{api(wire.KeyHeartbeat, func(r *server.Request) server.Outcome {
		kept <- r.Body.(*wire.HeartbeatRequest).GroupID
		r.ReleaseFrame()
		return answerAtOnce(r)
	})}, server.Config{}).pipe(t)
	c.send(heartbeat(1, "group"))
	c.expect(1)
	c.conn.Close()
	<-ended // the reader had its bytes until then
	if got := <-kept; string(got) == "group" {
		t.Error("a released frame kept its bytes")
	}
}

func TestServer_CountsByAPIAndVersion(t *testing.T) {
	n := start(t, echo(), server.Config{})
	c := n.dial(t)
	for id := range int32(5) {
		c.send(heartbeat(id, "g"))
		c.expect(id)
	}
	n.await(t, "five heartbeats are counted", func() bool {
		return n.metric(t, "walser_kafka_requests_total", "api", wire.KeyHeartbeat.String(), "version", "0") == 5
	})
	want := float64(5 * len(heartbeat(0, "g")))
	if got := n.metric(t, "walser_kafka_request_bytes_total"); got != want {
		t.Errorf("%v request bytes, want %v", got, want)
	}
	if got := n.metric(t, "walser_kafka_response_bytes_total"); got != 5*(4+4+2) {
		t.Errorf("%v response bytes, want 50", got)
	}
}

// Nothing of a peer's doing fills the log.
func TestServer_LinesAboutPeersAreRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		n := start(t, echo(), server.Config{}, func(d *server.Deps) {
			d.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		refuse := func() {
			c, ended := n.pipe(t)
			c.send(frame(999, 7, 1))
			<-ended
		}
		for range 100 {
			refuse()
		}
		if lines := strings.Count(log.String(), "\n"); lines != 10 {
			t.Errorf("%d lines for 100 bad requests at once, want 10", lines)
		}
		for _, want := range []string{"api=999", "version=7", "peer=pipe", "unknown api key"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%q is missing in %s", want, log.String())
			}
		}
		time.Sleep(time.Second)
		log.Reset()
		refuse()
		if !strings.Contains(log.String(), "held_back=90") {
			t.Errorf("the next line does not say how many were held back: %s", log.String())
		}
	})
}
