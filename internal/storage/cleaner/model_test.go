package cleaner_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/cleaner"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/vfs/vfstest"
)

// history is what was ever written: what a reader may see, and must learn from it.
type history struct {
	entries   []entry // by offset, without gaps
	producers []*producer
}

// check compares a log, possibly compacted and possibly after a crash, with what was written. No round came
// past untouched.
func (h *history) check(t testing.TB, l *storage.Log, untouched int64, maxBytes int) {
	t.Helper()
	if l.EndOffset() != int64(len(h.entries)) || l.StartOffset() != 0 {
		t.Fatalf("the log is %d..%d, want 0..%d", l.StartOffset(), l.EndOffset(), len(h.entries))
	}
	got := readEntries(t, l, maxBytes)
	live := map[string]entry{}
	last := int64(-1)
	for _, e := range got {
		if e.offset <= last {
			t.Fatalf("offset %d after %d", e.offset, last)
		}
		last = e.offset
		if want := h.entries[e.offset]; e != want {
			t.Fatalf("read %v, written was %v", e, want)
		}
		live[e.key] = e
	}
	for key, want := range h.latest() {
		e, there := live[key]
		switch {
		case there && e.offset == want.offset:
		case !there && want.deleted:
		default:
			t.Fatalf("the last of key %s reads %v (found %v), written was %v", key, e, there, want)
		}
	}
	seen := map[int64]bool{}
	for _, e := range got {
		seen[e.offset] = true
	}
	for _, e := range h.entries[untouched:] {
		if !seen[e.offset] {
			t.Fatalf("%v is gone, no round came past %d", e, untouched)
		}
	}
}

func (h *history) latest() map[string]entry {
	latest := map[string]entry{}
	for _, e := range h.entries {
		latest[e.key] = e
	}
	return latest
}

// checkClean says that rounds have left one record per key below the cleaned offset, and touched nothing above.
func (h *history) checkClean(t testing.TB, l *storage.Log) {
	t.Helper()
	cleaned := l.CleanedOffset()
	seen := map[string]entry{}
	above := int64(0)
	for _, e := range readEntries(t, l, 1<<20) {
		if e.offset >= cleaned {
			above++
			continue
		}
		if other, twice := seen[e.key]; twice {
			t.Fatalf("%v and %v are both there, compacted is up to %d", other, e, cleaned)
		}
		seen[e.key] = e
	}
	if above != l.EndOffset()-cleaned {
		t.Fatalf("%d records from the cleaned offset %d to the end %d", above, cleaned, l.EndOffset())
	}
}

// retry sends the last batch of each producer again: it is known.
func (h *history) retry(t testing.TB, l *storage.Log) {
	t.Helper()
	for _, p := range h.producers {
		if p.last == nil {
			continue
		}
		a, err := l.AppendAsLeader([]record.Batch{append(record.Batch(nil), p.last...)}, storage.LeaderAppend{LeaderEpoch: l.LatestEpoch(), NowMs: 1})
		if err != nil || !a.Duplicate {
			t.Fatalf("retry of producer %d: %+v, %v", p.id, a, err)
		}
	}
}

// cuts are disks as power losses at single operations would leave them.
type cuts struct {
	mem   *vfs.Mem
	rng   *rand.Rand
	armed bool
	every int
	disks []cut
}

type cut struct {
	at   vfs.Op
	disk *vfs.Mem
}

func (c *cuts) decide(op vfs.Op) error {
	switch op.Kind {
	case vfs.OpRename, vfs.OpSync, vfs.OpSyncDir, vfs.OpRemove, vfs.OpCreate, vfs.OpWrite:
	default:
		return nil
	}
	every := c.every
	if op.Kind == vfs.OpSyncDir {
		every = min(every, 4) // where most is in doubt
	}
	if c.armed && len(c.disks) < 16 && c.rng.IntN(every) == 0 {
		c.disks = append(c.disks, cut{op, c.mem.CrashClone(vfs.CrashOptions{
			UnsyncedDataPercent: []int{0, 30, 50, 70, 100}[c.rng.IntN(5)], TornWrites: c.rng.IntN(2) == 0, StaleBlocks: c.rng.IntN(2) == 0, Rand: c.rng,
		})})
	}
	return nil
}

// Random histories, segment sizes, memory and clocks; a power loss at every step of a round; what is left
// always reads as what was written, and can be compacted on.
func TestCleaner_KeepsTheLastOfEachKeyThroughCrashes(t *testing.T) {
	cases := uint64(60)
	if testing.Short() {
		cases = 15
	}
	for seed := range cases {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, seed, nil) })
	}
}

