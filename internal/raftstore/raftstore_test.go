package raftstore_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/walser-io/walser/internal/raftstore"
	"github.com/walser-io/walser/internal/vfs"
)

const (
	dir          = "/data/" + raftstore.DirName
	segmentBytes = 8 << 10
)

type tester interface {
	Helper()
	Fatalf(string, ...any)
}

func mustOpen(t tester, fsys vfs.FS) *raftstore.Store {
	t.Helper()
	s, err := open(fsys, func(err error) { t.Fatalf("fatal: %v", err) })
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func open(fsys vfs.FS, fatal func(error)) (*raftstore.Store, error) {
	return raftstore.Open(dir, raftstore.Config{SegmentBytes: segmentBytes}, raftstore.Deps{FS: fsys, Fatal: fatal})
}

func newMem(t tester) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem(1)
	if err := mem.MkdirAll("/data", 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	if err := mem.SyncDir("/"); err != nil {
		t.Fatalf("%v", err)
	}
	return mem
}

func entries(first uint64, term uint64, sizes ...int) []*raft.Log {
	var logs []*raft.Log
	for i, n := range sizes {
		log := &raft.Log{Index: first + uint64(i), Term: term, Type: raft.LogCommand}
		if n > 0 {
			log.Data = bytes.Repeat([]byte{byte(first) + byte(i)}, n)
		}
		logs = append(logs, log)
	}
	return logs
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// contents reads the whole log.
func contents(t tester, s *raftstore.Store) []raft.Log {
	t.Helper()
	first, err := s.Log().FirstIndex()
	must(t, err)
	last, err := s.Log().LastIndex()
	must(t, err)
	if first == 0 {
		if last != 0 {
			t.Fatalf("first index 0, last %d", last)
		}
		return nil
	}
	logs := make([]raft.Log, last-first+1)
	for i := range logs {
		if err := s.Log().GetLog(first+uint64(i), &logs[i]); err != nil {
			t.Fatalf("entry %d: %v", first+uint64(i), err)
		}
	}
	return logs
}

func TestLog_StoresWhatRaftGives(t *testing.T) {
	mem := newMem(t)
	s := mustOpen(t, mem)
	want := []raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("c"), Extensions: []byte("ext"), AppendedAt: time.Unix(7, 9)},
		{Index: 2, Term: 3, Type: raft.LogNoop},
		{Index: 3, Term: 3, Type: raft.LogCommand, Data: bytes.Repeat([]byte("x"), 3*segmentBytes)}, // larger than a segment
		{Index: 4, Term: 4, Type: raft.LogCommand, Data: []byte("y")},
	}
	must(t, s.Log().StoreLogs([]*raft.Log{&want[0], &want[1]}))
	must(t, s.Log().StoreLog(&want[2]))
	must(t, s.Log().StageCommitIndex(99))
	must(t, s.Log().StoreLog(&want[3]))
	check := func(s *raftstore.Store) {
		t.Helper()
		if diff := cmp.Diff(want, contents(t, s)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		if commit, _ := s.Log().GetCommitIndex(); commit != 4 {
			t.Errorf("commit index %d, want that of the last entry", commit)
		}
		var log raft.Log
		for _, index := range []uint64{0, 5} {
			if err := s.Log().GetLog(index, &log); !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("entry %d: %v, want ErrLogNotFound", index, err)
			}
		}
	}
	check(s)
	if _, err := open(mem, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
	must(t, s.Close())
	check(mustOpen(t, mem))
}

func TestLog_RefusesWhatRaftMustNotDo(t *testing.T) {
	s := mustOpen(t, newMem(t))
	must(t, s.Log().StoreLogs(entries(1, 1, 10, 10, 10)))
	if err := s.Log().StoreLogs(entries(3, 2, 10)); err == nil {
		t.Error("entry 3 was overwritten without a DeleteRange")
	}
	if err := s.Log().StoreLogs([]*raft.Log{{Index: 4}, {Index: 6}}); err == nil {
		t.Error("a gap within one write was accepted")
	}
	if err := s.Log().DeleteRange(2, 2); err == nil {
		t.Error("an entry was deleted out of the middle")
	}
	if got := contents(t, s); len(got) != 3 || got[2].Term != 1 {
		t.Errorf("log %v, want the three entries untouched", got)
	}
	// A gap begins the log again: raft leaves one after it restored a snapshot.
	must(t, s.Log().StoreLogs(entries(100, 2, 10)))
	if got := contents(t, s); len(got) != 1 || got[0].Index != 100 {
		t.Errorf("log %v, want entry 100 alone", got)
	}
}

// equal is faster than go-cmp by two orders.
func equal(a, b raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && a.AppendedAt.Equal(b.AppendedAt) &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Extensions, b.Extensions)
}

