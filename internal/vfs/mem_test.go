package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/vfs"
)

func TestMem_WhatSurvivesThePowerLoss(t *testing.T) {
	tests := []struct {
		name string
		do   func(*script)
		want map[string]string // after a strict crash
	}{
		{
			name: "synced_file_in_synced_directory",
			do:   func(s *script) { s.write("a", "data").sync("a").syncDir("/") },
			want: map[string]string{"a": "data"},
		},
		{
			name: "sync_does_not_keep_the_name",
			do:   func(s *script) { s.write("a", "data").sync("a") },
			want: map[string]string{},
		},
		{
			name: "sync_dir_does_not_keep_the_data",
			do:   func(s *script) { s.write("a", "data").syncDir("/") },
			want: map[string]string{"a": ""},
		},
		{
			name: "write_after_sync_is_lost",
			do:   func(s *script) { s.write("a", "old").sync("a").syncDir("/").write("a", "newer") },
			want: map[string]string{"a": "old"},
		},
		{
			name: "sync_after_sync_dir",
			do:   func(s *script) { s.write("a", "").syncDir("/").write("a", "data").sync("a") },
			want: map[string]string{"a": "data"},
		},
		{
			name: "rename_without_sync_dir",
			do:   func(s *script) { s.write("a", "A").sync("a").syncDir("/").rename("a", "b") },
			want: map[string]string{"a": "A"},
		},
		{
			name: "rename_with_sync_dir",
			do:   func(s *script) { s.write("a", "A").sync("a").syncDir("/").rename("a", "b").syncDir("/") },
			want: map[string]string{"b": "A"},
		},
		{
			name: "rename_over_existing_without_sync_dir",
			do: func(s *script) {
				s.write("a", "A").sync("a").write("b", "B").sync("b").syncDir("/").rename("a", "b")
			},
			want: map[string]string{"a": "A", "b": "B"},
		},
		{
			name: "rename_over_existing_with_sync_dir",
			do: func(s *script) {
				s.write("a", "A").sync("a").write("b", "B").sync("b").syncDir("/").rename("a", "b").syncDir("/")
			},
			want: map[string]string{"b": "A"},
		},
		{
			name: "rename_before_sync_of_data",
			do:   func(s *script) { s.write("tmp", "new").rename("tmp", "a").syncDir("/") },
			want: map[string]string{"a": ""},
		},
		{
			name: "remove_without_sync_dir",
			do:   func(s *script) { s.write("a", "A").sync("a").syncDir("/").remove("a") },
			want: map[string]string{"a": "A"},
		},
		{
			name: "remove_with_sync_dir",
			do:   func(s *script) { s.write("a", "A").sync("a").syncDir("/").remove("a").syncDir("/") },
			want: map[string]string{},
		},
		{
			name: "directory_needs_its_parent_synced",
			do:   func(s *script) { s.mkdir("d").write("d/a", "A").sync("d/a").syncDir("d") },
			want: map[string]string{},
		},
		{
			name: "directory_and_file_synced",
			do:   func(s *script) { s.mkdir("d").write("d/a", "A").sync("d/a").syncDir("d").syncDir("/") },
			want: map[string]string{"d/": "", "d/a": "A"},
		},
		{
			name: "move_between_directories_with_destination_synced",
			do: func(s *script) {
				s.mkdir("d").mkdir("e").write("d/a", "A").sync("d/a").syncDir("d").syncDir("/")
				s.rename("d/a", "e/a").syncDir("e")
			},
			want: map[string]string{"d/": "", "d/a": "A", "e/": "", "e/a": "A"},
		},
		{
			name: "move_between_directories_with_only_the_source_synced",
			do: func(s *script) {
				s.mkdir("d").mkdir("e").write("d/a", "A").sync("d/a").syncDir("d").syncDir("/")
				s.rename("d/a", "e/a").syncDir("d")
			},
			want: map[string]string{"d/": "", "e/": ""},
		},
		{
			name: "truncate_without_sync",
			do:   func(s *script) { s.write("a", "data").sync("a").syncDir("/").truncate("a", 1) },
			want: map[string]string{"a": "data"},
		},
		{
			name: "truncate_with_sync",
			do:   func(s *script) { s.write("a", "data").sync("a").syncDir("/").truncate("a", 1).sync("a") },
			want: map[string]string{"a": "d"},
		},
		{
			name: "truncate_and_grow_with_sync",
			do: func(s *script) {
				s.write("a", "data").sync("a").syncDir("/").truncate("a", 1).truncate("a", 3).sync("a")
			},
			want: map[string]string{"a": "d\x00\x00"},
		},
		{
			name: "truncate_and_write_past_a_hole_with_sync",
			do: func(s *script) {
				s.write("a", strings.Repeat("x", 4097)).sync("a").syncDir("/")
				s.truncate("a", 0).writeAt("a", []byte("y"), 4096).sync("a")
			},
			want: map[string]string{"a": strings.Repeat("\x00", 4096) + "y"},
		},
		{
			name: "remove_all_without_sync_dir",
			do: func(s *script) {
				s.mkdir("d").write("d/a", "A").sync("d/a").syncDir("d").syncDir("/").removeAll("d")
			},
			want: map[string]string{"d/": "", "d/a": "A"},
		},
		{
			name: "replaced_file_of_the_same_name",
			do: func(s *script) {
				s.write("a", "old").sync("a").syncDir("/").remove("a").write("a", "new").sync("a")
			},
			want: map[string]string{"a": "old"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := vfs.NewMem(1)
			test.do(&script{t: t, fs: m})
			before := tree(t, m)
			if diff := cmp.Diff(test.want, tree(t, m.CrashClone(vfs.CrashOptions{}))); diff != "" {
				t.Errorf("nothing unsynced survives (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tree(t, m.CrashClone(vfs.CrashOptions{UnsyncedDataPercent: 100}))); diff != "" {
				t.Errorf("everything survives (-want +got):\n%s", diff)
			}
			killed := m.KillProcess()
			if diff := cmp.Diff(before, tree(t, killed)); diff != "" {
				t.Errorf("the page cache survives kill -9 (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, tree(t, killed.Crash(vfs.CrashOptions{}))); diff != "" {
				t.Errorf("kill -9 makes nothing durable (-want +got):\n%s", diff)
			}
		})
	}
}

// WriteFileAtomic holds at every one of its steps and for any luck; without its Sync or SyncDir it does not.
func TestMem_WriteFileAtomicAtEveryStep(t *testing.T) {
	oldData, newData := bytes.Repeat([]byte("old."), 3000), bytes.Repeat([]byte("new!"), 2500)
	run := func(seed uint64, drop int) (broken bool) {
		m := vfs.NewMem(seed)
		if err := vfs.WriteFileAtomic(m, "/meta", oldData); err != nil {
			t.Fatal(err)
		}
		check := func(acknowledged bool) {
			for _, percent := range []int{0, 50, 100} {
				got, err := vfs.ReadFile(m.CrashClone(vfs.CrashOptions{UnsyncedDataPercent: percent, TornWrites: true}), "/meta")
				isNew := bytes.Equal(got, newData)
				if err != nil || !isNew && (acknowledged || !bytes.Equal(got, oldData)) {
					broken = true
				}
			}
		}
		faulty := vfs.NewFaulty(m, func(vfs.Op) error { check(false); return nil })
		faulty.DropSyncs(func(op vfs.Op) bool { return op.SyncNth == drop })
		if err := vfs.WriteFileAtomic(faulty, "/meta", newData); err != nil {
			t.Fatal(err)
		}
		check(true)
		if n := len(faulty.Syncs()); n != 2 {
			t.Fatalf("WriteFileAtomic syncs %d times; want a Sync and a SyncDir", n)
		}
		return broken
	}
	for drop := range 3 { // 0 drops none
		red := 0
		for seed := range uint64(20) {
			if run(seed, drop) {
				red++
			}
		}
		if drop == 0 && red > 0 || drop > 0 && red == 0 {
			t.Errorf("with sync %d dropped %d of 20 seeds are red", drop, red)
		}
	}
}

func TestMem_CrashEndsTheOldWorld(t *testing.T) {
	for _, how := range []struct {
		name string
		end  func(*vfs.Mem) *vfs.Mem
		boot bool // the boot id changes
	}{
		{"crash", func(m *vfs.Mem) *vfs.Mem { return m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100}) }, true},
		{"kill", (*vfs.Mem).KillProcess, false},
	} {
		t.Run(how.name, func(t *testing.T) {
			m := vfs.NewMem(7)
			f, err := m.OpenFile("/a", os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("data"), 0); err != nil {
				t.Fatal(err)
			}
			lock, err := m.Lock("/.lock")
			if err != nil {
				t.Fatal(err)
			}
			boot, _ := m.BootID()

			next := how.end(m)
			_, writeErr := f.WriteAt([]byte("zombie"), 0)
			_, readErr := f.ReadAt(make([]byte, 1), 0)
			_, openErr := m.OpenFile("/b", os.O_RDWR|os.O_CREATE, 0o644)
			_, lockErr := m.Lock("/.lock")
			_, dirErr := m.ReadDir("/")
			for what, err := range map[string]error{
				"write": writeErr, "read": readErr, "open": openErr, "lock": lockErr, "readdir": dirErr,
				"sync": f.Sync(), "truncate": f.Truncate(0), "syncdir": m.SyncDir("/"), "remove": m.Remove("/a"),
				"mkdir": m.MkdirAll("/d", 0o755), "close": f.Close(),
			} {
				if !errors.Is(err, vfs.ErrCrashed) {
					t.Errorf("%s on the old file system: %v; want ErrCrashed", what, err)
				}
			}
			again, err := next.Lock("/.lock")
			if err != nil {
				t.Fatalf("the lock outlived its process: %v", err)
			}
			if err := lock.Close(); err != nil {
				t.Errorf("close a lock that died: %v", err)
			}
			if _, err := next.Lock("/.lock"); !errors.Is(err, vfs.ErrLocked) {
				t.Errorf("the dead lock's Close ended its successor: %v", err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
			if got, err := next.BootID(); err != nil || (got != boot) != how.boot {
				t.Errorf("boot id was %q, is %q, %v; want it to change: %t", boot, got, err, how.boot)
			}
			if diff := cmp.Diff(map[string]string{"a": "data", ".lock": ""}, tree(t, next)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The process dies while its goroutines work: each operation happened before or fails with ErrCrashed, and
// nothing reaches the file system of the next process.
func TestMem_CrashBesideWork(t *testing.T) {
	for round := range 6 {
		m := vfs.NewMem(uint64(round))
		f, err := m.OpenFile("/shared", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		working := make(chan struct{}, 8)
		for w := range 4 {
			wg.Go(func() {
				var err error
				for i := 0; err == nil; i++ {
					_, err = f.WriteAt([]byte{byte(i)}, int64(w*5000))
					err = firstError(err, f.Sync())
				}
				if !errors.Is(err, vfs.ErrCrashed) {
					t.Errorf("file: %v", err)
				}
			})
			wg.Go(func() {
				name := fmt.Sprintf("/f%d", w)
				var err error
				for i := 0; err == nil; i++ {
					err = vfs.WriteFileAtomic(m, name, []byte(name))
					if i == 3 {
						working <- struct{}{}
					}
				}
				if !errors.Is(err, vfs.ErrCrashed) {
					t.Errorf("names: %v", err)
				}
			})
		}
		for range 4 {
			<-working
		}
		next := m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 50, TornWrites: true})
		if round%2 == 0 {
			next = next.KillProcess()
		}
		found := tree(t, next)
		wg.Wait()
		if diff := cmp.Diff(found, tree(t, next)); diff != "" {
			t.Errorf("the dead wrote on:\n%s", diff)
		}
		for w := range 4 {
			name := fmt.Sprintf("f%d", w)
			if got := found[name]; got != "/"+name {
				t.Errorf("an acknowledged file holds %q", got)
			}
		}
	}
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func BenchmarkMem_AppendSync(b *testing.B) {
	for _, size := range []int{100, 4096, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := vfs.NewMem(1)
			f, err := m.OpenFile("/log", os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if off > 64<<20 {
					off = 0
					if err := f.Truncate(0); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := f.WriteAt(data, off); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				off += int64(size)
			}
		})
	}
}

// Each shape of damage that testing promises does occur, and synced bytes are never among the damaged.
func TestMem_ShapesOfDamage(t *testing.T) {
	const synced, grown = 5000, 20_000
	before, after := bytes.Repeat([]byte("o"), synced), bytes.Repeat([]byte("n"), grown)
	seen := make(map[string]int)
	for seed := range uint64(2000) {
		m := vfs.NewMem(seed)
		s := &script{t: t, fs: m}
		s.write("trash", strings.Repeat("s", 8192)).sync("trash").syncDir("/").remove("trash").syncDir("/")
		s.write("a", string(before)).sync("a").syncDir("/")
		s.writeAt("a", after[synced:], synced).writeAt("a", []byte(strings.Repeat("n", 1024)), 0)
		m = m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 40, TornWrites: true, StaleBlocks: seed%2 == 0})
		got, err := vfs.ReadFile(m, "/a")
		if err != nil {
			t.Fatal(err)
		}
		(&script{t: t, fs: m}).truncate("a", grown)
		if regrown, err := vfs.ReadFile(m, "/a"); err != nil || !all(regrown[len(got):], 0) {
			t.Fatalf("seed %d: what lay past the end comes back when the file grows, %v", seed, err)
		}
		if len(got) < synced || len(got) > grown {
			t.Fatalf("seed %d: size %d is neither the synced one nor on the way to the new", seed, len(got))
		}
		if i := bytes.IndexFunc(got[1024:synced], func(r rune) bool { return r != 'o' }); i >= 0 {
			t.Fatalf("seed %d: synced byte %d is lost", seed, 1024+i)
		}
		switch size := len(got); {
		case size == synced:
			seen["size_lost"]++
		case size == grown:
			seen["size_kept"]++
		case size%4096 == 0:
			seen["size_at_block"]++
		case size%512 == 0:
			seen["size_at_sector"]++
		default:
			seen["size_anywhere"]++
		}
		if got[0] != got[512] {
			seen["overwrite_torn_at_sector"]++
		}
		for i := 8192; i+4096 <= len(got); i += 4096 {
			switch b := got[i : i+4096]; {
			case all(b, 'n'):
				seen["block_kept"]++
			case all(b, 0):
				seen["extended_but_zero"]++
			case all(b, 's'):
				seen["stale"]++
			case b[0] == 'n' && all(b[4096-512:], 0):
				seen["zero_tail"]++
			case b[0] == 0:
				seen["later_sector_without_first"]++
			}
		}
	}
	for _, shape := range []string{
		"size_lost", "size_kept", "size_at_block", "size_at_sector", "size_anywhere", "overwrite_torn_at_sector",
		"block_kept", "extended_but_zero", "stale", "zero_tail", "later_sector_without_first",
	} {
		if seen[shape] == 0 {
			t.Errorf("%s never occurred in %v", shape, seen)
		}
	}
}

func TestMem_UnluckyRenameLosesNoFile(t *testing.T) {
	outcomes := make(map[string]int)
	for seed := range uint64(200) {
		m := vfs.NewMem(seed)
		s := &script{t: t, fs: m}
		s.write("a", "A").sync("a").write("b", "B").sync("b").syncDir("/").rename("a", "b").rename("b", "c")
		got := tree(t, m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 50}))
		outcomes[fmt.Sprint(got)]++
		if !slices.Contains(slices.Collect(maps.Values(got)), "A") {
			t.Fatalf("seed %d: the renamed file has no name at all: %v", seed, got)
		}
	}
	if len(outcomes) < 3 {
		t.Errorf("only these outcomes occurred: %v", outcomes)
	}
}

func TestMem_SeedDecides(t *testing.T) {
	crash := func(seed uint64) map[string]string {
		m := vfs.NewMem(seed)
		s := &script{t: t, fs: m}
		for i := range 20 {
			name := fmt.Sprintf("f%d", i)
			s.write(name, strings.Repeat("x", 9000))
			if i%2 == 0 {
				s.sync(name).writeAt(name, []byte(strings.Repeat("y", 9000)), 100)
			}
			if i%5 == 0 {
				s.rename(name, name+"r")
			}
			if i%7 == 0 {
				s.syncDir("/")
			}
		}
		m = m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 50, TornWrites: true})
		(&script{t: t, fs: m}).write("again", strings.Repeat("z", 9000))
		return tree(t, m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 50, TornWrites: true}))
	}
	for seed := range uint64(10) {
		if diff := cmp.Diff(crash(seed), crash(seed)); diff != "" {
			t.Fatalf("seed %d gives two results:\n%s", seed, diff)
		}
	}
	if cmp.Equal(crash(1), crash(2)) {
		t.Error("two seeds give the same result")
	}
	own := func(m *vfs.Mem) map[string]string {
		rng := rand.New(rand.NewPCG(9, 9))
		return tree(t, m.CrashClone(vfs.CrashOptions{UnsyncedDataPercent: 50, TornWrites: true, Rand: rng}))
	}
	m := vfs.NewMem(1)
	(&script{t: t, fs: m}).write("a", strings.Repeat("x", 1<<16)).syncDir("/")
	if diff := cmp.Diff(own(m), own(m)); diff != "" {
		t.Errorf("CrashClone changes the file system it clones:\n%s", diff)
	}
}

