package storage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/vfs/vfstest"
)

// What one log does to its files, cut by a power loss at any operation on them. Where
// TestLog_AgreesWithASliceOfBatches asks what is left between two calls, here it is within them.
func TestLog_PowerLossAtAnyStep(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 30
	}
	known := []uint64{201, 1251} // a time index without its end; a snapshot overwritten in place
	for seed := range seeds {
		known = append(known, seed)
	}
	for _, seed := range known {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runSteps(t, seed, nil) })
	}
}

// TestLog_NeedsEachSyncAtAnyStep takes out one sync after the other.
func TestLog_NeedsEachSyncAtAnyStep(t *testing.T) {
	vfstest.DroppedSyncs(t, map[string]string{
		"sync checkpoint.WriteCleanShutdown .kafka_cleanshutdown.tmp":    "that the file is there is the mark, whatever is in it",
		"sync checkpoint.WriteOffsets replication-offset-checkpoint.tmp": "the high watermark of a single replica is what it has flushed",
		"sync segment.(*Segment).writeIndex #.index":                     "an entry counts only where it fits its batch; the index is rebuilt",
		"sync storage.(*Log).saveEpochs leader-epoch-checkpoint.tmp":     "a file that cannot be read makes recovery read every header again",
		"sync storage.replaceFile #.snapshot.tmp":                        "only Kafka reads it, and drops one whose checksum is wrong",
		"sync storage.syncFile #.snapshot":                               "only Kafka reads it, and drops one whose checksum is wrong",
		"sync storage.writeFile #.snapshot":                              "only Kafka reads it, and drops one whose checksum is wrong",
		"sync storage.writeFile #.producers":                             "the snapshot at the segment's base and a longer replay take its place",
		"syncdir checkpoint.WriteCleanShutdown a":                        "without the mark a start recovers",
		"syncdir checkpoint.WriteMetaProperties a":                       "the opening syncs the directory once more before anything is promised: RemoveCleanShutdown",
		"syncdir storage.(*Log).load <partition>":                        "TestRecover_DroppedLogStaysDropped misses it",
		"syncdir storage.(*Log).saveEpochs <partition>":                  "TestNode_NeedsEachSync misses it",
		"syncdir storage.(*Log).writeSnapshot <partition>":               "the snapshot at the segment's base and a longer replay take its place",
	}, runSteps)
}

// steps is one log whose disk is copied, as a power loss would leave it, at operations of its files.
type steps struct {
	testing.TB
	rng     *rand.Rand
	drop    func(vfs.Op) bool
	mem     *vfs.Mem
	m       *storage.Manager
	l       *storage.Log
	cfg     storage.LogConfig
	batches []record.Batch // all that were appended and not lost
	clients []*client
	durable int64  // flushed, or served after a start
	trim    int64  // deletion was asked for up to here
	trimmed int64  // and is done
	copies  int    // left to make
	copied  bool   // a copy is being looked at
	stale   bool   // what was not durable may read as anything that the disk ever held
	volume  bool   // the file system is synced as a whole where that is enough
	at      string // the operation before which it was made
}

// retentionMs of the log, and how old the old batches are.
const (
	stepsRetentionMs = 1000
	stepsOldMs       = 5000
)

func runSteps(t testing.TB, seed uint64, drop func(vfs.Op) bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 11))
	s := &steps{TB: t, rng: rng, drop: drop, mem: vfs.NewMem(seed), cfg: smallConfig()}
	s.cfg.SegmentBytes = int32(800 + rng.IntN(1500))
	s.cfg.IndexIntervalBytes = int32(rng.IntN(300))
	s.cfg.RetentionMs = stepsRetentionMs
	for i := range 3 {
		s.clients = append(s.clients, &client{id: int64(10 + i)})
	}
	s.volume = seed%3 == 1
	s.m, s.l = s.open(s.mem)
	for range 5 + rng.IntN(25) {
		s.copies = 6
		s.step()
		if rng.IntN(6) == 0 {
			s.nextLife()
		}
	}
}