func readSnapshot(t tester, s *raftstore.Store, id string) string {
	t.Helper()
	meta, r, err := s.Snapshots().Open(id)
	must(t, err)
	content, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	if meta.Size != int64(len(content)) {
		t.Fatalf("snapshot %s has %d bytes, its description says %d", id, len(content), meta.Size)
	}
	return string(content)
}

func writeSnapshot(s *raftstore.Store, term, index uint64, content string) error {
	configuration := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: "1", Address: "one"}}}
	sink, err := s.Snapshots().Create(1, index, term, configuration, 1, nil)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(sink, content); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// threeWrites makes a log of three writes in one file and returns the file.
func threeWrites(t tester, mem *vfs.Mem) (name string, content []byte) {
	s := mustOpen(t, mem)
	must(t, s.Log().StoreLogs(entries(1, 1, 100, 20)))
	must(t, s.Log().StoreLogs(entries(3, 1, 30)))
	must(t, s.Log().StoreLogs(entries(4, 1, 40, 50)))
	must(t, s.Close())
	name = path.Join(dir, "log-00000000000000000001.seg")
	content, err := vfs.ReadFile(mem, name)
	must(t, err)
	return name, content
}

func rewrite(t tester, mem *vfs.Mem, name string, content []byte) {
	f, err := mem.OpenFile(name, os.O_RDWR|os.O_TRUNC|os.O_CREATE, 0o644)
	must(t, err)
	_, err = f.WriteAt(content, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// Every byte of the log, damaged: the last write may go, which a crash explains; all else is refused.
// Whatever fails while a store is opened for the first time, it is an error and no more.
func TestOpen_FailureAtAnyStep(t *testing.T) {
	for step := 1; ; step++ {
		ops, opened := 0, false
		failing := vfs.NewFaulty(newMem(t), func(vfs.Op) error {
			if ops++; ops == step && !opened {
				return syscall.EIO
			}
			return nil
		})
		s, err := raftstore.Open(dir, raftstore.Config{}, raftstore.Deps{FS: failing, Fatal: func(error) {}})
		if opened = true; ops < step {
			must(t, err)
			must(t, s.Close())
			return
		}
		if (s == nil) == (err == nil) {
			t.Fatalf("step %d: a store and an error, or neither: %v", step, err)
		}
		if err == nil {
			must(t, s.Close())
		}
	}
}

func TestOpen_DamageIsRefused(t *testing.T) {
	mem := newMem(t)
	name, content := threeWrites(t, mem)
	refused, dropped := 0, 0
	for i := range content {
		damaged := bytes.Clone(content)
		damaged[i] ^= 0x40
		rewrite(t, mem, name, damaged)
		s, err := open(mem, nil)
		if err != nil {
			if !errors.Is(err, raftstore.ErrCorrupt) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "offset") {
				t.Fatalf("byte %d: %v, want ErrCorrupt with file and offset", i, err)
			}
			refused++
			continue
		}
		if last, _ := s.Log().LastIndex(); last != 3 && last != 4 {
			t.Fatalf("byte %d damaged: the log ends with %d; only the last write may be missing", i, last)
		}
		for _, log := range contents(t, s) {
			if want := entries(log.Index, 1, len(log.Data))[0]; !equal(*want, log) {
				t.Fatalf("byte %d damaged: entry %v", i, log)
			}
		}
		dropped++
		must(t, s.Close())
	}
	lastWrite := 2*61 + 40 + 50
	if dropped != lastWrite || refused != len(content)-lastWrite {
		t.Errorf("%d damages taken for a crash, %d refused; the last write has %d of %d bytes", dropped, refused, lastWrite, len(content))
	}
}

func TestGetLog_ChecksAtEveryRead(t *testing.T) {
	mem := newMem(t)
	s := mustOpen(t, mem)
	must(t, s.Log().StoreLogs(entries(1, 1, 100)))
	f, err := mem.OpenFile(path.Join(dir, "log-00000000000000000001.seg"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{0xee}, 150)
	must(t, err)
	var log raft.Log
	if err := s.Log().GetLog(1, &log); !errors.Is(err, raftstore.ErrCorrupt) {
		t.Errorf("a damaged entry was read: %v", err)
	}
}

func TestOpen_MissingSegmentIsRefused(t *testing.T) {
	mem := newMem(t)
	s := mustOpen(t, mem)
	for i := range 6 {
		must(t, s.Log().StoreLogs(entries(uint64(i+1), 1, 5000)))
	}
	must(t, s.Close())
	must(t, mem.Remove(path.Join(dir, "log-00000000000000000003.seg")))
	if _, err := open(mem, nil); !errors.Is(err, raftstore.ErrCorrupt) {
		t.Errorf("open: %v, want ErrCorrupt", err)
	}
}

// A full disk is no end: raft gets an error, and goes on where it stood when there is space again.
func TestStore_FullDisk(t *testing.T) {
	mem := newMem(t)
	s := mustOpen(t, mem)
	must(t, s.Log().StoreLogs(entries(1, 1, 10)))
	used := usedBytes(t, mem)
	mem.SetCapacity(used)
	next := uint64(2)
	var err error
	for err == nil {
		if err = s.Log().StoreLogs(entries(next, 1, 2000)); err == nil {
			next++
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("store: %v, want ENOSPC", err)
	}
	if next < 6 {
		t.Errorf("only %d entries fit: the segment and the spare should have taken them", next-2)
	}
	must(t, s.Stable().SetUint64([]byte("term"), 9)) // votes have their space
	mem.SetCapacity(used + 1<<20)
	must(t, s.Log().StoreLogs(entries(next, 1, 2000)))
	must(t, s.Close())
	s = mustOpen(t, mem)
	if last, _ := s.Log().LastIndex(); last != next {
		t.Errorf("the log ends with %d, want %d", last, next)
	}
}

func usedBytes(t tester, mem *vfs.Mem) int64 {
	usage, err := mem.Usage("/")
	must(t, err)
	return usage.TotalBytes - usage.FreeBytes
}

// After a write or sync that failed nothing is tried again.
func TestStore_FailureIsFatal(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind vfs.OpKind
		path string
		do   func(s *raftstore.Store) error
	}{
		{"log write", vfs.OpWrite, "*.seg", func(s *raftstore.Store) error { return s.Log().StoreLogs(entries(2, 1, 10)) }},
		{"log sync", vfs.OpSync, "*.seg", func(s *raftstore.Store) error { return s.Log().StoreLogs(entries(2, 1, 10)) }},
		{"vote write", vfs.OpWrite, "vote", func(s *raftstore.Store) error { return s.Stable().SetUint64([]byte("term"), 2) }},
		{"vote sync", vfs.OpSync, "vote", func(s *raftstore.Store) error { return s.Stable().SetUint64([]byte("term"), 2) }},
		{"directory sync", vfs.OpSyncDir, "", func(s *raftstore.Store) error { return s.Log().StoreLogs(entries(2, 1, 9000)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			armed, syncs := false, 0
			fsys := vfs.NewFaulty(newMem(t), func(op vfs.Op) error {
				hit := tc.path == "" || func() bool { ok, _ := path.Match(tc.path, path.Base(op.Name)); return ok }()
				if armed && op.Kind == tc.kind && hit {
					syncs++
					return syscall.EIO
				}
				return nil
			})
			var fatal []error
			s, err := open(fsys, func(err error) { fatal = append(fatal, err) })
			must(t, err)
			must(t, s.Log().StoreLogs(entries(1, 1, 10)))
			armed = true
			if err := tc.do(s); !errors.Is(err, syscall.EIO) {
				t.Fatalf("%v, want EIO", err)
			}
			armed = false // the disk looks well again, which proves nothing
			if err := tc.do(s); !errors.Is(err, syscall.EIO) {
				t.Errorf("second try: %v, want the first error", err)
			}
			if err := s.Stable().SetUint64([]byte("term"), 3); !errors.Is(err, syscall.EIO) {
				t.Errorf("vote after the failure: %v, want the first error", err)
			}
			if len(fatal) != 1 || syncs != 1 {
				t.Errorf("fatal called %d times after %d failures, want once each", len(fatal), syncs)
			}
		})
	}
}

func TestSnapshots_NewestOnly(t *testing.T) {
	mem := newMem(t)
	s := mustOpen(t, mem)
	big := strings.Repeat("state", 50_000) // several blocks
	for i, content := range []string{"one", "two", big} {
		must(t, writeSnapshot(s, 1, uint64(10*(i+1)), content))
	}
	sink, err := s.Snapshots().Create(1, 40, 1, raft.Configuration{}, 1, nil)
	must(t, err)
	must(t, sink.Cancel())
	for range 2 {
		metas, err := s.Snapshots().List()
		must(t, err)
		if len(metas) != 1 || metas[0].Index != 30 || metas[0].Configuration.Servers[0].Address != "one" {
			t.Fatalf("snapshots %+v, want the one at index 30", metas)
		}
		if got := readSnapshot(t, s, metas[0].ID); got != big {
			t.Fatalf("snapshot of %d bytes, want %d", len(got), len(big))
		}
		must(t, s.Close())
		s = mustOpen(t, mem)
	}
	names := []string{}
	listed, err := mem.ReadDir(dir)
	must(t, err)
	for _, e := range listed {
		names = append(names, e.Name())
	}
	if want := []string{"lock", "snap-1-20.snap", "snap-1-30.snap", "spare", "vote"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
}

func TestSnapshots_DamageIsRefused(t *testing.T) {
	mem := newMem(t)
	s := mustOpen(t, mem)
	must(t, writeSnapshot(s, 1, 10, "the state of the machine"))
	must(t, s.Close())
	name := path.Join(dir, "snap-1-10.snap")
	content, err := vfs.ReadFile(mem, name)
	must(t, err)
	for i := range content {
		damaged := bytes.Clone(content)
		damaged[i] ^= 1
		rewrite(t, mem, name, damaged)
		if _, err := open(mem, nil); !errors.Is(err, raftstore.ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Fatalf("byte %d: %v, want ErrCorrupt with the file", i, err)
		}
		rewrite(t, mem, name, content[:i])
		if _, err := open(mem, nil); !errors.Is(err, raftstore.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v, want ErrCorrupt", i, err)
		}
	}
}

// Whatever stands in a segment: it is refused, or it is a log that can be read, written and read again.
//
//fuzz:decoder raftstore/(frame|segment)[.]go|raftstore/log[.]go:.*(openLog|recover|cut)[(]
func FuzzRaftStore(f *testing.F) {
	_, content := threeWrites(f, newMem(f))
	f.Add(content)
	f.Add(content[:200])
	f.Add(append(bytes.Clone(content), make([]byte, 100)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		mem := newMem(t)
		must(t, mustOpen(t, mem).Close())
		rewrite(t, mem, path.Join(dir, "log-00000000000000000001.seg"), content)
		s, err := open(mem, nil)
		if err != nil {
			if !errors.Is(err, raftstore.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		before := contents(t, s)
		must(t, s.Log().StoreLogs(entries(uint64(len(before)+1), 9, 77)))
		must(t, s.Close())
		s = mustOpen(t, mem)
		after := contents(t, s)
		if len(after) != len(before)+1 {
			t.Fatalf("%d entries, then one more, then %d", len(before), len(after))
		}
		for i := range before {
			if !equal(before[i], after[i]) {
				t.Fatalf("entry %v became %v", before[i], after[i])
			}
		}
	})
}

//fuzz:decoder raftstore/snapshots[.]go:.*(openSnapshots|open|description|decodeConfiguration|Read|next|readAt)[(]
func FuzzSnapshotLoad(f *testing.F) {
	mem := newMem(f)
	s := mustOpen(f, mem)
	must(f, writeSnapshot(s, 1, 10, "state"))
	content, err := vfs.ReadFile(mem, path.Join(dir, "snap-1-10.snap"))
	must(f, err)
	f.Add(content)
	f.Fuzz(func(t *testing.T, content []byte) {
		mem := newMem(t)
		must(t, mustOpen(t, mem).Close())
		rewrite(t, mem, path.Join(dir, "snap-1-10.snap"), content)
		s, err := open(mem, nil)
		if err != nil {
			if !errors.Is(err, raftstore.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		metas, err := s.Snapshots().List()
		must(t, err)
		readSnapshot(t, s, metas[0].ID)
	})
}

// FuzzVote spoils the vote file: it is refused, or one of the two votes that were written.
//
//fuzz:decoder raftstore/stable[.]go:.*(load|decodeSlot)[(]
func FuzzVote(f *testing.F) {
	f.Add(uint16(0), byte(1), uint16(4100), byte(1))
	f.Add(uint16(20), byte(7), uint16(30), byte(9))
	f.Fuzz(func(t *testing.T, at1 uint16, flip1 byte, at2 uint16, flip2 byte) {
		mem := newMem(t)
		s := mustOpen(t, mem)
		must(t, s.Stable().SetUint64([]byte("term"), 5))
		must(t, s.Stable().SetUint64([]byte("term"), 6))
		must(t, s.Close())
		name := path.Join(dir, "vote")
		content, err := vfs.ReadFile(mem, name)
		must(t, err)
		content[int(at1)%len(content)] ^= flip1
		content[int(at2)%len(content)] ^= flip2
		rewrite(t, mem, name, content)
		s, err = open(mem, nil)
		if err != nil {
			if !errors.Is(err, raftstore.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if term, err := s.Stable().GetUint64([]byte("term")); err != nil || term != 5 && term != 6 {
			t.Fatalf("term %d, %v; want 5 or 6", term, err)
		}
	})
}

// What a write left that the full disk cut short does not follow what is written in its place.
func TestLog_FailedWriteDoesNotComeBack(t *testing.T) {
	mem, full := newMem(t), false
	s := mustOpen(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
		if full && op.Kind == vfs.OpWrite {
			return &vfs.PartialError{N: op.Len - 1, Err: syscall.ENOSPC}
		}
		return nil
	}))
	must(t, s.Log().StoreLogs(entries(1, 1, 10)))
	full = true
	if err := s.Log().StoreLogs(entries(2, 1, 10, 20, 30)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("store: %v, want ENOSPC", err)
	}
	full = false
	must(t, s.Log().StoreLogs(entries(2, 2, 10))) // another entry of the same length
	must(t, s.Close())
	got := contents(t, mustOpen(t, mem))
	if len(got) != 2 || got[1].Term != 2 {
		t.Errorf("log %v, want entries 1 and 2", got)
	}
}

// What a write left that the full disk cut short is gone before the log goes on in another segment: behind the
// end of one that is not the last it is damage.
func TestLog_FailedWriteBeforeANewSegment(t *testing.T) {
	for _, missing := range []int{0, 1} { // of its bytes
		mem, full := newMem(t), false
		s := mustOpen(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
			if full && op.Kind == vfs.OpWrite {
				return &vfs.PartialError{N: op.Len - missing, Err: syscall.ENOSPC}
			}
			return nil
		}))
		must(t, s.Log().StoreLogs(entries(1, 1, 10)))
		full = true
		if err := s.Log().StoreLogs(entries(2, 1, 2000, 20)); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("store: %v, want ENOSPC", err)
		}
		full = false
		must(t, s.Log().StoreLogs(entries(2, 2, 10))) // its sync puts what is left on the disk
		must(t, s.Log().StoreLogs(entries(3, 2, segmentBytes)))
		want := contents(t, s)
		for when, after := range map[string]*vfs.Mem{
			"a power loss that keeps nothing": mem.CrashClone(vfs.CrashOptions{}),
			"a kill":                          mem.KillProcess(),
		} {
			s, err := open(after, func(error) {})
			if err != nil {
				t.Errorf("%d bytes missing: after %s: %v", missing, when, err)
			} else if diff := cmp.Diff(want, contents(t, s)); diff != "" {
				t.Errorf("%d bytes missing: after %s the log differs: %s", missing, when, diff)
			}
		}
	}
}

// A process that is killed before the name of the store's directory is durable leaves that to the next one.
func TestOpen_KilledBeforeTheDirectoryIsDurable(t *testing.T) {
	mem := vfs.NewMem(1)
	var next *vfs.Mem
	_, err := open(vfs.NewFaulty(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpSyncDir && next == nil {
			next = mem.KillProcess()
		}
		return nil
	}), func(error) {})
	if err == nil || next == nil {
		t.Fatal("the store was opened without the sync of a directory")
	}
	s := mustOpen(t, next)
	must(t, s.Log().StoreLogs(entries(1, 1, 10)))
	if got := contents(t, mustOpen(t, next.Crash(vfs.CrashOptions{}))); len(got) != 1 {
		t.Errorf("after a power loss the log holds %v", got)
	}
}

// What a process wrote but did not sync before it was killed is durable once the next one has opened the store:
// raft takes what it shows for stored.
func TestOpen_MakesDurableWhatAKilledProcessWrote(t *testing.T) {
	for _, file := range []string{"log-00000000000000000001.seg", "vote", "spare"} {
		t.Run(file, func(t *testing.T) {
			mem := newMem(t)
			var left, after *vfs.Mem
			armed := false
			s, err := open(vfs.NewFaulty(mem, func(op vfs.Op) error {
				if armed && left == nil && op.Kind == vfs.OpSync && path.Base(op.Name) == file {
					left = mem.KillProcess()
				}
				return nil
			}), func(error) {})
			must(t, err)
			must(t, s.Log().StoreLogs(entries(1, 1, 10)))
			armed = true
			_ = s.Log().StoreLogs(entries(2, 1, 10)) // one of these dies
			_ = s.Stable().SetUint64([]byte("term"), 1)
			_ = s.Log().StoreLogs(entries(3, 1, segmentBytes))

			s = mustOpen(t, vfs.NewFaulty(left, func(op vfs.Op) error {
				if op.Kind == vfs.OpSync {
					after = left.CrashClone(vfs.CrashOptions{})
				}
				return nil
			}))
			want := contents(t, s)
			term, err := s.Stable().GetUint64([]byte("term"))
			must(t, err)
			must(t, s.Log().StoreLogs(entries(uint64(len(want)+1), 1, segmentBytes))) // after is before its sync
			s = mustOpen(t, after)
			if diff := cmp.Diff(want, contents(t, s)); diff != "" {
				t.Errorf("log after a power loss (-shown before +found):\n%s", diff)
			}
			if got, err := s.Stable().GetUint64([]byte("term")); got != term || err != nil {
				t.Errorf("term after a power loss %d, %v; it was %d", got, err, term)
			}
		})
	}
}

// A write that begins a segment may find the disk full. Nothing of it stays that a restart takes for a part of
// the log: the entries may go into the segment before.
func TestLog_NoSpaceToBeginASegment(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func(vfs.Op) bool
	}{
		{"to allocate it", func(op vfs.Op) bool { return op.Kind == vfs.OpPreallocate }},
		{"to write into it", func(op vfs.Op) bool { return op.Kind == vfs.OpWrite && op.Len > segmentBytes }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := newMem(t)
			full := false
			s := mustOpen(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
				if full && tc.fail(op) {
					return &vfs.PartialError{N: 0, Err: syscall.ENOSPC}
				}
				return nil
			}))
			must(t, s.Log().StoreLogs(entries(1, 1, 10)))
			full = true
			if err := s.Log().StoreLogs(entries(2, 1, 2*segmentBytes)); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("a large entry on a full disk: %v", err)
			}
			must(t, s.Log().StoreLogs(entries(2, 2, 20)))
			want := contents(t, s)
			for name, after := range map[string]*vfs.Mem{
				"a power loss that keeps all":     mem.CrashClone(vfs.CrashOptions{UnsyncedDataPercent: 100}),
				"a power loss that keeps nothing": mem.CrashClone(vfs.CrashOptions{}),
				"a kill":                          mem.KillProcess(),
			} {
				s, err := open(after, func(error) {})
				if err != nil {
					t.Errorf("after %s: %v", name, err)
					continue
				}
				if diff := cmp.Diff(want, contents(t, s)); diff != "" {
					t.Errorf("after %s the log differs: %s", name, diff)
				}
			}
		})
	}
}