func TestMem_CrashCloneIsApart(t *testing.T) {
	page := strings.Repeat("a", 4096) // whole blocks could be shared
	m := vfs.NewMem(1)
	s := &script{t: t, fs: m}
	s.write("a", page).syncDir("/")
	clone := m.CrashClone(vfs.CrashOptions{UnsyncedDataPercent: 100})
	s.write("a", "A").sync("a").write("b", "b")
	(&script{t: t, fs: clone}).writeAt("a", []byte("!"), 4096)
	if diff := cmp.Diff(map[string]string{"a": page + "!"}, tree(t, clone)); diff != "" {
		t.Errorf("clone (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "A" + page[1:], "b": "b"}, tree(t, m)); diff != "" {
		t.Errorf("original (-want +got):\n%s", diff)
	}
}

func TestMem_Capacity(t *testing.T) {
	m := vfs.NewMem(1)
	m.SetCapacity(4 * 4096)
	f, err := m.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	free := func(want int64) {
		t.Helper()
		if usage, err := m.Usage("/"); err != nil || usage.FreeBytes != want {
			t.Fatalf("Usage = %+v, %v; want %d free", usage, err, want)
		}
	}
	n, err := f.WriteAt(make([]byte, 5*4096), 100)
	if n != 4*4096-100 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("WriteAt past the capacity = %d, %v", n, err)
	}
	free(0)
	if _, err := f.WriteAt([]byte("overwrite"), 0); err != nil {
		t.Fatalf("an overwrite takes no space: %v", err)
	}
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	free(3 * 4096)
	if err := f.Preallocate(0, 5*4096); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Preallocate past the capacity: %v", err)
	}
	if err := f.Preallocate(0, 3*4096); err != nil {
		t.Fatal(err)
	}
	free(4096)
	if _, err := f.WriteAt(make([]byte, 2*4096), 4096); err != nil {
		t.Fatalf("a write into preallocated space: %v", err)
	}
	free(4096)
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	free(3 * 4096)
	if err := errors.Join(f.Preallocate(0, 2*4096), f.Truncate(0)); err != nil {
		t.Fatal(err)
	}
	free(4 * 4096) // what was preallocated past the new end went too
	if _, err := f.WriteAt(make([]byte, 3*4096), 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("a"); err != nil {
		t.Fatal(err)
	}
	free(4096) // the open handle keeps it
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	free(4 * 4096)
	s := &script{t: t, fs: m}
	s.write("b", "b").write("c", "c").rename("b", "c")
	free(3 * 4096)
	m = m.KillProcess()
	free(3 * 4096)
	m = m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100})
	free(3 * 4096)
}

