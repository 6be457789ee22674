package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
	"pgregory.net/rapid"
)

// naive is a log as a slice of batches. It keeps everything that was ever appended and not cut off, also
// what lies before start: the producers' last batches may be there.
type naive struct {
	batches    []record.Batch
	start, end int64
	flushed    int64 // what the log said is flushed
	durable    int64 // what it ever said, and truncations left of it
	hw         int64
	// ghosts: a truncation was not flushed yet, so a power loss may bring back what it cut off.
	ghosts  bool
	clients []*client
}

func (n *naive) cut(to int64) {
	for len(n.batches) > 0 && n.batches[len(n.batches)-1].LastOffset() >= to {
		b := n.batches[len(n.batches)-1]
		n.batches = n.batches[:len(n.batches)-1]
		to = min(to, b.BaseOffset())
	}
	n.end, n.hw, n.flushed, n.durable = to, min(n.hw, to), min(n.flushed, to), min(n.durable, to)
}

// readable are the batches that a reader from start sees.
func (n *naive) readable() []record.Batch {
	for i, b := range n.batches {
		if b.LastOffset() >= n.start {
			return n.batches[i:]
		}
	}
	return nil
}

// lastOf are the up to five last batches of a producer's newest epoch.
func (n *naive) lastOf(id int64) []record.Batch {
	var last []record.Batch
	for _, b := range n.batches {
		if b.ProducerID() != id {
			continue
		}
		if len(last) > 0 && last[0].ProducerEpoch() != b.ProducerEpoch() {
			last = nil
		}
		if last = append(last, b); len(last) > 5 {
			last = last[1:]
		}
	}
	return last
}

// resume makes the clients go on from what the log has: as they do whose unacknowledged batches are lost.
func (n *naive) resume() {
	for _, c := range n.clients {
		c.seq = 0
		if last := n.lastOf(c.id); len(last) > 0 {
			b := last[len(last)-1]
			c.epoch, c.seq = b.ProducerEpoch(), record.AddSequence(b.LastSequence(), 1)
		}
	}
}

func smallConfig() storage.LogConfig {
	cfg := storage.DefaultLogConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes, cfg.FileDeleteDelayMs = 1500, 200, 0
	return cfg
}

// run is one rapid case: a log beside its model.
type run struct {
	mem   *vfs.Mem
	m     *storage.Manager
	l     *storage.Log
	cfg   storage.LogConfig
	naive naive
	epoch int32
	rng   *rand.Rand
	ts    int64
}

