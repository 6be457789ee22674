package netx_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/walser-io/walser/internal/netx"
)

func TestPipe_CarriesBytesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := netx.Pipe("a:1", "b:2")
		if a.LocalAddr().String() != "a:1" || a.RemoteAddr().String() != "b:2" || b.RemoteAddr().Network() != "memory" {
			t.Errorf("addresses are %v and %v", a.LocalAddr(), a.RemoteAddr())
		}
		const total = 5 << 20
		var wg sync.WaitGroup
		for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
			want := make([]byte, total)
			_, _ = rand.NewChaCha8([32]byte{}).Read(want)
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(1, 1))
				for rest := want; len(rest) > 0; {
					n := min(len(rest), rng.IntN(200_000))
					if m, err := way[0].Write(rest[:n]); m != n || err != nil {
						t.Errorf("Write = %d, %v; want %d", m, err, n)
						return
					}
					rest = rest[n:]
				}
			})
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(2, 2))
				var got []byte
				buf := make([]byte, 100_000)
				for len(got) < total {
					n, err := way[1].Read(buf[:1+rng.IntN(len(buf)-1)])
					if err != nil {
						t.Error(err)
						return
					}
					got = append(got, buf[:n]...)
				}
				if !bytes.Equal(got, want) {
					t.Error("what was read differs from what was written")
				}
			})
		}
		wg.Wait()
	})
}

// The queue grows while what it holds wraps around its end.
func TestPipe_GrowsWhileWrapped(t *testing.T) {
	a, b := netx.Pipe("a:1", "b:2")
	stream := make([]byte, 20_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(stream)
	write, read := 0, 0
	for _, step := range []struct{ write, read int }{{500, 300}, {300, 0}, {1000, 700}, {3000, 0}, {9000, 9000}, {6200, 0}} {
		if _, err := a.Write(stream[write : write+step.write]); err != nil {
			t.Fatal(err)
		}
		write += step.write
		got := make([]byte, step.read)
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, stream[read:read+step.read]) {
			t.Fatalf("bytes %d to %d differ, %v", read, read+step.read, err)
		}
		read += step.read
	}
	_ = a.Close()
	if rest, err := io.ReadAll(b); err != nil || !bytes.Equal(rest, stream[read:write]) {
		t.Fatalf("the rest differs, %v", err)
	}
}

func TestPipe_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := netx.Pipe("a:1", "b:2")
		if n, err := a.Write(make([]byte, netx.PipeBytes)); n != netx.PipeBytes || err != nil {
			t.Fatalf("Write of a whole buffer = %d, %v", n, err)
		}
		written := false
		go func() {
			if n, err := a.Write(make([]byte, 10)); n != 10 || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			written = true
		}()
		synctest.Wait()
		if written {
			t.Fatal("a full connection took more")
		}
		if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if written {
			t.Fatal("5 bytes of room took 10")
		}
		if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !written {
			t.Fatal("room for the rest did not wake the writer")
		}
	})
}

func TestPipe_Deadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := netx.Pipe("a:1", "b:2")
		start := time.Now()
		took := func(want time.Duration, what string, err error) {
			t.Helper()
			if ne, ok := errors.AsType[net.Error](err); !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !ne.Timeout() {
				t.Errorf("%s = %v; want a timeout", what, err)
			}
			if got := time.Since(start); got != want {
				t.Errorf("%s after %v; want %v", what, got, want)
			}
			start = time.Now()
		}
		set := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 1)

		set(a.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := a.Read(buf)
		took(time.Second, "read", err)
		_, err = a.Read(buf)
		took(0, "read past the deadline", err)

		// A waiting read follows its deadline, further out and closer.
		set(a.SetReadDeadline(time.Now().Add(time.Second)))
		time.AfterFunc(500*time.Millisecond, func() { set(a.SetReadDeadline(time.Now().Add(time.Hour))) })
		_, err = a.Read(buf)
		took(time.Hour+500*time.Millisecond, "read with its deadline put off", err)
		set(a.SetReadDeadline(time.Time{}))
		moved := time.AfterFunc(time.Minute, func() { set(a.SetReadDeadline(time.Unix(1, 0))) })
		_, err = a.Read(buf)
		took(time.Minute, "read with its deadline in the past", err)
		moved.Stop()

		// Bytes that are there come first only while the deadline has not passed... and they are not lost.
		set(a.SetReadDeadline(time.Time{}))
		if _, err := b.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := a.Read(buf); n != 1 || err != nil {
			t.Fatalf("Read after the deadline was lifted = %d, %v", n, err)
		}

		set(a.SetDeadline(time.Now().Add(time.Second)))
		n, err := a.Write(make([]byte, netx.PipeBytes+10))
		took(time.Second, "write", err)
		if n != netx.PipeBytes {
			t.Errorf("the write that timed out says %d bytes; want %d", n, netx.PipeBytes)
		}
		_, err = a.Write(buf)
		took(0, "write past the deadline", err)
		set(a.SetWriteDeadline(time.Time{}))
		set(a.SetReadDeadline(time.Now().Add(time.Second)))
		took(time.Second, "wait for readability", netx.WaitReadable(a))
	})
}

