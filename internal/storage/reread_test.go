package storage_test

import (
	"path/filepath"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

// Where the file of leader epochs cannot be read, a start reads every segment again and writes its indexes anew.
// They are made durable before anything: they lie below the recovery point, so the next start trusts them, and
// retention would take a segment whose time index lost its end for older than it is.
func TestRecover_IndexesWrittenAnewAreSynced(t *testing.T) {
	for _, tc := range []struct {
		name string
		next func(mem *vfs.Mem) *vfs.Mem
	}{
		{"after a clean shutdown", func(mem *vfs.Mem) *vfs.Mem { return mem }},
		{"after a kill", (*vfs.Mem).KillProcess},
		{"after a power loss", func(mem *vfs.Mem) *vfs.Mem { return mem.Crash(vfs.CrashOptions{}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem(1)
			m := openManager(t, mem, "/a")
			l := createLog(t, m, smallConfig())
			for i := range 30 {
				appendOne(t, l, batchOf(t, nil, int64(1000+i), "some records", "of some length"))
			}
			flush(t, l)
			if err := m.CleanShutdown(1); err != nil {
				t.Fatal(err)
			}
			if tc.name != "after a clean shutdown" {
				m = openManager(t, mem, "/a") // takes the mark away
				recoverLog(t, m, smallConfig())
			}
			mem = tc.next(mem)
			flip(t, mem, "/a/orders-3/leader-epoch-checkpoint", 0)

			disk := vfs.NewFaulty(mem, nil)
			recoverLog(t, openManager(t, disk, "/a"), smallConfig())
			synced := map[string]bool{}
			for _, op := range disk.Syncs() {
				synced[filepath.Base(op.Name)] = true
			}
			entries, err := mem.ReadDir("/a/orders-3")
			if err != nil {
				t.Fatal(err)
			}
			var indexes []string
			for _, e := range entries {
				if filepath.Ext(e.Name()) == ".timeindex" {
					indexes = append(indexes, e.Name())
				}
			}
			if len(indexes) < 3 {
				t.Fatalf("there are %v only: the test needs sealed segments", indexes)
			}
			for _, name := range indexes[:len(indexes)-1] { // the active segment's is trusted by nobody
				if !synced[name] {
					t.Errorf("%s was written anew and not synced", name)
				}
			}
		})
	}
}

// A segment that was sealed after the recovery point at its end was stored has the last entry of its time index in
// the page cache alone. A kill leaves it there: it is made durable before a recovery point above it vouches for it.
func TestRecover_IndexesOfASegmentSealedAtTheRecoveryPointAreSynced(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	l := createLog(t, m, smallConfig())
	for i := range 5 {
		appendOne(t, l, batchOf(t, nil, int64(1000+i), "some records"))
	}
	flush(t, l)
	checkpointAll(t, m)
	appendOne(t, l, batchOf(t, nil, 2000, string(make([]byte, 1400)))) // rolls
	if !hasFile(t, mem, "/a/orders-3/00000000000000000005.log") {
		t.Fatal("no roll at offset 5")
	}
	disk := vfs.NewFaulty(mem.KillProcess(), nil)
	l = recoverLog(t, openManager(t, disk, "/a"), smallConfig())
	flush(t, l)
	for _, op := range disk.Syncs() {
		if op.Name == "/a/orders-3/00000000000000000000.timeindex" {
			return
		}
	}
	t.Errorf("of %v none is of the sealed segment's time index", disk.Syncs())
}