func runModel(t testing.TB, seed uint64, drop func(vfs.Op) bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	mem := vfs.NewMem(seed)
	c := &cuts{mem: mem, rng: rng, every: 1 + rng.IntN(40)}
	cfg := compacted()
	cfg.SegmentBytes = int32(400 + rng.IntN(3000))
	cfg.DeleteRetentionMs = int64(rng.IntN(3)) * 500
	settings := cleaner.Config{DedupeBufferBytes: []int64{100, 300, 1000, 1 << 20}[rng.IntN(4)]}
	disk := vfs.NewFaulty(mem, c.decide)
	disk.DropSyncs(drop)
	n := open(t, disk, 1000, settings)
	l := n.log(t, tp, cfg)
	h := &history{}
	for i := range 3 {
		h.producers = append(h.producers, &producer{id: int64(10 + i)})
	}
	keys := 1 + rng.IntN(40)
	for range 1 + rng.IntN(4) {
		for range rng.IntN(60) {
			batch := make([]entry, 1+rng.IntN(5))
			for i := range batch {
				batch[i] = entry{ts: n.nowMs, key: fmt.Sprint("k", rng.IntN(keys)), value: strings.Repeat("v", rng.IntN(80)), deleted: rng.IntN(4) == 0}
				if batch[i].deleted {
					batch[i].value = ""
				}
			}
			var p *producer
			if i := rng.IntN(5); i < len(h.producers) {
				p = h.producers[i]
			}
			put(t, l, p, []record.Codec{record.None, record.None, record.None, record.LZ4}[rng.IntN(4)], batch)
			h.entries = append(h.entries, batch...)
		}
		n.settle(t, l)
		n.nowMs += int64(rng.IntN(1000))
		c.armed = true
		n.cleanAll(t)
		c.armed = false
		h.check(t, l, l.CleanedOffset(), 1+rng.IntN(2000))
		h.checkClean(t, l)
		h.retry(t, l)
		for _, cut := range c.disks {
			// The start after the power loss may be cut short by another.
			again := &cuts{mem: cut.disk, rng: rng, armed: true, every: 4}
			disk := vfs.NewFaulty(cut.disk, again.decide)
			disk.DropSyncs(drop)
			after := open(t, disk, n.nowMs+int64(rng.IntN(2000)), settings)
			recovered := after.log(t, tp, cfg)
			again.armed = false
			crashed(t, cut, h, l.CleanedOffset(), after, recovered, rng)
			if len(again.disks) > 0 {
				cut = again.disks[rng.IntN(len(again.disks))]
				after = open(t, cut.disk, n.nowMs+int64(rng.IntN(2000)), settings)
				crashed(t, cut, h, l.CleanedOffset(), after, after.log(t, tp, cfg), rng)
			}
		}
		c.disks = nil
	}
	if len(h.entries) == 0 {
		return
	}
	// Without any snapshot, what stays of the log still tells where each producer stands.
	left := mem.Crash(vfs.CrashOptions{})
	for _, name := range files(t, left) {
		if strings.HasSuffix(name, ".snapshot") || strings.HasSuffix(name, ".producers") {
			if err := left.Remove("/a/" + tp.String() + "/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.retry(t, open(t, left, n.nowMs, settings).log(t, tp, cfg))
}

// TestCleaner_NeedsEachSync takes out one sync after the other, of those that compaction makes.
func TestCleaner_NeedsEachSync(t *testing.T) {
	ours := regexp.MustCompile(`Rewrite|completeSwaps|cleaned|cleaner-offset`)
	vfstest.DroppedSyncs(t, map[string]string{
		"sync segment.(*Segment).writeIndex #.index.cleaned":     "an entry counts only where it fits its batch; the index is rebuilt",
		"sync segment.(*Segment).writeIndex #.timeindex.cleaned": "TestLog_NeedsEachSyncAtAnyStep misses the same sync of a segment that is not compacted",
		"syncdir storage.(*Rewrite).finish <partition>":          "promote syncs the directory before anything is replaced; it counts only where a rewrite grew past one segment of 2 GiB",
	}, func(t testing.TB, seed uint64, drop func(vfs.Op) bool) {
		runModel(t, seed, func(op vfs.Op) bool { return ours.MatchString(vfstest.Site(op)) && drop(op) })
	})
}

func crashed(t testing.TB, cut cut, h *history, untouched int64, n *node, l *storage.Log, rng *rand.Rand) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("after a power loss before %v", cut.at)
		}
	}()
	h.check(t, l, untouched, 1+rng.IntN(2000))
	h.retry(t, l)
	for _, name := range files(t, cut.disk) {
		if strings.HasSuffix(name, ".cleaned") || strings.HasSuffix(name, ".swap") {
			t.Fatalf("recovery left %s", name)
		}
	}
	n.settle(t, l)
	n.cleanAll(t)
	h.check(t, l, l.CleanedOffset(), 1<<20)
	h.checkClean(t, l)
}