func (s *steps) open(mem *vfs.Mem) (*storage.Manager, *storage.Log) {
	disk := vfs.NewFaulty(mem, func(op vfs.Op) error {
		if mem == s.mem && !s.copied {
			s.maybeCopy(op)
		}
		return nil
	})
	disk.DropSyncs(s.drop)
	config := managerConfig("/a")
	if s.volume {
		config.VolumeSyncLogs = 1
	}
	m, err := storage.Open(testDeps(disk), config)
	if err != nil {
		s.Fatal(err)
	}
	l, _, err := m.Open(testTP, testTopicID, [16]byte{}, s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	if err := l.Recover(s.Context()); err != nil {
		s.Fatal(err)
	}
	if err := l.Lead(l.LatestEpoch() + 1); err != nil {
		s.Fatal(err)
	}
	return m, l
}

// step does one thing to the log.
func (s *steps) step() {
	switch s.rng.IntN(9) {
	case 0, 1, 2:
		for range 1 + s.rng.IntN(8) {
			s.append()
		}
	case 3, 4:
		flush(s, s.l)
		s.durable = s.l.FlushedOffset()
		s.l.SetHighWatermark(s.durable)
	case 5:
		checkpointAll(s, s.m)
	case 6:
		start, hw := s.l.StartOffset(), s.l.HighWatermark()
		s.trim = start + s.rng.Int64N(hw-start+1)
		if s.rng.IntN(2) == 0 {
			s.trim = hw
		}
		if err := s.l.DeleteRecords(s.trim); err != nil {
			s.Fatal(err)
		}
		s.trimmed = s.trim
		s.m.ApplyRetention()
	case 7:
		s.m.ApplyRetention()
	case 8:
		if err := s.m.CleanShutdown(9); err != nil {
			s.Fatal(err)
		}
		s.durable = s.l.EndOffset()
		s.copies = 0
		s.m, s.l = s.open(s.mem)
	}
}

func (s *steps) append() {
	var c *client
	if i := s.rng.IntN(4); i < len(s.clients) {
		c = s.clients[i]
	}
	ts := int64(wallMs)
	if s.rng.IntN(2) == 0 {
		ts -= stepsOldMs
	}
	values := make([]string, 1+s.rng.IntN(3))
	for i := range values {
		values[i] = string(bytes.Repeat([]byte{'v'}, s.rng.IntN(200)))
	}
	b := batchOf(s, c, ts, values...)
	appendOne(s, s.l, b)
	s.batches = append(s.batches, b)
}

// nextLife lets the process, or the machine, end between two steps.
func (s *steps) nextLife() {
	killed := s.rng.IntN(3) == 0
	if killed {
		s.mem = s.mem.KillProcess()
	} else {
		luck := s.luck()
		luck.StaleBlocks = false // what they show could not be told from what was written
		s.mem = s.mem.Crash(luck)
	}
	end := s.batchesEnd()
	s.copies = 0
	s.m, s.l = s.open(s.mem)
	if killed && s.l.EndOffset() != end {
		s.Fatalf("the log ends at %d after the process was killed, it had %d", s.l.EndOffset(), end)
	}
	s.check(s.m, s.l)
	kept := s.batches[:0]
	for _, b := range s.batches {
		if b.LastOffset() < s.l.EndOffset() {
			kept = append(kept, b)
		}
	}
	s.batches = kept
	s.durable = max(s.durable, s.l.FlushedOffset())
	for _, c := range s.clients {
		c.seq = 0
		if last := lastBatches(s.batches, c.id); len(last) > 0 {
			c.seq = record.AddSequence(last[len(last)-1].LastSequence(), 1)
		}
	}
}

func (s *steps) batchesEnd() int64 {
	if len(s.batches) == 0 {
		return 0
	}
	return s.batches[len(s.batches)-1].LastOffset() + 1
}

func (s *steps) luck() vfs.CrashOptions {
	return vfs.CrashOptions{
		UnsyncedDataPercent: []int{0, 30, 50, 80, 100}[s.rng.IntN(5)], TornWrites: s.rng.IntN(2) == 0, StaleBlocks: s.rng.IntN(2) == 0, Rand: s.rng,
	}
}

// maybeCopy looks at what a power loss before op would leave.
func (s *steps) maybeCopy(op vfs.Op) {
	switch op.Kind {
	case vfs.OpRename, vfs.OpSync, vfs.OpSyncVolume, vfs.OpSyncDir, vfs.OpRemove, vfs.OpCreate, vfs.OpWrite, vfs.OpTruncate:
	default:
		return
	}
	if s.copies == 0 || s.rng.IntN(3) > 0 {
		return
	}
	s.copies--
	s.at = fmt.Sprint(op)
	luck := s.luck()
	s.copied, s.stale = true, luck.StaleBlocks
	defer func() { s.copied, s.stale = false, false }()
	m, l := s.open(s.mem.CrashClone(luck))
	s.check(m, l)
}

// check holds a log that was opened after a crash against what was promised, before and after retention.
func (s *steps) check(m *storage.Manager, l *storage.Log) {
	s.Helper()
	if l.EndOffset() < s.durable || l.EndOffset() > max(s.batchesEnd(), s.durable)+64 {
		s.Fatalf("the log ends at %d, %d were durable", l.EndOffset(), s.durable)
	}
	if l.StartOffset() < s.trimmed {
		s.Fatalf("the log begins at %d, deletion up to %d was done", l.StartOffset(), s.trimmed)
	}
	s.compare(l)
	l.SetHighWatermark(l.FlushedOffset())
	m.ApplyRetention()
	s.compare(l)
	if s.stale && l.EndOffset() > s.durable {
		return
	}
	for _, c := range s.clients {
		for _, b := range lastBatches(s.batches, c.id) {
			if b.LastOffset() >= l.EndOffset() {
				continue
			}
			a, err := l.AppendAsLeader([]record.Batch{bytes.Clone(b)}, storage.LeaderAppend{LeaderEpoch: l.LatestEpoch(), NowMs: wallMs})
			if err != nil || !a.Duplicate || a.FirstOffset != b.BaseOffset() {
				s.Fatalf("retry of producer %d at %d: %+v, %v; copied before %s; the log is %d..%d, durable %d, trim %d", c.id, b.BaseOffset(), a, err, s.at, l.StartOffset(), l.EndOffset(), s.durable, s.trim)
			}
		}
	}
}

// compare reads a log: the batches as they were written, and all that are not old, or asked to be deleted.
func (s *steps) compare(l *storage.Log) {
	s.Helper()
	found := map[int64]record.Batch{}
	for _, b := range readAll(s, l, 700) {
		found[b.BaseOffset()] = b
	}
	for _, b := range s.batches {
		got, there := found[b.BaseOffset()]
		switch old := b.BaseTimestamp() < wallMs; {
		case s.stale && b.LastOffset() >= s.durable:
		case there && !bytes.Equal(got, b):
			s.Fatalf("the batch at offset %d is not what was written", b.BaseOffset())
		case !there && b.LastOffset() < s.durable && b.LastOffset() >= s.trim && !old:
			s.Fatalf("the batch at offset %d is lost, the log is %d..%d", b.BaseOffset(), l.StartOffset(), l.EndOffset())
		}
	}
}

// lastBatches are the up to five last of a producer.
func lastBatches(batches []record.Batch, id int64) []record.Batch {
	n := naive{batches: batches}
	return n.lastOf(id)
}
