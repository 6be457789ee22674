package vfs_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/walser-io/walser/internal/vfs"
)

var errInjected = errors.New("injected")

func TestFaulty_FailsTheNthOfEachKind(t *testing.T) {
	do := map[vfs.OpKind]func(vfs.FS, vfs.File) error{
		vfs.OpOpen:        func(fsys vfs.FS, _ vfs.File) error { return reopen(fsys, os.O_RDWR) },
		vfs.OpCreate:      func(fsys vfs.FS, _ vfs.File) error { return reopen(fsys, os.O_RDWR|os.O_CREATE) },
		vfs.OpRemove:      func(fsys vfs.FS, _ vfs.File) error { return cut(fsys.Remove("/none"), os.ErrNotExist) },
		vfs.OpRemoveAll:   func(fsys vfs.FS, _ vfs.File) error { return fsys.RemoveAll("/none") },
		vfs.OpRename:      func(fsys vfs.FS, _ vfs.File) error { return fsys.Rename("/f", "/f") },
		vfs.OpMkdirAll:    func(fsys vfs.FS, _ vfs.File) error { return fsys.MkdirAll("/d", 0o755) },
		vfs.OpReadDir:     func(fsys vfs.FS, _ vfs.File) error { return errOf(fsys.ReadDir("/")) },
		vfs.OpStat:        func(fsys vfs.FS, _ vfs.File) error { return errOf(fsys.Stat("/f")) },
		vfs.OpSyncDir:     func(fsys vfs.FS, _ vfs.File) error { return fsys.SyncDir("/") },
		vfs.OpUsage:       func(fsys vfs.FS, _ vfs.File) error { return errOf(fsys.Usage("/")) },
		vfs.OpBootID:      func(fsys vfs.FS, _ vfs.File) error { return errOf(fsys.BootID()) },
		vfs.OpRead:        func(_ vfs.FS, f vfs.File) error { return errOf(f.ReadAt(nil, 0)) },
		vfs.OpWrite:       func(_ vfs.FS, f vfs.File) error { return errOf(f.WriteAt([]byte("x"), 0)) },
		vfs.OpTruncate:    func(_ vfs.FS, f vfs.File) error { return f.Truncate(10) },
		vfs.OpSync:        func(_ vfs.FS, f vfs.File) error { return f.Sync() },
		vfs.OpPreallocate: func(_ vfs.FS, f vfs.File) error { return f.Preallocate(0, 10) },
		vfs.OpSize:        func(_ vfs.FS, f vfs.File) error { return errOf(f.Size()) },
		vfs.OpSyncVolume: func(fsys vfs.FS, _ vfs.File) error {
			volume, err := fsys.OpenVolume("/")
			if err == nil {
				err = volume.Sync()
			}
			return err
		},
		vfs.OpLock: func(fsys vfs.FS, _ vfs.File) error {
			lock, err := fsys.Lock("/.lock")
			if err == nil {
				err = lock.Close()
			}
			return err
		},
	}
	for kind, op := range do {
		t.Run(kind.String(), func(t *testing.T) {
			m := vfs.NewMem(1)
			f, err := m.OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			// An open through the wrapper would count, so the file comes from a wrapper of its own count.
			faulty := vfs.NewFaulty(m, vfs.FailNth(kind, 2, errInjected))
			if kind != vfs.OpOpen && kind != vfs.OpCreate {
				if f, err = faulty.OpenFile("/f", os.O_RDWR, 0); err != nil {
					t.Fatal(err)
				}
			}
			for n := 1; n <= 3; n++ {
				if err := op(faulty, f); errors.Is(err, errInjected) != (n == 2) || n != 2 && err != nil {
					t.Errorf("%v %d: %v", kind, n, err)
				}
			}
		})
	}
}

func errOf[T any](_ T, err error) error { return err }

func cut(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func reopen(fsys vfs.FS, flag int) error {
	f, err := fsys.OpenFile("/f", flag, 0o644)
	if err == nil {
		err = f.Close()
	}
	return err
}

func TestFaulty_CloseReportsAndCloses(t *testing.T) {
	m := vfs.NewMem(1)
	f, err := vfs.NewFaulty(m, vfs.FailFrom(vfs.OpClose, 1, errInjected)).OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); !errors.Is(err, errInjected) {
		t.Fatalf("Close = %v", err)
	}
	if _, err := f.Size(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("the file is still open: %v", err)
	}
}

func TestFaulty_SpaceRunsOut(t *testing.T) {
	space := vfs.NewSpace(10)
	m := vfs.NewMem(1)
	f, err := vfs.NewFaulty(m, space.Decide).OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		data string
		n    int
		full bool
	}{{"abcdef", 6, false}, {"ghijkl", 4, true}, {"x", 0, true}, {"", 0, false}} {
		n, err := f.WriteAt([]byte(step.data), int64(6*i))
		if n != step.n || errors.Is(err, syscall.ENOSPC) != step.full || !step.full && err != nil {
			t.Errorf("write %d = %d, %v; want %d, full %t", i, n, err, step.n, step.full)
		}
	}
	if data, err := vfs.ReadFile(m, "/f"); string(data) != "abcdefghij" || err != nil {
		t.Errorf("the file holds %q, %v", data, err)
	}
	space.Add(3)
	if n, err := f.WriteAt([]byte("klm"), 10); n != 3 || err != nil {
		t.Errorf("write after Add = %d, %v", n, err)
	}
}

