package e2e

import (
	"bytes"
	"context"
	enc "encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// announcers are 2 000 connections that each announce a Produce request of some size, send the first bytes
// of it at once and then a few every second. They come within a second; one that is closed comes back a
// second later.
type announcers struct{ size, prefix, step int }

func (a announcers) run(ctx context.Context, addr string) fmt.Stringer {
	const connections = 2000
	frame := enc.BigEndian.AppendUint32(nil, uint32(a.size))
	frame = append(frame, 0, byte(kmsg.Produce), 0, 9, 0, 0, 0, 1)
	frame = append(frame, make([]byte, max(0, a.prefix-len(frame)))...)
	var opened, closed atomic.Int64
	var running sync.WaitGroup
	for i := range connections {
		running.Go(func() {
			for pause(ctx, time.Second*time.Duration(i)/connections); ctx.Err() == nil; pause(ctx, time.Second) {
				if conn, err := dial(ctx, addr); err == nil {
					opened.Add(1)
					a.trickle(ctx, conn, frame)
					conn.Close()
					if ctx.Err() == nil {
						closed.Add(1)
					}
				}
			}
		})
	}
	running.Wait()
	return tally("%d connections opened, %d closed by the node", opened.Load(), closed.Load())
}

// trickle sends until the node closes the connection or ctx ends.
func (a announcers) trickle(ctx context.Context, conn net.Conn, frame []byte) {
	send := frame
	for pause(ctx, 0) {
		if _, err := conn.Write(send); err != nil {
			return
		}
		send = make([]byte, a.step)
		pause(ctx, time.Second)
	}
}

// claimers send requests in which a count, of elements, bytes or tags, says 2^31, 2^31-1 or -2^31: at every
// place of a filled request of every key and version, before ApiVersions and after. Most end their
// connection; the seed fixes the order.
type claimers struct{}

func (claimers) run(ctx context.Context, addr string) fmt.Stringer {
	const workers, perSecond, seed = 16, 400, 1
	var next, sent, answered atomic.Int64
	claims := hostileClaims()
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(claims), func(i, k int) { claims[i], claims[k] = claims[k], claims[i] })
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				i := next.Add(1) - 1
				frame := claims[int(i)%len(claims)].frame()
				if conn, err := dial(ctx, addr); err == nil {
					if i%2 == 1 {
						frame = append(apiVersionsFrame(), frame...)
					}
					if send(conn, frame, 200*time.Millisecond) {
						answered.Add(1)
					}
					sent.Add(1)
					conn.Close()
				}
			}
		})
	}
	running.Wait()
	return tally("%d of %d claims sent (seed %d), %d connections got an answer", sent.Load(), len(claims), seed, answered.Load())
}

// claim is a request cut at a place, where a count follows.
type claim struct {
	key, version int16
	at           int
	count        []byte
}

// hostileClaims returns every claim there is to make.
func hostileClaims() []claim {
	counts := [][]byte{
		{0x7f, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, // of an int32
		{0x80, 0x80, 0x80, 0x80, 0x08}, {0xff, 0xff, 0xff, 0xff, 0x0f}, // of a varint: 2^31, and 2^32-1
	}
	var claims []claim
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		for version := range req.MaxVersion() + 1 {
			// From the client id on: what is before has a fixed size.
			for at := 12; at <= len(filledRequest(key, version)); at++ {
				for _, count := range counts {
					claims = append(claims, claim{key, version, at, count})
				}
			}
		}
	}
	return claims
}

// frame returns the claim's request with a few bytes after the count, and the size that it then has.
func (c claim) frame() []byte {
	frame := append(filledRequest(c.key, c.version)[:c.at:c.at], c.count...)
	frame = append(frame, make([]byte, 64)...)
	enc.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

// filledRequest returns a request with one element in every array.
func filledRequest(key, version int16) []byte {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	fill(reflect.ValueOf(req).Elem())
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, req, 1)
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.String:
		v.SetString("x")
	}
}

func apiVersionsFrame() []byte {
	req := kmsg.NewPtrApiVersionsRequest()
	req.SetVersion(3)
	req.ClientSoftwareName, req.ClientSoftwareVersion = "hostile", "1"
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, req, 0)
}

// bombs are batches that inflate to 1 GiB, and each of them as a request for each topic: made ahead, since to
// make them is work enough for this process to be noticed in what it measures.
type bombs struct {
	each   []bomb
	frames []thrown
}

type thrown struct {
	codec string
	frame []byte
}

type bomb struct {
	codec   string
	records []byte // compressed
	attrs   int16
}

// What the bombs are thrown at: a topic that keeps them as they are, one that inflates them to store them
// plainly, and one that packs them again.
func bombTopics() map[string]string {
	return map[string]string{"keep": "producer", "inflate": "uncompressed", "repack": "gzip"}
}

func createBombTopics(t *testing.T, admin *kadm.Client) {
	t.Helper()
	limit := fmt.Sprint(100 << 20)
	for topic, codec := range bombTopics() {
		if _, err := admin.CreateTopic(deadline(t), 1, 1, map[string]*string{"compression.type": &codec, "max.message.bytes": &limit}, topic); err != nil {
			t.Fatal(err)
		}
	}
}

const inflated = 1 << 30