func (r *run) open(t *rapid.T, tb testing.TB) {
	r.m = openManager(tb, r.mem, "/a")
	l, _, err := r.m.Open(testTP, testTopicID, [16]byte{}, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(tb.Context()); err != nil {
		t.Fatal(err)
	}
	r.l = l
}

func (r *run) lead(t *rapid.T) {
	r.epoch++
	if err := r.l.Lead(r.epoch); err != nil {
		t.Fatal(err)
	}
}

// compare checks that the log reads as the model says.
func (r *run) compare(t *rapid.T, tb testing.TB, maxBytes int) {
	n := &r.naive
	if r.l.EndOffset() != n.end || r.l.StartOffset() != n.start || r.l.FlushedOffset() < n.flushed {
		t.Fatalf("log %d..%d flushed %d, model %d..%d flushed %d", r.l.StartOffset(), r.l.EndOffset(), r.l.FlushedOffset(), n.start, n.end, n.flushed)
	}
	got, want := readAll(tb, r.l, maxBytes), n.readable()
	if len(got) != len(want) {
		t.Fatalf("read %d batches, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("batch %d reads\n%x, want\n%x", i, []byte(got[i]), []byte(want[i]))
		}
	}
}

// retryAll sends every batch again that a producer may still have in flight: each is known.
func (r *run) retryAll(t *rapid.T) {
	for _, c := range r.naive.clients {
		for _, b := range r.naive.lastOf(c.id) {
			again := bytes.Clone(b)
			a, err := r.l.AppendAsLeader([]record.Batch{again}, storage.LeaderAppend{LeaderEpoch: r.epoch, NowMs: wallMs})
			if err != nil || !a.Duplicate || a.FirstOffset != b.BaseOffset() || a.LastOffset != b.LastOffset() {
				t.Fatalf("retry of producer %d sequence %d at offset %d: %+v, %v", c.id, b.BaseSequence(), b.BaseOffset(), a, err)
			}
		}
	}
}

// adopt takes over what a crash left, after checking that it may be so.
func (r *run) adopt(t *rapid.T, tb testing.TB) {
	n := &r.naive
	got := readAll(tb, r.l, 1<<20)
	end := r.l.EndOffset()
	if end < n.durable {
		t.Fatalf("the log ends at %d after a crash, %d was flushed", end, n.durable)
	}
	if !n.ghosts && end > n.end {
		t.Fatalf("the log ends at %d after a crash, it had %d", end, n.end)
	}
	// The start may come back lower, where a deletion was not durable; never higher than it was.
	if r.l.StartOffset() > n.start {
		t.Fatalf("the log starts at %d after a crash, it did at %d", r.l.StartOffset(), n.start)
	}
	byOffset := map[int64]record.Batch{}
	for _, b := range n.batches {
		byOffset[b.BaseOffset()] = b
	}
	var kept []record.Batch
	for _, b := range n.batches {
		if b.LastOffset() < r.l.StartOffset() {
			kept = append(kept, b)
		}
	}
	for _, b := range got {
		if want := byOffset[b.BaseOffset()]; !bytes.Equal(b, want) && (!n.ghosts || b.LastOffset() < n.durable) {
			t.Fatalf("offset %d reads otherwise after a crash (flushed %d)", b.BaseOffset(), n.durable)
		}
	}
	for _, b := range got {
		t.Logf("left: offset %d, producer %d, sequence %d, epoch %d", b.BaseOffset(), b.ProducerID(), b.BaseSequence(), b.PartitionLeaderEpoch())
	}
	t.Logf("left: %d..%d, %d batches before the start", r.l.StartOffset(), end, len(kept))
	n.batches = append(kept, got...)
	n.start, n.end = r.l.StartOffset(), end
	n.flushed, n.durable = r.l.FlushedOffset(), r.l.FlushedOffset()
	n.hw = r.l.HighWatermark()
	n.ghosts = false
	n.resume()
}

func TestLog_AgreesWithASliceOfBatches(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { runModel(rt, t) })
}