// A second fsync after a failed one succeeds, and the data is not there: what a kernel does, and why no
// one may retry.
func TestFaulty_FailedSyncLosesData(t *testing.T) {
	m := vfs.NewMem(1)
	decide := vfs.FirstOf(
		vfs.FailWhere(vfs.OnPath(vfs.OpSync, "*.index"), errInjected),
		vfs.FailNth(vfs.OpSync, 2, syscall.EIO))
	faulty := vfs.NewFaulty(m, decide)
	f, err := faulty.OpenFile("/0.log", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.SyncDir("/"), f.Sync()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("lost"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("second Sync = %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Fatalf("third Sync = %v", err)
	}
	if data, err := vfs.ReadFile(m, "/0.log"); string(data) != "lost" || err != nil {
		t.Errorf("the page cache reads %q, %v", data, err)
	}
	for _, percent := range []int{0, 100} {
		data, err := vfs.ReadFile(m.CrashClone(vfs.CrashOptions{UnsyncedDataPercent: percent}), "/0.log")
		if err != nil || strings.Contains(string(data), "lost") {
			t.Errorf("after a crash at %d %% the file holds %q, %v", percent, data, err)
		}
	}
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if data, err := vfs.ReadFile(m.Crash(vfs.CrashOptions{}), "/0.log"); string(data) != "kept" || err != nil {
		t.Errorf("a later write and Sync leave %q, %v", data, err)
	}
}

// A process that was killed before it could ask for its fsync lost nothing: the next one finds the data,
// and its fsync writes it.
func TestFaulty_SyncOfADeadProcessLosesNothing(t *testing.T) {
	m := vfs.NewMem(1)
	dead := vfs.NewFaulty(m, vfs.FailNth(vfs.OpSync, 1, vfs.ErrCrashed))
	f, err := dead.OpenFile("/0.log", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, vfs.ErrCrashed) {
		t.Fatalf("Sync = %v", err)
	}
	next := m.KillProcess()
	f, err = next.OpenFile("/0.log", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), next.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	if data, err := vfs.ReadFile(next.Crash(vfs.CrashOptions{}), "/0.log"); string(data) != "kept" || err != nil {
		t.Errorf("after the next process's Sync and a crash the file holds %q, %v", data, err)
	}
}

func TestFaulty_RecordsAndDropsSyncs(t *testing.T) {
	work := func(faulty *vfs.Faulty) map[string]string {
		s := &script{t: t, fs: faulty}
		s.write("0.log", "records")
		s.write("0.index", "entries")
		for _, name := range []string{"0.log", "0.index"} {
			s.sync(name)
		}
		s.syncDir("/")
		return nil
	}
	m := vfs.NewMem(1)
	learn := vfs.NewFaulty(m, nil)
	work(learn)
	var got []string
	for i, op := range learn.Syncs() {
		if op.SyncNth != i+1 {
			t.Errorf("sync %d has number %d", i+1, op.SyncNth)
		}
		caller, _, _ := strings.Cut(op.Caller, ":")
		got = append(got, op.Kind.String()+" "+op.Name+" by "+caller)
	}
	want := []string{
		"sync 0.log by vfs_test.(*script).with",
		"sync 0.index by vfs_test.(*script).with",
		"syncdir / by vfs_test.(*script).syncDir",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Syncs (-want +got):\n%s", diff)
	}

	for _, test := range []struct {
		name string
		drop func(vfs.Op) bool
		want map[string]string // after a strict crash
	}{
		{"none", func(vfs.Op) bool { return false }, map[string]string{"0.log": "records", "0.index": "entries"}},
		{"first", func(op vfs.Op) bool { return op.SyncNth == 1 }, map[string]string{"0.log": "", "0.index": "entries"}},
		{"by_path", vfs.OnPath(vfs.OpSync, "*.index"), map[string]string{"0.log": "records", "0.index": ""}},
		{"by_kind", func(op vfs.Op) bool { return op.Kind == vfs.OpSyncDir }, map[string]string{}},
		{"by_caller", func(op vfs.Op) bool { return strings.HasPrefix(op.Caller, "vfs_test.(*script).syncDir:") }, map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := vfs.NewMem(1)
			faulty := vfs.NewFaulty(m, nil)
			faulty.DropSyncs(test.drop)
			work(faulty)
			if diff := cmp.Diff(test.want, tree(t, m.Crash(vfs.CrashOptions{}))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := len(faulty.Syncs()); n != 3 {
				t.Errorf("%d syncs recorded; dropped ones count too", n)
			}
		})
	}
}

func TestFaulty_DecidesOnWhatHappens(t *testing.T) {
	var ops []string
	faulty := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		op.Caller = ""
		ops = append(ops, op.String())
		return nil
	})
	s := &script{t: t, fs: faulty}
	s.write("a", "x").rename("a", "b").syncDir("/").sync("b")
	want := []string{
		"create a", "write a", "close a", "rename a -> b", "syncdir /", "create b", "sync b", "close b",
	}
	if !slices.Equal(ops, want) {
		t.Errorf("ops are %q; want %q", ops, want)
	}
}
