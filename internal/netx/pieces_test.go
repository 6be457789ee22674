package netx_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transports are the kinds of connections that WritePieces treats in different ways.
var transports = []struct {
	name string
	open func(t testing.TB) (client, server net.Conn)
}{
	{"tcp", tcpPair},
	{"memory", func(testing.TB) (net.Conn, net.Conn) { return netx.Pipe("c:1", "s:1") }},
	// A connection that is more than its TCP connection, as TLS is: nothing may write past it.
	{"wrapped", func(t testing.TB) (net.Conn, net.Conn) {
		client, server := tcpPair(t)
		return client, &wrapped{TCPConn: server.(*net.TCPConn)}
	}},
}

// wrapped inverts each byte, so that what goes past its Write shows.
type wrapped struct {
	*net.TCPConn
	writes int
}

func (w *wrapped) Write(p []byte) (int, error) {
	w.writes++
	return w.TCPConn.Write(inverted(p))
}

func inverted(p []byte) []byte {
	q := make([]byte, len(p))
	for i := range p {
		q[i] = ^p[i]
	}
	return q
}

func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// file makes a file of the real file system, or of one without descriptors, with random content.
func file(t testing.TB, fsys vfs.FS, size int) (vfs.File, []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "data")
	if err := fsys.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return f, data
}

func TestWritePieces_InOrder(t *testing.T) {
	const k = 1 << 10
	// Positive: so many bytes of memory. Negative: a region of that size.
	shapes := []struct {
		name   string
		pieces []int
	}{
		{"one_piece", []int{100}},
		{"nothing", nil},
		{"empty_pieces", []int{0, 0, 3, 0}},
		{"memory", []int{10, 20_000, 7, 100 * k, 5}},
		{"small_region", []int{30, -4 * k, 12}},
		{"small_regions_side_by_side", []int{30, -4 * k, -100, -20 * k, 12, -1}},
		{"small_regions_beyond_scratch", []int{30, -31 * k, -31 * k, 9, -31 * k, -31 * k, -31 * k, 5}},
		{"large_region", []int{60, -1024 * k, 13}},
		{"only_a_region", []int{-512 * k}},
		{"regions_large_and_small", []int{1, -64 * k, -2 * k, -33 * k, 2, -32 * k, -32*k + 1}},
		{"many_pieces", repeat(3000, 5, 0, 700)},
		{"memory_around_scratch", []int{64*k - 1, 1, 64 * k, 1, 64*k + 1, 31 * k, 32 * k, 33 * k}},
	}
	for _, transport := range transports {
		for _, source := range []struct {
			name string
			fs   vfs.FS
		}{{"os", vfs.OS()}, {"mem", vfs.NewMem(1)}} {
			for _, shape := range shapes {
				t.Run(fmt.Sprintf("%s/%s/%s", transport.name, source.name, shape.name), func(t *testing.T) {
					client, server := transport.open(t)
					f, data := file(t, source.fs, 1<<20)
					var pieces []netx.Piece
					var want []byte
					released, regions := 0, 0
					for i, size := range shape.pieces {
						if size >= 0 {
							b := bytes.Repeat([]byte{byte('a' + i%26)}, size)
							want = append(want, b...)
							pieces = append(pieces, netx.Piece{Bytes: b})
							continue
						}
						at := min(i*1000, len(data)+size)
						want = append(want, data[at:at-size]...)
						regions++
						pieces = append(pieces, netx.Piece{Region: &netx.FileRegion{
							File: f, Offset: int64(at), Length: -size, Release: func() { released++ },
						}})
					}
					got := readAll(client)
					n, err := netx.WritePieces(server, pieces)
					if n != int64(len(want)) || err != nil {
						t.Errorf("WritePieces = %d, %v; want %d", n, err, len(want))
					}
					if err := server.Close(); err != nil {
						t.Fatal(err)
					}
					read := <-got
					if transport.name == "wrapped" {
						read = inverted(read)
					}
					if !bytes.Equal(read, want) {
						t.Errorf("the peer read %d bytes that differ from the %d written", len(read), len(want))
					}
					if released != 0 {
						t.Error("WritePieces released a region that its caller holds")
					}
					netx.ReleasePieces(pieces)
					netx.ReleasePieces(pieces)
					if released != regions {
						t.Errorf("%d releases of %d regions", released, regions)
					}
				})
			}
		}
	}
}