// TestMem_Model drives random operations against a model that copies whole files, and crashes with no luck
// and with all of it.
func TestMem_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMem(rapid.Uint64().Draw(t, "seed"))
		now, disk := map[string]*modelFile{}, map[string]*modelFile{}
		names := []string{"a", "b", "c"}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				off, data := drawRange(t)
				f := now[name]
				if f == nil {
					f = &modelFile{}
					now[name] = f
				}
				if len(data) > 0 { // an empty write extends nothing
					f.now = append(f.now, make([]byte, max(0, off+len(data)-len(f.now)))...)
					copy(f.now[off:], data)
				}
				(&script{t: t, fs: m}).writeAt(name, data, int64(off))
			},
			"truncate": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				f := now[name]
				if f == nil {
					t.Skip("no such file")
				}
				size, _ := drawRange(t)
				f.now = append(f.now, make([]byte, max(0, size-len(f.now)))...)[:size:size]
				(&script{t: t, fs: m}).truncate(name, int64(size))
			},
			"sync": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				f := now[name]
				if f == nil {
					t.Skip("no such file")
				}
				f.disk = slices.Clone(f.now)
				(&script{t: t, fs: m}).sync(name)
			},
			"rename": func(t *rapid.T) {
				from, to := rapid.SampledFrom(names).Draw(t, "from"), rapid.SampledFrom(names).Draw(t, "to")
				if now[from] == nil || from == to {
					t.Skip("nothing to rename")
				}
				now[to] = now[from]
				delete(now, from)
				(&script{t: t, fs: m}).rename(from, to)
			},
			"remove": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				if now[name] == nil {
					t.Skip("no such file")
				}
				delete(now, name)
				(&script{t: t, fs: m}).remove(name)
			},
			"syncdir": func(t *rapid.T) {
				disk = maps.Clone(now)
				(&script{t: t, fs: m}).syncDir("/")
			},
			"kill": func(t *rapid.T) { m = m.KillProcess() },
			"crash": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "lucky") {
					m = m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100, TornWrites: true})
				} else {
					m = m.Crash(vfs.CrashOptions{StaleBlocks: true, TornWrites: true})
					now = maps.Clone(disk)
					for _, f := range now {
						f.now = slices.Clone(f.disk)
					}
				}
				for _, f := range now {
					f.disk = slices.Clone(f.now)
				}
				disk = maps.Clone(now)
			},
			"": func(t *rapid.T) {
				want := map[string]string{}
				for name, f := range now {
					want[name] = string(f.now)
				}
				if diff := cmp.Diff(want, tree(t, m)); diff != "" {
					t.Fatalf("(-model +mem):\n%s", diff)
				}
			},
		})
	})
}

