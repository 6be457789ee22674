package produce_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/wire"
)

// A producer that hangs up while its records wait for the disk leaves no waiter behind, and its records in the log.
func TestProduce_HangUpEndsTheWait(t *testing.T) {
	whole := func() []byte {
		var req wire.ProduceRequest
		req.Reset()
		req.Acks, req.TimeoutMs = -1, 1<<31-1
		topic := wire.Add(&req.TopicData)
		topic.Name = []byte("t")
		for i := range int32(2) {
			p := wire.Add(&topic.PartitionData)
			p.Index, p.Records = i, batchOf(t, 100, record.None)
		}
		return encode(t, &req, 8)
	}()
	for _, tc := range []struct {
		name        string
		streamAbove int
		frame       []byte
		appended    int64 // batches in all
	}{
		{"gathered", 1 << 20, whole, 2},
		{"streamed", 8, whole, 2},
		{"streamed in part", 8, whole[:len(whole)-20], 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stalled atomic.Bool
			disk := make(chan struct{})
			b := startBrokerOn(t, vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
				if op.Kind == vfs.OpSync && stalled.Load() {
					<-disk
				}
				return nil
			}), tc.streamAbove)
			defer b.stop()
			defer close(disk) // before the broker stops, which waits for it
			if b.send(append([]byte(nil), whole...), 1<<20) == nil {
				t.Fatal("a disk that works does not answer")
			}
			before := b.end()
			stalled.Store(true)
			if _, err := b.conn.Write(tc.frame); err != nil {
				t.Fatal(err)
			}
			await(t, "the batches are appended", func() bool { return b.end()-before == tc.appended && b.replicas.waiting.Load() > 0 })
			b.conn.Close()
			await(t, "nobody waits", func() bool { return b.replicas.waiting.Load() == 0 })
			if got := b.end() - before; got != tc.appended {
				t.Errorf("%d batches are in the logs, want %d", got, tc.appended)
			}
		})
	}
}

// end returns how many records the logs hold.
func (b *broker) end() (sum int64) {
	for i := range int32(2) {
		r, err := b.replicas.ReplicaNamed("t", i)
		if err != nil {
			b.t.Fatal(err)
		}
		sum += r.EndOffset()
	}
	return sum
}

func await(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !met(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come that %s", what)
		}
	}
}
