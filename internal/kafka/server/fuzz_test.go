package server_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// scripted is a connection that reads given bytes in steps of a given size, then ends.
type scripted struct {
	tape
	stream []byte
	step   int
}

func (c *scripted) Read(p []byte) (int, error) {
	if len(c.stream) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.stream[:min(c.step, len(c.stream))])
	c.stream = c.stream[n:]
	return n, nil
}

func (c *scripted) Write(p []byte) (int, error) {
	c.got += len(p)
	return len(p), nil
}

// FuzzFrames feeds arbitrary bytes to a connection. The server must end it without a panic, hold no
// buffer after it, and serve as many requests as a naive reading of the stream finds.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{}, 1)
	f.Add([]byte{0, 0, 0}, 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, 4)
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 3}, 3)
	f.Add(append(heartbeat(1, "g"), produce(2, 1, 5000)...), 7)
	f.Add(append(produce(1, 1, 100_000), fetch(2)...), 1000)
	f.Add(append(fetch(1), frame(999, 0, 2)...), 100)
	f.Add(flexibleFrame(3, 1, compact("java", "4.4.0", 0)...), 5)
	f.Add(flexibleFrame(99, 1, 1, 2, 3), 5)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), 100)
	served := 0
	count := func(r *server.Request) server.Outcome {
		served++
		reply(r)
		return server.Done
	}
	n := start(f, []server.API{
		api(wire.KeyProduce, count), api(wire.KeyFetch, count), api(wire.KeyHeartbeat, count),
	}, server.Config{FrameCap: 1 << 20, SocketRequestMaxBytes: 2 << 20})
	f.Fuzz(func(t *testing.T, stream []byte, step int) {
		served = 0
		conn := &scripted{stream: stream, step: max(1, step)}
		_ = n.ServeConn(n.ctx, conn, server.ConnInfo{Listener: plaintext})
		if want := naiveCount(stream); served != want {
			t.Errorf("%d requests were served, want %d", served, want)
		}
		if held := n.metric(t, "walser_kafka_request_memory_bytes"); held != 0 {
			t.Errorf("%v bytes are held after the connection", held)
		}
	})
}

// naiveCount returns how many requests of the table come before the first fault.
func naiveCount(stream []byte) (requests int) {
	versions := map[wire.Key][2]int16{wire.KeyProduce: {3, 8}, wire.KeyFetch: {4, 11}, wire.KeyHeartbeat: {0, 3}}
	for len(stream) >= 8 {
		var r wire.Reader
		r.Reset(stream[:8])
		size, key, version := int(r.Int32()), wire.Key(r.Int16()), r.Int16()
		limit := 1 << 20
		if key == wire.KeyProduce {
			limit = 2 << 20
		}
		if size < 8 || size > limit || len(stream) < 4+size {
			return requests
		}
		var header wire.RequestHeader
		r.Reset(stream[4 : 4+size])
		header.Decode(&r)
		if r.Err() != nil {
			return requests
		}
		served, ok := versions[key]
		if key == wire.KeyAPIVersions {
			served = [2]int16{0, 5}
		}
		inRange := version >= served[0] && version <= served[1]
		switch {
		case key != wire.KeyAPIVersions && (!ok || !inRange):
			return requests
		case inRange:
			if err := wire.DecodeRequest(&r, wire.NewRequest(key), version); err != nil && !errors.Is(err, wire.ErrTrailingBytes) {
				return requests
			}
		}
		if key != wire.KeyAPIVersions {
			requests++
		}
		stream = stream[4+size:]
	}
	return requests
}

var _ net.Conn = (*scripted)(nil)