type modelFile struct{ now, disk []byte }

// drawRange draws offsets and lengths that like the borders of blocks.
func drawRange(t *rapid.T) (off int, data []byte) {
	off = rapid.SampledFrom([]int{0, 1, 511, 4095, 4096, 5000, 8192}).Draw(t, "off")
	size := rapid.SampledFrom([]int{0, 1, 512, 4096, 4097, 9000}).Draw(t, "len")
	return off, bytes.Repeat([]byte{rapid.ByteRange('a', 'z').Draw(t, "byte")}, size)
}

// script does operations that must succeed.
type script struct {
	t interface {
		Helper()
		Fatal(...any)
	}
	fs vfs.FS
}

func (s *script) must(err error) *script {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *script) with(name string, do func(vfs.File) error) *script {
	s.t.Helper()
	f, err := s.fs.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	s.must(err)
	return s.must(errors.Join(do(f), f.Close()))
}

func (s *script) writeAt(name string, data []byte, off int64) *script {
	s.t.Helper()
	return s.with(name, func(f vfs.File) error { _, err := f.WriteAt(data, off); return err })
}

func (s *script) write(name, data string) *script { return s.writeAt(name, []byte(data), 0) }
func (s *script) sync(name string) *script        { return s.with(name, vfs.File.Sync) }
func (s *script) syncDir(dir string) *script      { return s.must(s.fs.SyncDir(dir)) }
func (s *script) mkdir(dir string) *script        { return s.must(s.fs.MkdirAll(dir, 0o755)) }
func (s *script) rename(oldname, newname string) *script {
	return s.must(s.fs.Rename(oldname, newname))
}
func (s *script) remove(name string) *script    { return s.must(s.fs.Remove(name)) }
func (s *script) removeAll(name string) *script { return s.must(s.fs.RemoveAll(name)) }

func (s *script) truncate(name string, size int64) *script {
	return s.with(name, func(f vfs.File) error { return f.Truncate(size) })
}

// tree returns all files with their content, and directories with a slash behind the name.
func tree(t interface {
	Helper()
	Fatal(...any)
}, fsys vfs.FS,
) map[string]string {
	t.Helper()
	found := make(map[string]string)
	var walk func(dir string)
	walk = func(dir string) {
		list, err := fsys.ReadDir("/" + dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range list {
			name := path.Join(dir, entry.Name())
			if entry.IsDir() {
				found[name+"/"] = ""
				walk(name)
				continue
			}
			data, err := vfs.ReadFile(fsys, "/"+name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			found[name] = string(data)
		}
	}
	walk("")
	return found
}

func all(b []byte, want byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != want })
}
