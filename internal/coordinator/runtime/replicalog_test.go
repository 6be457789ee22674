package runtime_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
)

// fakePartition keeps batches as a replica's log does.
type fakePartition struct {
	bytes []byte
	start int64
	end   int64
	err   error
}

func (p *fakePartition) AppendInternal(epoch int32, batch record.Batch, committed func(error)) (storage.Appended, error) {
	if p.err != nil {
		return storage.Appended{}, p.err
	}
	if batch.PartitionLeaderEpoch() != epoch || !batch.CheckCRC() {
		return storage.Appended{}, errors.New("a bad batch")
	}
	batch.SetBaseOffset(p.end)
	p.bytes = append(p.bytes, batch...)
	p.end += int64(batch.Count())
	committed(nil)
	return storage.Appended{LastOffset: p.end - 1, EndOffset: p.end}, nil
}

func (p *fakePartition) AwaitCommit(_ int64, committed func(error)) { committed(p.err) }
func (p *fakePartition) StartOffset() int64                         { return p.start }
func (p *fakePartition) EndOffset() int64                           { return p.end }
func (p *fakePartition) MaxBatchBytes() int                         { return 1 << 20 }

func (p *fakePartition) ReadLocal(offset int64, buf []byte) ([]byte, error) {
	at, size := 0, 0
	for rest := p.bytes; len(rest) > 0; {
		batch, next, err := record.ParseBatch(rest)
		if err != nil {
			return nil, err
		}
		switch {
		case batch.LastOffset() < offset:
			at += batch.Size()
		case size > 0 && size+batch.Size() > len(buf):
			return append(buf[:0], p.bytes[at:at+size]...), p.err
		default:
			size += batch.Size()
		}
		rest = next
	}
	return append(buf[:0], p.bytes[at:at+size]...), p.err
}

func readAll(l runtime.Log, from int64) (text string, chunks int, err error) {
	var b strings.Builder
	_, end := l.Bounds()
	for next := from; next < end; chunks++ {
		next, err = l.Read(next, func(rec coordinator.Record) error {
			fmt.Fprintf(&b, "%s=%s@%d ", rec.Key, rec.Value, rec.TimestampMs)
			return nil
		})
		if err != nil {
			break
		}
	}
	return strings.TrimSpace(b.String()), chunks, err
}

func TestReplicaLog_ReadsWhatItWrote(t *testing.T) {
	p := &fakePartition{start: 10, end: 10}
	l := runtime.NewReplicaLog(p, 64<<10)
	end, err := l.Append(3, []coordinator.Record{
		{Key: []byte("a"), Value: []byte("1"), TimestampMs: 5}, {Key: []byte("b"), TimestampMs: 6},
	}, func(error) {})
	if err != nil || end != 12 {
		t.Fatalf("Append = %d, %v", end, err)
	}
	if _, err := l.Append(3, []coordinator.Record{{Key: []byte("a"), Value: []byte{}, TimestampMs: 7}}, func(error) {}); err != nil {
		t.Fatal(err)
	}
	if got, _, err := readAll(l, 10); got != "a=1@5 b=@6 a=@7" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if got, _, err := readAll(l, 11); got != "b=@6 a=@7" || err != nil {
		t.Errorf("read from within a batch %q, %v", got, err)
	}
	var tombstones []bool
	_, err = l.Read(11, func(rec coordinator.Record) error {
		tombstones = append(tombstones, rec.Value == nil)
		return nil
	})
	if fmt.Sprint(tombstones) != "[true false]" || err != nil {
		t.Errorf("tombstones %v, %v; want the first only", tombstones, err)
	}
}

func TestReplicaLog_ReadsInChunks(t *testing.T) {
	p := &fakePartition{}
	l := runtime.NewReplicaLog(p, 64<<10)
	for range 10 {
		if _, err := l.Append(0, []coordinator.Record{{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 30_000)}}, func(error) {}); err != nil {
			t.Fatal(err)
		}
	}
	if _, chunks, err := readAll(l, 0); chunks != 5 || err != nil {
		t.Errorf("%d chunks, %v; want 5 of two batches", chunks, err)
	}
}

func TestReplicaLog_Faults(t *testing.T) {
	p := &fakePartition{}
	l := runtime.NewReplicaLog(p, 64<<10)
	if _, err := l.Append(0, nil, nil); !errors.Is(err, record.ErrEmpty) {
		t.Errorf("a batch of nothing: %v, want ErrEmpty", err)
	}
	if _, err := l.Append(0, []coordinator.Record{{Key: []byte("k")}}, func(error) {}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if _, err := l.Read(0, func(coordinator.Record) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Read hides what visit says: %v", err)
	}
	p.bytes[len(p.bytes)-1] ^= 1
	if _, _, err := readAll(l, 0); kafkaerr.CodeOf(err) != kafkaerr.CorruptMessage {
		t.Errorf("a flipped bit: %v, want CORRUPT_MESSAGE", err)
	}
	p.err = kafkaerr.NotLeaderOrFollower
	if _, err := l.Append(0, []coordinator.Record{{Key: []byte("k")}}, nil); kafkaerr.CodeOf(err) != kafkaerr.NotLeaderOrFollower {
		t.Errorf("Append: %v", err)
	}
	if _, _, err := readAll(l, 0); !errors.Is(err, p.err) {
		t.Errorf("Read: %v", err)
	}
}
