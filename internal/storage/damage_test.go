package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/vfs"
)

// Endings of a process, and what the next one finds.
var endings = []struct {
	name string
	end  func(testing.TB, *storage.Manager, *vfs.Mem) *vfs.Mem
}{
	{"killed", func(_ testing.TB, _ *storage.Manager, mem *vfs.Mem) *vfs.Mem { return mem.KillProcess() }},
	{"power lost", func(_ testing.TB, _ *storage.Manager, mem *vfs.Mem) *vfs.Mem {
		return mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100})
	}},
	{"shut down", func(t testing.TB, m *storage.Manager, mem *vfs.Mem) *vfs.Mem {
		if err := m.CleanShutdown(1); err != nil {
			t.Fatal(err)
		}
		return mem
	}},
}

// readEach reads every offset of the log on its own, and returns those that no sound batch was read for.
func readEach(t *testing.T, l *storage.Log) (damaged []int64) {
	t.Helper()
	for at := l.StartOffset(); at < l.EndOffset(); at++ {
		s, err := l.Read(at, 1, true, l.EndOffset())
		if errors.Is(err, storage.ErrCorruptSegment) && !errors.Is(err, storage.ErrOffline) {
			damaged = append(damaged, at)
			continue
		}
		if err != nil {
			t.Fatalf("read %d: %v", at, err)
		}
		buf := make([]byte, s.Size)
		if _, err := s.CopyTo(buf); err != nil {
			t.Fatalf("read %d: %v", at, err)
		}
		s.Release()
		if b, _, err := record.ParseBatch(buf); err != nil || !b.CheckCRC() || b.BaseOffset() != at {
			damaged = append(damaged, at)
		}
	}
	return damaged
}

const damagedLogBatches = 60

// writeFlushed writes a log whose recovery point is its end, ends the process and flips a byte of a batch. It
// returns the damaged file and what it holds.
func writeFlushed(t *testing.T, cfg storage.LogConfig, end func(testing.TB, *storage.Manager, *vfs.Mem) *vfs.Mem, batch, at int64) (mem *vfs.Mem, file string, rotten []byte) {
	t.Helper()
	mem = vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	l := createLog(t, m, cfg)
	for i := range int64(damagedLogBatches) {
		appendOne(t, l, batchOf(t, nil, 1000+i, strings.Repeat("x", 100)))
	}
	flush(t, l)
	checkpointAll(t, m)
	s, err := l.Read(batch, 1, true, damagedLogBatches)
	if err != nil {
		t.Fatal(err)
	}
	file, position := s.File.Name(), s.Position
	s.Release()
	mem = end(t, m, mem)
	flip(t, mem, file, position+at)
	return mem, file, readFile(t, mem, file)
}

// What rots below the recovery point is kept, and so are the records behind it: one batch cannot be read, and
// the log goes on at its end. Only what the start reads is found by it, the rest by who reads it.
func TestDamage_BelowTheRecoveryPointIsKept(t *testing.T) {
	const baseOffset, length, leaderEpoch = 0, 8, 13
	indexed := smallConfig()
	indexed.SegmentBytes = 1 << 30
	configs := map[string]storage.LogConfig{"one segment": storage.DefaultLogConfig(), "small segments": smallConfig(), "indexed": indexed}
	const last = damagedLogBatches - 1
	for _, ending := range endings {
		for name, cfg := range configs {
			for _, at := range []int64{baseOffset, baseOffset + 7, length, length + 3, leaderEpoch, 16, 18, 70} {
				for _, batch := range []int64{0, 1, 31, last - 1, last} {
					switch {
					case batch == last && at <= baseOffset+7:
						continue // nothing behind it tells that this is not its offset
					case batch == last && (at == length || at == length+3) && ending.name != "shut down":
						continue // see below
					}
					for _, epochsLost := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s/%s/byte %d of %d/%v", ending.name, name, at, batch, epochsLost), func(t *testing.T) {
							mem, file, rotten := writeFlushed(t, cfg, ending.end, batch, at)
							if epochsLost {
								flip(t, mem, "/a/orders-3/leader-epoch-checkpoint", 0)
							}
							m, said, places := openListening(t, mem)
							l := recoverLog(t, m, cfg)
							if l.StartOffset() != 0 || l.EndOffset() != damagedLogBatches {
								t.Fatalf("the log spans %d..%d, want 0..%d", l.StartOffset(), l.EndOffset(), damagedLogBatches)
							}
							if !bytes.Equal(readFile(t, mem, file), rotten) {
								t.Error("the file is not as it was")
							}
							least, most := 1, 2
							switch {
							case at == leaderEpoch:
								least = 0 // no reader can see it
							case at <= baseOffset+7 && name == "one segment":
								most = 25 // a reader that walks past it believes it
							case batch >= last-1:
								most = 1 // the start has seen it
							}
							if n := places(); n > 1 {
								t.Errorf("the start found %d damaged places:\n%s", n, said)
							}
							if !epochsLost && l.LatestEpoch() != 1 {
								t.Errorf("the latest leader epoch is %d", l.LatestEpoch())
							}
							if damaged := readEach(t, l); len(damaged) < least || len(damaged) > most || len(damaged) > 0 && damaged[0] > batch {
								t.Errorf("offsets %v cannot be read, want %d to %d of them, batch %d among them", damaged, least, most, batch)
							}
							if err := l.Lead(2); err != nil {
								t.Fatal(err)
							}
							if a := appendOne(t, l, batchOf(t, nil, 2000, "next")); a.FirstOffset != damagedLogBatches {
								t.Errorf("the next record is at %d", a.FirstOffset)
							}
							flush(t, l)
							appendOne(t, l, batchOf(t, nil, 2000, "not flushed"))
							l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
							if l.EndOffset() != damagedLogBatches+1 {
								t.Errorf("after a power loss the log ends at %d", l.EndOffset())
							}
						})
					}
				}
			}
		}
	}
}

