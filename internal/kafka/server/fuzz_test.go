package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
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

// fuzzConfig has caps that the fuzzer reaches, and Produce requests of any but the smallest sizes taken while
// they arrive.
var fuzzConfig = server.Config{FrameCap: 80_000, SocketRequestMaxBytes: 90_000, StreamAbove: 200}

// served is what a connection's handlers saw: the correlation ids, and the streamed bodies end to end.
type served struct {
	ids    []int32
	bodies []byte
}

// FuzzFrames feeds arbitrary bytes to a connection. The server must end it without a panic, hold no
// buffer after it, and serve the requests that a naive reading of the stream finds.
//
// Large frames need large streams, which the fuzzer is slow to change: so zero bytes, a number of them, are
// put into the stream at a place. It arrives in steps of a size, and handlers of streamed requests ask for
// pieces of a size.
//
//fuzz:decoder kafka/server/(conn_read|body|buffer)[.]go
func FuzzFrames(f *testing.F) {
	add := func(stream []byte, step int) { f.Add(stream, uint(0), uint(0), step, 1000) }
	add([]byte{}, 1)
	add([]byte{0, 0, 0}, 1)
	add([]byte{0xff, 0xff, 0xff, 0xff}, 4)
	add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 3}, 3)
	add(append(heartbeat(1, "g"), produce(2, 1, 100)...), 7)
	add(append(heartbeat(1, "g"), produce(2, 1, 1000)...), 7)
	add(append(fetch(1), frame(999, 0, 2)...), 100)
	add(flexibleFrame(3, 1, compact("java", "4.4.0", 0)...), 5)
	add(flexibleFrame(99, 1, 1, 2, 3), 5)
	add([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), 100)
	for _, zeros := range []int{100, 5000, 70_000, 85_000, 95_000} {
		for _, large := range [][]byte{produce(1, 1, 8), fetch(1)} {
			size := len(large)
			binary.BigEndian.PutUint32(large, uint32(size-4+zeros))
			f.Add(append(large, fetch(2)...), uint(size), uint(zeros), 1000, 300)
		}
	}
	var got served
	piece := 1
	answer := func(r *server.Request) server.Outcome {
		got.ids = append(got.ids, r.Header.CorrelationID)
		reply(r)
		return server.Done
	}
	row := api(wire.KeyProduce, answer)
	row.Stream = func(r *server.Request, body *server.Body) server.Outcome {
		before := len(got.bodies)
		for body.Left() > 0 {
			n := min(piece, body.Left())
			b, err := body.Peek(n)
			if err != nil {
				got.bodies = got.bodies[:before]
				r.CloseConnection(err)
				return server.Done
			}
			got.bodies = append(got.bodies, b[:n]...)
			body.Take(n)
		}
		return answer(r)
	}
	n := start(f, []server.API{row, api(wire.KeyFetch, answer), api(wire.KeyHeartbeat, answer)}, fuzzConfig)
	var stream []byte // one for all, as the server keeps nothing of it
	none := make([]byte, 100_000)
	f.Fuzz(func(t *testing.T, text []byte, at, zeros uint, step, pieces int) {
		at %= uint(len(text) + 1)
		stream = append(append(append(stream[:0], text[:at]...), none[:zeros%uint(len(none))]...), text[at:]...)
		got = served{}
		// Of a large frame's bytes, which take long one by one, the steps and pieces are not the smallest.
		piece = max(1, pieces, len(stream)/1000)
		conn := &scripted{stream: stream, step: max(1, step, len(stream)/1000)}
		_ = n.ServeConn(n.ctx, conn, server.ConnInfo{Listener: plaintext})
		if want := readNaively(stream); !slices.Equal(got.ids, want.ids) || !bytes.Equal(got.bodies, want.bodies) {
			t.Errorf("requests %v were served with %d bytes of bodies, want %v with %d (or other bytes)",
				got.ids, len(got.bodies), want.ids, len(want.bodies))
		}
		if held := n.Held(); held != 0 {
			t.Errorf("%d bytes are held after the connection", held)
		}
	})
}

// readNaively returns the requests of the table that come before the first fault.
func readNaively(stream []byte) (found served) {
	for len(stream) >= 8 {
		var r wire.Reader
		r.Reset(stream[:8])
		size, key, version := int(r.Int32()), wire.Key(r.Int16()), r.Int16()
		var lo, hi int16
		limit := fuzzConfig.FrameCap
		switch key {
		case wire.KeyProduce:
			lo, hi, limit = 3, 8, fuzzConfig.SocketRequestMaxBytes
		case wire.KeyFetch:
			lo, hi = 4, 11
		case wire.KeyHeartbeat:
			lo, hi = 0, 3
		case wire.KeyAPIVersions:
			lo, hi = 0, 5
		default:
			return found
		}
		known := version >= lo && version <= hi
		if size < 8 || size > limit || len(stream) < 4+size || !known && key != wire.KeyAPIVersions {
			return found
		}
		var header wire.RequestHeader
		r.Reset(stream[4 : 4+size])
		header.Decode(&r)
		switch {
		case r.Err() != nil:
			return found
		case key == wire.KeyProduce && size > fuzzConfig.StreamAbove:
			found.bodies = append(found.bodies, stream[4+size-r.Remaining():4+size]...)
		case known:
			if err := wire.DecodeRequest(&r, wire.NewRequest(key), version); err != nil && !errors.Is(err, wire.ErrTrailingBytes) {
				return found
			}
		}
		if key != wire.KeyAPIVersions {
			found.ids = append(found.ids, header.CorrelationID)
		}
		stream = stream[4+size:]
	}
	return found
}

var _ net.Conn = (*scripted)(nil)
