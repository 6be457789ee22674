package server_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a server under test with what it counted.
type node struct {
	*server.Server
	reg    *prometheus.Registry
	ctx    context.Context
	listen net.Listener
}

// start runs a server of the table until the test ends. Connections come by dial or pipe.
func start(t testing.TB, table []server.API, cfg server.Config, change ...func(*server.Deps)) *node {
	t.Helper()
	reg := prometheus.NewRegistry()
	deps := server.Deps{
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: reg,
		Wall:       time.Now,
		Features:   func() server.Features { return server.Features{Epoch: -1} },
		ClusterID:  func() string { return "cluster" },
		NodeID:     1,
	}
	for _, f := range change {
		f(&deps)
	}
	s, err := server.New(table, cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		s.Close()
		cancel()
		<-ran
	})
	return &node{Server: s, reg: reg, ctx: ctx}
}

var plaintext = server.ListenerInfo{Name: "PLAINTEXT"}

// dial connects by TCP, serving a loopback listener if there is none yet.
func (n *node) dial(t testing.TB) *client {
	t.Helper()
	if n.listen == nil {
		n.listen = n.serve(t, plaintext, func(l net.Listener) net.Listener { return l })
	}
	conn, err := net.Dial("tcp", n.listen.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn}
}

// serve serves a loopback listener until the test ends.
func (n *node) serve(t testing.TB, info server.ListenerInfo, wrap func(net.Listener) net.Listener) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = wrap(l)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := n.Serve(n.ctx, l, info); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		n.Close()
		<-served
	})
	return l
}

// pipe connects by memory. ended is closed when the server has let go of the connection.
func (n *node) pipe(t testing.TB) (c *client, ended chan struct{}) {
	t.Helper()
	ours, theirs := net.Pipe()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.ServeConn(n.ctx, theirs, server.ConnInfo{Listener: plaintext})
	}()
	t.Cleanup(func() {
		ours.Close()
		<-ended
	})
	return &client{t: t, conn: ours}, ended
}

// metric returns the sum of a metric's series whose labels have the values.
func (n *node) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := n.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for i := 0; i < len(labels); i += 2 {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !found {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// await returns when what holds, and fails the test when it does not come to.
func (n *node) await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); runtime.Gosched() {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("it does not come to this: %s", what)
		}
	}
}

// client speaks raw bytes.
type client struct {
	t    testing.TB
	conn net.Conn
}

func (c *client) send(frames ...[]byte) {
	c.t.Helper()
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	if _, err := c.conn.Write(all); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// recv returns the next answer's correlation id and what follows it.
func (c *client) recv() (id int32, rest []byte) {
	c.t.Helper()
	id, rest, err := c.tryRecv()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return id, rest
}

func (c *client) tryRecv() (id int32, rest []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		return 0, nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.conn, b); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:], nil
}

// expect receives the answers to the correlation ids, in this order.
func (c *client) expect(ids ...int32) {
	c.t.Helper()
	for _, want := range ids {
		if got, _ := c.recv(); got != want {
			c.t.Fatalf("answer to %d, want the one to %d", got, want)
		}
	}
}

// expectClosed reads until the server closes the connection, and fails if an answer comes before.
func (c *client) expectClosed() {
	c.t.Helper()
	if id, _, err := c.tryRecv(); err == nil {
		c.t.Fatalf("answer to %d, want the connection closed", id)
	} else if errors.Is(err, context.DeadlineExceeded) {
		c.t.Fatal(err)
	}
}

// frame builds a request with header v1.
func frame(key wire.Key, version int16, id int32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+2+4+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	b = binary.BigEndian.AppendUint16(b, 4)
	b = append(b, "test"...)
	return append(b, body...)
}

// heartbeat builds a Heartbeat v0 of the group.
func heartbeat(id int32, group string) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(group)))
	body = append(body, group...)
	return frame(wire.KeyHeartbeat, 0, id, append(body, 0, 0, 0, 1, 0, 1, 'm')...)
}

// produce builds a Produce v3 with one partition of the given bytes.
func produce(id int32, acks int16, records int) []byte {
	body := binary.BigEndian.AppendUint16(nil, 0xffff) // no transactional id
	body = binary.BigEndian.AppendUint16(body, uint16(acks))
	body = binary.BigEndian.AppendUint32(body, 1000)
	body = binary.BigEndian.AppendUint32(body, 1)
	body = append(body, 0, 1, 't')
	body = binary.BigEndian.AppendUint32(body, 1)
	body = binary.BigEndian.AppendUint32(body, 0)
	body = binary.BigEndian.AppendUint32(body, uint32(records))
	return frame(wire.KeyProduce, 3, id, append(body, make([]byte, records)...)...)
}

// fetch builds a Fetch v4 of nothing.
func fetch(id int32) []byte {
	return frame(wire.KeyFetch, 4, id,
		0xff, 0xff, 0xff, 0xff, // replica
		0, 0, 1, 0xf4, // max wait
		0, 0, 0, 1, 0, 0, 1, 0, 0, // min and max bytes, isolation
		0, 0, 0, 0) // topics
}

// parked hands the requests of a handler to the test, which answers them.
type parked chan *server.Request

func (p parked) handle(r *server.Request) server.Outcome {
	p <- r
	return server.Parked
}

func reply(r *server.Request) { r.Reply(r.Response()) }

func answerAtOnce(r *server.Request) server.Outcome {
	reply(r)
	return server.Done
}

// api returns a row at the oldest version that the frames above use.
func api(key wire.Key, handle func(*server.Request) server.Outcome) server.API {
	row := server.API{Key: key, Handle: handle}
	switch key {
	case wire.KeyProduce:
		row.Min, row.Max, row.Order, row.AdvertiseFromZero = 3, 8, server.Pipelined, true
	case wire.KeyFetch:
		row.Min, row.Max = 4, 11
	case wire.KeyHeartbeat:
		row.Min, row.Max = 0, 3
	default:
		panic(fmt.Sprintf("no row for %v", key))
	}
	return row
}

// echo is the plain table: everything is answered at once.
func echo() []server.API {
	return []server.API{
		api(wire.KeyProduce, answerAtOnce),
		api(wire.KeyFetch, answerAtOnce),
		api(wire.KeyHeartbeat, answerAtOnce),
	}
}