// makeBombs packs one record of zeros, which is what inflates best.
func makeBombs(t *testing.T) bombs {
	t.Helper()
	pack := func(codec string, attrs int16, open func(io.Writer) (io.WriteCloser, error)) bomb {
		var packed bytes.Buffer
		w, err := open(&packed)
		if err != nil {
			t.Fatal(err)
		}
		head := recordHead(inflated)
		if _, err := w.Write(head); err != nil {
			t.Fatal(err)
		}
		zeros := make([]byte, 1<<20)
		for left := inflated + 1; left > 0; left -= min(left, len(zeros)) { // and no headers: one more zero
			if _, err := w.Write(zeros[:min(left, len(zeros))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return bomb{codec, packed.Bytes(), attrs}
	}
	all := []bomb{
		pack("gzip", 1, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) }),
		pack("lz4", 3, func(w io.Writer) (io.WriteCloser, error) {
			z := lz4.NewWriter(w)
			return z, z.Apply(lz4.BlockSizeOption(lz4.Block4Mb))
		}),
		pack("zstd", 4, func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithWindowSize(32<<20), zstd.WithEncoderConcurrency(1))
		}),
		// Snappy does not come below a twentieth: a whole GiB of it is more than the budget of so small a
		// node takes, so there is one of it and one that gets in.
		{"snappy", xerial(inflated), 2},
		{"snappy, a tenth", xerial(inflated / 10), 2},
	}
	bs := bombs{each: all}
	for _, b := range all {
		for topic := range bombTopics() {
			bs.frames = append(bs.frames, thrown{b.codec, b.frame(topic)})
		}
	}
	return bs
}

// recordHead is the record up to its value of n bytes.
func recordHead(n int) []byte {
	body := []byte{0, 0, 0, 1} // attributes, deltas of time and offset, no key
	body = enc.AppendVarint(body, int64(n))
	return append(enc.AppendVarint(nil, int64(len(body)+n+1)), body...)
}

// xerial writes a record of n zeros in the framing that Java's snappy has, in blocks as large as Walser takes.
func xerial(n int) []byte {
	const block = 32 << 20
	out := []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
	add := func(plain []byte) {
		packed := snappy.Encode(nil, plain)
		out = append(enc.BigEndian.AppendUint32(out, uint32(len(packed))), packed...)
	}
	first := append(recordHead(n), make([]byte, block)...)[:block]
	zeros := make([]byte, block)
	add(first)
	for left := len(recordHead(n)) + n + 1 - block; left > 0; left -= block {
		add(zeros[:min(left, block)])
	}
	return out
}

// frame returns the bomb as a request for a topic.
func (b bomb) frame(topic string) []byte {
	batch := kmsg.RecordBatch{
		Length: int32(49 + len(b.records)), PartitionLeaderEpoch: -1, Magic: 2, Attributes: b.attrs,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: b.records,
	}
	raw := batch.AppendTo(nil)
	enc.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks, req.TimeoutMillis = -1, 30_000
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = raw
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.ProduceRequestTopicPartition{partition}
	req.Topics = append(req.Topics, t)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, req, 1)
}

// run throws every bomb at every topic from many connections at a time.
func (bs bombs) run(ctx context.Context, addr string) fmt.Stringer {
	const connections = 32
	frames := bs.frames
	answered := make([]atomic.Int64, len(frames))
	var lost atomic.Int64
	var running sync.WaitGroup
	for worker := range connections {
		running.Go(func() {
			for i := worker; pause(ctx, 0); i++ {
				conn, err := dial(ctx, addr)
				if err != nil {
					continue
				}
				if send(conn, frames[i%len(frames)].frame, 30*time.Second) {
					answered[i%len(frames)].Add(1)
				} else if ctx.Err() == nil {
					lost.Add(1)
					pause(ctx, 100*time.Millisecond)
				}
				conn.Close()
			}
		})
	}
	running.Wait()
	byCodec := map[string]int64{}
	for i := range frames {
		byCodec[frames[i].codec] += answered[i].Load()
	}
	return tally("answered by codec %v, %d connections closed by the node", byCodec, lost.Load())
}

// oneByOne throws each bomb once and waits for its answer, so that none is missed where the node takes its
// time with the first.
func (bs bombs) oneByOne(t *testing.T, addr string) {
	t.Helper()
	for _, b := range bs.each {
		if b.codec == "snappy" {
			continue
		}
		conn, err := dial(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if !send(conn, b.frame("keep"), time.Minute) {
			t.Errorf("no answer to %d MiB of %s", inflated>>20, b.codec)
		}
		t.Logf("%s: %d KiB, answered after %v", b.codec, len(b.records)>>10, time.Since(began).Round(time.Millisecond))
		conn.Close()
	}
}

// dial connects. Closing resets: thousands of attackers would otherwise leave the machine without ports.
// The end of ctx closes the connection.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn, conn.(*net.TCPConn).SetLinger(0)
}

// send writes and waits for an answer of any kind.
func send(conn net.Conn, frame []byte, timeout time.Duration) (answered bool) {
	_ = conn.SetDeadline(time.Now().Add(timeout)) // a connection that has been closed fails at the write
	if _, err := conn.Write(frame); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 256))
	return err == nil
}

// pause waits, and says whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// tally is what an attack did.
type tallied string

func (s tallied) String() string { return string(s) }

func tally(format string, args ...any) fmt.Stringer { return tallied(fmt.Sprintf(format, args...)) }