func TestPipe_Close(t *testing.T) {
	buf := make([]byte, 10)
	t.Run("peer_reads_the_rest", func(t *testing.T) {
		a, b := netx.Pipe("a:1", "b:2")
		if _, err := a.Write([]byte("rest")); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Read(buf); string(buf[:n]) != "rest" || err != nil {
			t.Errorf("Read = %q, %v", buf[:n], err)
		}
		if _, err := b.Read(buf); err != io.EOF {
			t.Errorf("Read at the end = %v; want io.EOF", err)
		}
		if _, err := b.Write(buf); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write to a closed peer = %v; want EPIPE", err)
		}
	})
	t.Run("own_side", func(t *testing.T) {
		a, b := netx.Pipe("a:1", "b:2")
		if _, err := b.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		_, readErr := a.Read(buf)
		_, writeErr := a.Write(buf)
		for what, err := range map[string]error{
			"read": readErr, "write": writeErr, "wait": netx.WaitReadable(a), "close": a.Close(),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s = %v; want net.ErrClosed", what, err)
			}
		}
	})
	t.Run("half", func(t *testing.T) {
		a, b := netx.Pipe("a:1", "b:2")
		if err := a.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(buf); err != io.EOF {
			t.Errorf("Read = %v; want io.EOF", err)
		}
		if _, err := b.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		if n, err := a.Read(buf); string(buf[:n]) != "answer" || err != nil {
			t.Errorf("Read = %q, %v", buf[:n], err)
		}
		if _, err := a.Write(buf); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write = %v; want EPIPE", err)
		}
	})
	t.Run("wakes_all_that_wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, closeA := range []bool{true, false} {
				a, b := netx.Pipe("a:1", "b:2")
				if _, err := a.Write(make([]byte, netx.PipeBytes)); err != nil {
					t.Fatal(err)
				}
				errs := make(chan error, 4)
				for range 2 {
					go func() { _, err := a.Read(make([]byte, 1)); errs <- err }()
				}
				go func() { errs <- netx.WaitReadable(a) }()
				go func() { _, err := a.Write([]byte("x")); errs <- err }()
				synctest.Wait()
				if closeA {
					_ = a.Close()
				} else {
					_ = b.Close()
				}
				failed := 0
				for range 4 {
					if err := <-errs; err != nil {
						failed++
					}
				}
				// WaitReadable calls the end of the stream readable.
				if want := map[bool]int{true: 4, false: 3}[closeA]; failed != want {
					t.Errorf("own side %t: %d of 4 ended with an error; want %d", closeA, failed, want)
				}
			}
		})
	})
}

func TestWaitReadable(t *testing.T) {
	for _, transport := range transports[:2] {
		t.Run(transport.name, func(t *testing.T) {
			client, server := transport.open(t)
			wait := func() <-chan error {
				done := make(chan error, 1)
				go func() { done <- netx.WaitReadable(server) }()
				return done
			}
			write := func(s string) {
				t.Helper()
				if _, err := client.Write([]byte(s)); err != nil {
					t.Fatal(err)
				}
			}
			// Both orders: bytes that come while it waits, and bytes that were there (no edge to wait for).
			waiting := wait()
			write("xy")
			if err := <-waiting; err != nil {
				t.Fatal(err)
			}
			if err := netx.WaitReadable(server); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1)
			for _, want := range "xy" { // it took nothing
				if _, err := server.Read(b); err != nil || b[0] != byte(want) {
					t.Fatalf("Read = %q, %v", b, err)
				}
				if want == 'x' {
					if err := netx.WaitReadable(server); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := server.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := netx.WaitReadable(server); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("WaitReadable with nothing there = %v; want os.ErrDeadlineExceeded", err)
			}
			if err := server.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			waiting = wait()
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-waiting; err != nil {
				t.Errorf("WaitReadable at the end of the stream = %v", err)
			}
			if _, err := server.Read(b); err != io.EOF {
				t.Errorf("Read = %v; want io.EOF", err)
			}
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			if err := netx.WaitReadable(server); !errors.Is(err, net.ErrClosed) {
				t.Errorf("WaitReadable of a closed connection = %v; want net.ErrClosed", err)
			}
		})
	}
}