// openListening opens a manager and returns what it says, and how many damaged places it has counted.
func openListening(t *testing.T, fsys vfs.FS) (m *storage.Manager, said *bytes.Buffer, places func() int64) {
	t.Helper()
	said = &bytes.Buffer{}
	deps := testDeps(fsys)
	registry := prometheus.NewRegistry()
	deps.Logger, deps.Registerer = slog.New(slog.NewTextHandler(said, nil)), registry
	m, err := storage.Open(deps, storage.ManagerConfig{NodeID: 1, ClusterID: "cluster", Dirs: []string{"/a"}})
	if err != nil {
		t.Fatal(err)
	}
	return m, said, func() int64 { return counted(t, registry, "walser_storage_damaged_places_total") }
}

// A read that meets damage ends before it.
func TestDamage_ReadsEndBeforeIt(t *testing.T) {
	mem, _, _ := writeFlushed(t, storage.DefaultLogConfig(), endings[0].end, 31, 16)
	l := recoverLog(t, openManager(t, mem, "/a"), storage.DefaultLogConfig())
	s, err := l.Read(29, 600, true, damagedLogBatches)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if batches := s.Size / 170; s.FirstOffset != 29 || batches != 2 {
		t.Errorf("%d batches from offset %d, want 29 and 30", batches, s.FirstOffset)
	}
}

// A record may hold batches. What was written into a record is not taken for what stands behind it.
func TestDamage_BatchesInARecord(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := storage.DefaultLogConfig()
	l := createLog(t, m, cfg)
	inner := batchOf(t, nil, 1000, "not a record of this log")
	inner.SetBaseOffset(2)
	appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat(string(inner), 3)))
	for range 5 {
		appendOne(t, l, batchOf(t, nil, 1000, "behind"))
	}
	flush(t, l)
	checkpointAll(t, m)
	mem = mem.KillProcess()
	flip(t, mem, "/a/orders-3/00000000000000000000.log", 16)
	l = recoverLog(t, openManager(t, mem, "/a"), cfg)
	if damaged := readEach(t, l); l.EndOffset() != 6 || len(damaged) != 1 {
		t.Errorf("the log ends at %d, offsets %v cannot be read; want 6 and the first", l.EndOffset(), damaged)
	}
}

// Where nothing behind the damage tells how far it goes, there may be acknowledged records in it: the log goes
// offline, alone, until someone decides.
func TestDamage_WithoutAnEnd(t *testing.T) {
	for _, ending := range endings[:2] {
		t.Run(ending.name, func(t *testing.T) {
			cfg := smallConfig()
			mem, file, rotten := writeFlushed(t, cfg, ending.end, damagedLogBatches-1, 8)
			m := openManager(t, mem, "/a")
			_, err := m.Recover(testTP, cfg)
			if !errors.Is(err, storage.ErrOffline) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), checkpoint.RecoveryPoints) {
				t.Fatalf("Recover = %v, want ErrOffline with the file and what to do", err)
			}
			if err := m.Dirs()[0].Offline; err != nil {
				t.Errorf("the directory: %v", err)
			}
			if !bytes.Equal(readFile(t, mem, file), rotten) {
				t.Error("the file is not as it was")
			}
			mem = mem.KillProcess()
			if err := checkpoint.WriteOffsets(mem, "/a", checkpoint.RecoveryPoints, nil); err != nil {
				t.Fatal(err)
			}
			l := recoverLog(t, openManager(t, mem, "/a"), cfg)
			if l.EndOffset() != damagedLogBatches-1 || len(readEach(t, l)) > 0 {
				t.Errorf("given up, the log ends at %d", l.EndOffset())
			}
		})
	}
}

// Damage is said once for each place, with the file, and counted.
func TestDamage_IsSaid(t *testing.T) {
	mem, file, _ := writeFlushed(t, smallConfig(), endings[1].end, damagedLogBatches-3, 16)
	m, said, places := openListening(t, mem)
	l := recoverLog(t, m, smallConfig())
	for range 2 {
		if damaged := readEach(t, l); len(damaged) != 1 || damaged[0] != damagedLogBatches-3 {
			t.Errorf("offsets %v cannot be read", damaged)
		}
	}
	if n := strings.Count(said.String(), "level=ERROR"); n != 1 || !strings.Contains(said.String(), file) || !strings.Contains(said.String(), "position=") {
		t.Errorf("%d errors were said, want one with file and position:\n%s", n, said.String())
	}
	if n := places(); n != 1 {
		t.Errorf("%d places were counted", n)
	}
}

func readFile(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	data, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