func repeat(n int, sizes ...int) (all []int) {
	for i := range n {
		all = append(all, sizes[i%len(sizes)])
	}
	return all
}

// readAll reads conn to its end; the answer comes through the channel.
func readAll(conn net.Conn) <-chan []byte {
	done := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(conn)
		done <- b
	}()
	return done
}

// One writer serves many answers and keeps nothing of the ones before.
func TestPieceWriter_Reuse(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			client, server := transport.open(t)
			f, data := file(t, vfs.OS(), 1<<18)
			got := readAll(client)
			var w netx.PieceWriter
			var want []byte
			for i := range 50 {
				size := i * 1500
				head := fmt.Appendf(nil, "answer %d;", i)
				want = append(append(append(want, head...), data[i:i+size]...), "end"...)
				_, err := w.Write(server, netx.RawOf(server), []netx.Piece{
					{Bytes: head}, {Region: &netx.FileRegion{File: f, Offset: int64(i), Length: size}}, {Bytes: []byte("end")},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			_ = server.Close()
			read := <-got
			if transport.name == "wrapped" {
				read = inverted(read)
			}
			if !bytes.Equal(read, want) {
				t.Errorf("the peer read %d bytes that differ from the %d written", len(read), len(want))
			}
		})
	}
}

func TestPieceWriter_GathersShortPieces(t *testing.T) {
	client, tcp := tcpPair(t)
	server := &wrapped{TCPConn: tcp.(*net.TCPConn)}
	f, _ := file(t, vfs.OS(), 10_000)
	got := readAll(client)
	var pieces []netx.Piece
	for range 100 {
		pieces = append(pieces, netx.Piece{Bytes: []byte("head")}, netx.Piece{Region: &netx.FileRegion{File: f, Length: 100}})
	}
	if _, err := netx.WritePieces(server, pieces); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	<-got
	if server.writes != 1 {
		t.Errorf("200 short pieces took %d writes; want one", server.writes)
	}
}

func TestWritePieces_ShortFile(t *testing.T) {
	for _, transport := range transports {
		for _, length := range []int{1000, netx.SendfileBytes, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", transport.name, length), func(t *testing.T) {
				client, server := transport.open(t)
				f, _ := file(t, vfs.OS(), length-1)
				got := readAll(client)
				_, err := netx.WritePieces(server, []netx.Piece{
					{Bytes: []byte("head")}, {Region: &netx.FileRegion{File: f, Length: length}}, {Bytes: []byte("must not follow")},
				})
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("WritePieces = %v; want io.ErrUnexpectedEOF", err)
				}
				if err != nil && !strings.Contains(err.Error(), f.Name()) {
					t.Errorf("the error does not name the file: %v", err)
				}
				_ = server.Close()
				if read := <-got; bytes.HasSuffix(read, []byte("follow")) {
					t.Error("the answer went on after the gap")
				}
			})
		}
	}
}

func TestWritePieces_Errors(t *testing.T) {
	_, server := tcpPair(t)
	f, _ := file(t, vfs.OS(), 1<<20)
	region := &netx.FileRegion{File: f, Length: 1 << 20}
	if _, err := netx.WritePieces(server, []netx.Piece{{Region: odd{}}}); err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("an unknown region: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := netx.WritePieces(server, []netx.Piece{{Region: region}}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed file: %v; want os.ErrClosed", err)
	}
}

type odd struct{}

func (odd) Size() int { return 5 }