// A thousand idle connections that each carried a full buffer hold none.
func TestPipe_IdleHoldsNoBuffer(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const conns = 1000
	var kept []net.Conn
	buf := make([]byte, netx.PipeBytes)
	before := heap()
	for range conns {
		a, b := netx.Pipe("a:1", "b:2")
		if _, err := a.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, buf); err != nil {
			t.Fatal(err)
		}
		if err := b.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := netx.WaitReadable(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		kept = append(kept, a, b)
	}
	if each := (heap() - before) / conns; each > 4096 {
		t.Errorf("an idle connection holds %d bytes", each)
	}
	runtime.KeepAlive(kept)
}

func TestWaitReadable_NoWaitOnUnknownConns(t *testing.T) {
	a, _ := net.Pipe()
	if err := netx.WaitReadable(a); err != nil {
		t.Fatal(err)
	}
}

func TestNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		n := netx.NewNetwork()
		l, err := n.Listen("broker-1:9092")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen("broker-1:9092"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second Listen = %v", err)
		}
		if _, err := n.Listen("broker-1"); err == nil {
			t.Error("an address without a port was accepted")
		}
		any1, err1 := n.Listen("h:0")
		any2, err2 := n.Listen("h:0")
		if err := errors.Join(err1, err2); err != nil || any1.Addr().String() == any2.Addr().String() || any1.Addr().String() == "h:0" {
			t.Errorf("port 0 gives %v and %v, %v", any1.Addr(), any2.Addr(), err)
		}
		if _, err := n.DialContext(ctx, "tcp", "broker-2:9092"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to no one = %v", err)
		}

		// A dial does not wait for Accept.
		client, err := n.DialContext(ctx, "tcp", "broker-1:9092")
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if server.RemoteAddr().String() != client.LocalAddr().String() || server.LocalAddr().String() != "broker-1:9092" {
			t.Errorf("server end is %v from %v", server.LocalAddr(), server.RemoteAddr())
		}
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(server, buf); err != nil || string(buf) != "hello" {
			t.Errorf("read %q, %v", buf, err)
		}

		if _, err := n.DialFrom(ctx, "10.0.0.1:7", "broker-1:9092"); err != nil {
			t.Fatal(err)
		}
		if stranger, err := l.Accept(); err != nil || stranger.RemoteAddr().String() != "10.0.0.1:7" {
			t.Errorf("a client with an address of its own: %v, %v", stranger.RemoteAddr(), err)
		}

		// The backlog is bounded; a dial waits for room as long as its context lets it.
		for {
			short, cancel := context.WithTimeout(ctx, time.Second)
			_, err = n.DialContext(short, "tcp", "broker-1:9092")
			cancel()
			if err != nil {
				break
			}
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial into a full backlog = %v", err)
		}
		dialled := make(chan error, 2)
		go func() { _, err := l.Dial(ctx); dialled <- err }()
		go func() { _, err := l.Dial(ctx); dialled <- err }()
		synctest.Wait()
		unaccepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := <-dialled; err != nil {
			t.Errorf("dial after room came = %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-dialled; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial that waited when the listener closed = %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v", err)
		}
		if _, err := unaccepted.Write([]byte("x")); err != nil {
			t.Errorf("an accepted connection died with its listener: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
		if l, err = n.Listen("broker-1:9092"); err != nil {
			t.Errorf("Listen after Close = %v", err)
		}
		client, err = l.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan error, 1)
		_ = l.Close()
		go func() { _, err := l.Accept(); accepted <- err }()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v", err)
		}
		if _, err := client.Read(buf); err != io.EOF {
			t.Errorf("a connection no one accepted reads %v; want io.EOF", err)
		}
	})
}

func TestListener_CloseWakesAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := netx.NewListener("a:1")
		done := make(chan error)
		go func() { _, err := l.Accept(); done <- err }()
		synctest.Wait()
		_ = l.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v", err)
		}
	})
}