func runModel(rt *rapid.T, tb *testing.T) {
	seed := rapid.Uint64().Draw(rt, "seed")
	r := &run{mem: vfs.NewMem(seed), cfg: smallConfig(), rng: rand.New(rand.NewPCG(seed, 1)), ts: 1000}
	for i := range 3 {
		r.naive.clients = append(r.naive.clients, &client{id: int64(100 + i)})
	}
	r.open(rt, tb)
	r.lead(rt)
	n := &r.naive
	rt.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(t, "batches") {
				var c *client
				if i := rapid.IntRange(0, 3).Draw(t, "client"); i > 0 {
					c = n.clients[i-1]
				}
				values := make([]string, rapid.IntRange(1, 4).Draw(t, "records"))
				for i := range values {
					values[i] = fmt.Sprint("v", r.rng.Uint64N(1<<rapid.IntRange(1, 60).Draw(t, "size")))
				}
				r.ts += r.rng.Int64N(5)
				b := batchOf(tb, c, r.ts, values...)
				a, err := r.l.AppendAsLeader([]record.Batch{b}, storage.LeaderAppend{LeaderEpoch: r.epoch, NowMs: wallMs})
				t.Logf("append: offset %d, producer %d, sequence %d", b.BaseOffset(), b.ProducerID(), b.BaseSequence())
				if err != nil || a.Duplicate || a.FirstOffset != n.end {
					t.Fatalf("append at %d: %+v, %v", n.end, a, err)
				}
				n.batches = append(n.batches, b)
				n.end = b.LastOffset() + 1
			}
		},
		"out of order": func(t *rapid.T) {
			c := *n.clients[0]
			if len(n.lastOf(c.id)) == 0 {
				t.Skip()
			}
			c.seq += 2
			if _, err := r.l.AppendAsLeader([]record.Batch{batchOf(tb, &c, 1, "x")}, storage.LeaderAppend{LeaderEpoch: r.epoch}); !errors.Is(err, storage.ErrOutOfOrderSequence) {
				t.Fatalf("a gap in the sequence: %v", err)
			}
		},
		"flush": func(t *rapid.T) {
			flush(tb, r.l)
			n.flushed, n.durable, n.ghosts = n.end, n.end, false
		},
		"checkpoint": func(t *rapid.T) { checkpointAll(tb, r.m) },
		"high watermark": func(t *rapid.T) {
			// As with write.caching=auto on one node: what is committed is flushed. So only durable records
			// are ever deleted, and the model knows what a power loss leaves of the rest.
			r.l.SetHighWatermark(n.durable)
			n.hw = max(n.hw, n.durable)
		},
		"new epoch": func(t *rapid.T) { r.lead(t) },
		"truncate": func(t *rapid.T) {
			to := rapid.Int64Range(max(n.start, n.end-20), n.end).Draw(t, "to")
			if to == n.end {
				t.Skip()
			}
			if err := r.l.Truncate(to); err != nil {
				t.Fatal(err)
			}
			n.cut(to)
			n.ghosts = true
			n.start = min(n.start, n.end)
			n.resume()
			r.lead(t)
		},
		"delete records": func(t *rapid.T) {
			before := rapid.Int64Range(n.start, n.hw).Draw(t, "before")
			if err := r.l.DeleteRecords(before); err != nil {
				t.Fatal(err)
			}
			n.start = before
		},
		"retention": func(t *rapid.T) {
			cfg := r.cfg
			cfg.RetentionBytes = 3000
			r.l.SetConfig(cfg)
			r.m.ApplyRetention()
			r.l.SetConfig(r.cfg)
			if r.l.StartOffset() < n.start || r.l.StartOffset() > n.hw {
				t.Fatalf("retention moved the start from %d to %d, the high watermark is %d", n.start, r.l.StartOffset(), n.hw)
			}
			n.start = r.l.StartOffset()
		},
		"kill": func(t *rapid.T) {
			r.mem = r.mem.KillProcess()
			start := n.start
			r.open(t, tb)
			if r.l.EndOffset() != n.end {
				t.Fatalf("the log ends at %d after the process was killed, it had %d", r.l.EndOffset(), n.end)
			}
			n.start = r.l.StartOffset()
			if n.start > start {
				t.Fatalf("the start moved from %d to %d", start, n.start)
			}
			n.flushed, n.hw = min(n.flushed, r.l.FlushedOffset()), min(n.durable, r.l.HighWatermark())
			r.lead(t)
		},
		"power loss": func(t *rapid.T) {
			r.mem = r.mem.Crash(vfs.CrashOptions{
				UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "percent"),
				TornWrites:          rapid.Bool().Draw(t, "torn"), StaleBlocks: rapid.Bool().Draw(t, "stale"),
			})
			r.open(t, tb)
			r.adopt(t, tb)
			r.lead(t)
		},
		"clean restart": func(t *rapid.T) {
			if err := r.m.CleanShutdown(9); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "power off") {
				r.mem = r.mem.Crash(vfs.CrashOptions{})
			}
			r.open(t, tb)
			n.flushed, n.durable, n.ghosts = n.end, n.end, false
			r.lead(t)
		},
		"": func(t *rapid.T) {
			r.compare(t, tb, []int{1, 300, 1 << 20}[r.rng.IntN(3)])
			r.retryAll(t)
		},
	})
}