// A peer that does not read holds up neither the writer past its deadline nor another reader of the file.
func TestWritePieces_StalledPeer(t *testing.T) {
	f, data := file(t, vfs.OS(), 32<<20) // more than the socket buffers take
	region := &netx.FileRegion{File: f, Length: len(data)}
	_, stalled := tcpPair(t)
	client, server := tcpPair(t)
	failed := make(chan error, 1)
	go func() {
		_, err := netx.WritePieces(stalled, []netx.Piece{{Region: region}})
		failed <- err
	}()
	got := readAll(client)
	if _, err := netx.WritePieces(server, []netx.Piece{{Region: region}}); err != nil {
		t.Fatalf("beside a stalled peer: %v", err)
	}
	_ = server.Close()
	if !bytes.Equal(<-got, data) {
		t.Error("the other reader got other bytes")
	}
	select {
	case err := <-failed:
		t.Fatalf("the stalled write ended: %v", err)
	default:
	}
	// Closing the file must not wait for the stalled send either.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := stalled.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("stalled write = %v; want os.ErrDeadlineExceeded", err)
	}
}

// What the socket takes at once is written, and what is left, written by other means, makes the rest of it.
func TestPieceWriter_TryWrite(t *testing.T) {
	client, server := tcpPair(t)
	f, data := file(t, vfs.OS(), 60_000)
	raw := netx.RawOf(server)
	var w netx.PieceWriter
	var want []byte
	whole := 0
	for i := 0; ; i++ {
		size := 1 + i*997%50_000
		pieces := []netx.Piece{{Bytes: []byte("head")}, {Region: &netx.FileRegion{File: f, Offset: int64(i % 100), Length: size}}, {Bytes: []byte("end")}}
		sent := slices.Concat([]byte("head"), data[i%100:i%100+size], []byte("end"))
		if i%3 == 0 { // nothing to gather
			pieces = []netx.Piece{{Bytes: sent}}
		}
		want = append(want, sent...)
		left, err := w.TryWrite(raw, pieces)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			whole++
			continue
		}
		got := readAll(client)
		if _, err := server.Write(left); err != nil {
			t.Fatal(err)
		}
		_ = server.Close()
		if read := <-got; whole == 0 || !bytes.Equal(read, want) {
			t.Errorf("after %d whole answers and a part of one, the peer read %d bytes that differ from the %d written", whole, len(read), len(want))
		}
		break
	}
	if _, err := w.TryWrite(raw, []netx.Piece{{Bytes: []byte("more")}}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed connection: %v", err)
	}
}

func TestPieceWriter_TryWriteErrors(t *testing.T) {
	client, server := tcpPair(t)
	f, _ := file(t, vfs.OS(), 100<<10)
	var w netx.PieceWriter
	region := func(offset int64, length int) netx.Piece {
		return netx.Piece{Region: &netx.FileRegion{File: f, Offset: offset, Length: length}}
	}
	head := netx.Piece{Bytes: []byte("head")}
	if _, err := w.TryWrite(netx.RawOf(server), []netx.Piece{head, region(100<<10-9, 10)}); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), f.Name()) {
		t.Errorf("a short file: %v", err)
	}
	if _, err := w.TryWrite(netx.RawOf(server), []netx.Piece{head, region(0, 64<<10)}); err == nil || !strings.Contains(err.Error(), "gather 65540 bytes") {
		t.Errorf("more than can be gathered: %v", err)
	}
	if _, err := w.TryWrite(netx.RawOf(server), []netx.Piece{head, {Region: odd{}}}); err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("an unknown region: %v", err)
	}
	got := readAll(client)
	_ = server.Close()
	if read := <-got; len(read) > 0 {
		t.Errorf("%d bytes of them were sent", len(read))
	}
}

func BenchmarkWritePieces(b *testing.B) {
	for _, transport := range transports[:2] {
		for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", transport.name, size>>10), func(b *testing.B) {
				client, server := transport.open(b)
				f, _ := file(b, vfs.OS(), size)
				drained := make(chan struct{})
				go func() {
					defer close(drained)
					buf := make([]byte, 1<<20)
					for {
						if _, err := client.Read(buf); err != nil {
							return
						}
					}
				}()
				var w netx.PieceWriter
				raw := netx.RawOf(server)
				pieces := []netx.Piece{{Bytes: make([]byte, 60)}, {Region: &netx.FileRegion{File: f, Length: size}}}
				b.SetBytes(int64(size + 60))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := w.Write(server, raw, pieces); err != nil {
						b.Fatal(err)
					}
				}
				_ = server.Close()
				<-drained
			})
		}
	}
}
