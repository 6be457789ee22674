package node_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
)

// exchange is a connection on which the same request is sent again and again.
type exchange struct {
	t       *testing.T
	conn    net.Conn
	request []byte
	answer  []byte
}

func (e *exchange) send() {
	if _, err := e.conn.Write(e.request); err != nil {
		e.t.Fatal(err)
	}
}

// receive reads an answer, which has as many bytes as the one before, if there was one.
func (e *exchange) receive() {
	if e.answer == nil {
		var size [4]byte
		if _, err := io.ReadFull(e.conn, size[:]); err != nil {
			e.t.Fatal(err)
		}
		e.answer = make([]byte, 4+binary.BigEndian.Uint32(size[:]))
		copy(e.answer, size[:])
		if _, err := io.ReadFull(e.conn, e.answer[4:]); err != nil {
			e.t.Fatal(err)
		}
		return
	}
	size := binary.BigEndian.Uint32(e.answer)
	if _, err := io.ReadFull(e.conn, e.answer); err != nil {
		e.t.Fatal(err)
	}
	if got := binary.BigEndian.Uint32(e.answer); got != size {
		e.t.Fatalf("an answer of %d bytes, the one before had %d", got, size)
	}
}

// The whole way of a record through a node, from the socket to the file and back, allocates nothing once its
// pools are warm: whether the answer comes at once, after a flush, or when a record comes.
func TestNode_WayOfARecordDoesNotAllocate(t *testing.T) {
	if race || invariants.Enabled {
		t.Skip("assertions allocate, the race detector does too, and sync.Pool drops at random under it")
	}
	var address string
	n := nodetest.Start(t, nodetest.Options{
		FS: vfs.OS(), Set: []string{"log.dirs=" + t.TempDir(), "listeners=PLAINTEXT://127.0.0.1:0"},
		Listen: func(network, at string) (net.Listener, error) {
			l, err := net.Listen(network, at)
			if err == nil {
				address = l.Addr().String()
			}
			return l, err
		},
	})
	dial := func(request kmsg.Request) *exchange {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		return &exchange{t: t, conn: conn, request: kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, request, 1)}
	}
	admin := kadm.NewClient(n.Client(kgo.SeedBrokers(address), kgo.Dialer((&net.Dialer{}).DialContext)))
	createTopic(t, admin, "cached", 1, "write.caching=true")
	createTopic(t, admin, "flushed", 1, "write.caching=false")
	createTopic(t, admin, "tail", 1, "write.caching=true")
	topics, err := admin.ListTopics(within(t))
	if err != nil {
		t.Fatal(err)
	}

	produce := func(topic string, value int) kmsg.Request {
		req := produceRequest(t, topic, 0, make([]byte, value))
		req.Version = 13
		req.Topics[0].TopicID = topics[topic].ID
		return req
	}
	fetch := func(topic string, offset int64, maxBytes int32) kmsg.Request {
		req := fetchRequest(topic, 0, offset)
		req.Version, req.MinBytes, req.MaxWaitMillis, req.MaxBytes = 16, 1, 30_000, maxBytes
		req.Topics[0].TopicID = topics[topic].ID
		req.SessionEpoch = -1
		return req
	}
	for range 100 { // something to read
		e := dial(produce("cached", 1000))
		e.send()
		e.receive()
	}
	// A fetch at the end of a log that gets a record meanwhile.
	const marker = 0x0102030405060708
	feeder, tail := dial(produce("tail", 100)), dial(fetch("tail", marker, 1))
	offset := tail.request[bytes.Index(tail.request, binary.BigEndian.AppendUint64(nil, marker)):]
	var end uint64
	const turns = 221 // AllocsPerRun(n) makes n + 1 of them
	// A producer whose batches carry sequence numbers, each in a batch of its own.
	numbered := record.NewBuilder(record.BuilderOptions{Idempotent: true})
	numbered.Append(time.Now().UnixMilli(), nil, make([]byte, 1000), nil)
	first, err := numbered.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	req := produce("cached", 1).(*kmsg.ProduceRequest)
	req.Topics[0].Partitions[0].Records = first
	idempotent := dial(req)
	batch := idempotent.request[bytes.Index(idempotent.request, first):][:len(first)]
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	again := func(e *exchange) func() {
		return func() {
			e.send()
			e.receive()
		}
	}
	for _, tc := range []struct {
		name string
		turn func()
	}{
		{"produce", again(dial(produce("cached", 1000)))},
		{"produce of an idempotent producer", func() {
			idempotent.send()
			idempotent.receive()
			const crc, sequence = 17, 53
			binary.BigEndian.PutUint32(batch[sequence:], binary.BigEndian.Uint32(batch[sequence:])+1)
			binary.BigEndian.PutUint32(batch[crc:], crc32.Checksum(batch[crc+4:], castagnoli))
		}},
		{"produce of 900 KiB", again(dial(produce("cached", 900<<10)))},
		{"produce that waits for the disk", again(dial(produce("flushed", 1000)))},
		{"fetch of a batch", again(dial(fetch("cached", 0, 1)))},
		{"fetch of 64 KiB", again(dial(fetch("cached", 0, 64<<10)))},
		{"fetch that waits for a record", func() {
			binary.BigEndian.PutUint64(offset, end)
			tail.send()
			feeder.send()
			feeder.receive()
			tail.receive()
			end++
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range turns - 201 {
				tc.turn()
			}
			if got := testing.AllocsPerRun(200, tc.turn); got != 0 {
				t.Errorf("%v allocations each time", got)
			}
		})
	}
	ends, err := admin.ListEndOffsets(within(t), "cached", "flushed", "tail")
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]int64{"cached": 100 + 3*turns, "flushed": turns, "tail": turns} {
		if got := ends[topic][0].Offset; got != want {
			t.Errorf("%s holds %d records, %d were sent", topic, got, want)
		}
	}
}
