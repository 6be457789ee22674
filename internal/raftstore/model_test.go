package raftstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/raftstore"
	"github.com/walser-io/walser/internal/vfs"
)

// world is the model beside the store: what was promised, and what the call in flight may add.
type world struct {
	log      map[uint64]raft.Log // acknowledged, or shown by a store that was opened
	first    uint64              // 0 while there is none
	last     uint64              // stays when all were deleted
	adding   []*raft.Log         // StoreLogs in flight, and those that a full disk cut short at this place
	delFront uint64              // DeleteRange in flight
	delBack  uint64
	term     uint64
	newTerm  uint64 // SetUint64 in flight
	snapshot string // newest
	newSnap  string
}

// check compares a store with the model, live or opened after a crash.
func (w *world) check(t tester, s *raftstore.Store) {
	t.Helper()
	got := contents(t, s)
	byIndex := map[uint64]raft.Log{}
	for _, log := range got {
		byIndex[log.Index] = log
	}
	// Everything promised is there, unless a delete is under way.
	from, to := w.first, w.last
	if w.delFront > 0 {
		from = w.delFront + 1
	}
	if w.delBack > 0 {
		to = w.delBack - 1
	}
	if from > 0 {
		for index := from; index <= to; index++ {
			if want, got := w.log[index], byIndex[index]; !equal(want, got) {
				t.Fatalf("entry %d of %d to %d is %v, want %v", index, from, to, got, want)
			}
		}
	}
	// Nothing else is there but entries in flight and old ones before the first.
	for _, log := range got {
		want, known := w.log[log.Index]
		adding := slices.ContainsFunc(w.adding, func(a *raft.Log) bool { return equal(*a, log) })
		switch {
		case adding || known && equal(want, log):
		case known:
			t.Fatalf("entry %d is %v, want %v", log.Index, log, want)
		case log.Index >= w.first && w.first > 0 || log.Index > w.last:
			t.Fatalf("entry %d was never written", log.Index)
		}
	}
	term, err := s.Stable().GetUint64([]byte("term"))
	must(t, err)
	if term != w.term && term != w.newTerm {
		t.Fatalf("term %d, want %d or %d", term, w.term, w.newTerm)
	}
	if newest := newestSnapshot(t, s); newest != w.snapshot && newest != w.newSnap {
		t.Fatalf("snapshot %.20q, want %.20q or %.20q", newest, w.snapshot, w.newSnap)
	}
}

// adopt takes what an open store shows for promised: raft does not ask which process wrote it.
func (w *world) adopt(t tester, s *raftstore.Store) {
	t.Helper()
	w.settle(t, s)
	w.adding = nil
	clear(w.log)
	for _, log := range contents(t, s) {
		w.log[log.Index] = log
	}
	term, err := s.Stable().GetUint64([]byte("term"))
	must(t, err)
	w.term, w.newTerm = term, term
	w.snapshot = newestSnapshot(t, s)
	w.newSnap = w.snapshot
}

// settle ends a call that a full disk cut short: the bounds of the log are where it got to.
func (w *world) settle(t tester, s *raftstore.Store) {
	t.Helper()
	first, err := s.Log().FirstIndex()
	must(t, err)
	last, err := s.Log().LastIndex()
	must(t, err)
	if w.first = first; first > 0 {
		for index := last + 1; index <= w.last; index++ {
			delete(w.log, index)
		}
		w.last = last
	}
	w.delFront, w.delBack, w.newSnap = 0, 0, w.snapshot
}

func newestSnapshot(t tester, s *raftstore.Store) string {
	t.Helper()
	metas, err := s.Snapshots().List()
	must(t, err)
	if len(metas) == 0 {
		return ""
	}
	return readSnapshot(t, s, metas[0].ID)
}

// scenario is a voter's disk through several lives of its process. Before any operation that changes the disk
// the power may fail: a copy is opened and compared with the world. Now and then the process itself dies there,
// with the power or alone, or a write is cut short.
type scenario struct {
	t     tester
	draw  func(what string, n int) int // what raft does
	lives *rand.Rand                   // what befalls its process
	cuts  *rand.Rand                   // where copies are made and what is on them; nil for none
	syncs func(vfs.Op) bool            // sees each sync, and says whether to leave it out; may be nil

	world world
	mem   *vfs.Mem
	s     *raftstore.Store
	left  *vfs.Mem // what a dead process left; nil while it lives
	fate  fate
	in    int  // operations until it strikes, at least
	full  int  // operations until there is space again
	hurt  bool // a write failed, for which the process must end

	term       uint64 // of new entries
	snapshotTo uint64 // index of the last snapshot that was begun
}

// fate is what happens next, and at which kind of file.
type fate struct {
	what int
	at   string // how the name ends; "" for any
}

const (
	killed = iota
	powerLoss
	killedUnsynced // right before a sync
	shortWrite     // which the process does not survive
	diskFull
)

var fates = []fate{
	{killed, ""},
	{powerLoss, ""},
	{killedUnsynced, "vote"},
	{killedUnsynced, "spare"},
	{killedUnsynced, ".seg"},
	{killedUnsynced, raftstore.DirName},
	{shortWrite, ""},
	{shortWrite, "vote"},
	{shortWrite, ".seg"},
	{diskFull, ""},
	{diskFull, ".seg"},
	{diskFull, ".seg"},
}

func (sc *scenario) run() {
	sc.world.log = map[uint64]raft.Log{}
	sc.mem = vfs.NewMem(1)
	sc.nextFate()
	sc.start()
	sc.term = 1
	for range 1 + sc.draw("steps", 40) {
		sc.step()
		if sc.left != nil {
			sc.mem, sc.left = sc.left, nil
			sc.start()
		}
		sc.world.check(sc.t, sc.s)
	}
	if sc.cuts != nil {
		sc.cut()
	}
}

func (sc *scenario) nextFate() {
	sc.fate, sc.in = fates[sc.lives.IntN(len(fates))], sc.lives.IntN(16<<sc.lives.IntN(4))
}

// start starts processes until one has opened the store. What it shows is promised from then on.
func (sc *scenario) start() {
	for {
		sc.hurt = false
		s, err := open(vfs.NewFaulty(sc.mem, sc.decide), sc.fatal)
		switch {
		case sc.left != nil:
			sc.mem, sc.left = sc.left, nil
		case err != nil && sc.hurt:
			sc.mem = sc.mem.KillProcess()
		case err != nil:
			sc.t.Fatalf("open: %v", err)
		default:
			sc.s = s
			sc.world.check(sc.t, s)
			sc.world.adopt(sc.t, s)
			return
		}
	}
}

// decide lets things happen before an operation, and leaves out the sync that is to be missed.
func (sc *scenario) decide(op vfs.Op) error {
	drop := sc.left == nil && sc.syncs != nil && isSync(op) && sc.syncs(op)
	if err := sc.befall(op); err != nil || sc.left != nil || !drop {
		return err
	}
	return vfs.ErrDropped
}

func isSync(op vfs.Op) bool { return op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir }

// befall lets fate strike before an operation that changes something.
func (sc *scenario) befall(op vfs.Op) error {
	switch op.Kind {
	case vfs.OpCreate, vfs.OpRemove, vfs.OpRename, vfs.OpMkdirAll, vfs.OpSyncDir, vfs.OpWrite, vfs.OpTruncate, vfs.OpSync, vfs.OpPreallocate:
	default:
		return nil
	}
	if sc.left != nil {
		return nil // its operations fail
	}
	if op.Kind == vfs.OpTruncate || sc.lives.IntN(3) == 0 {
		sc.writeBack(op.Name) // what is cut off matters only if it was on the disk
	}
	if sc.cuts != nil && sc.cuts.IntN(2) == 0 {
		sc.cut()
	}
	if sc.full--; sc.full > 0 && takesSpace(op) {
		return &vfs.PartialError{N: sc.lives.IntN(op.Len + 1), Err: syscall.ENOSPC}
	}
	if sc.in--; sc.in > 0 || !sc.fate.fits(op) {
		return nil
	}
	defer sc.nextFate()
	switch sc.fate.what {
	case killed, killedUnsynced:
		sc.die(killed)
	case powerLoss:
		sc.die(powerLoss)
	case shortWrite:
		sc.hurt = true
		return &vfs.PartialError{N: sc.lives.IntN(op.Len), Err: syscall.EIO}
	case diskFull:
		sc.full = 1 + sc.lives.IntN(6)
		return &vfs.PartialError{N: sc.lives.IntN(op.Len + 1), Err: syscall.ENOSPC}
	}
	return nil
}

func (f fate) fits(op vfs.Op) bool {
	if !strings.HasSuffix(op.Name, f.at) {
		return false
	}
	switch f.what {
	case killedUnsynced:
		return isSync(op)
	case shortWrite:
		return op.Kind == vfs.OpWrite && op.Len > 0
	case diskFull:
		return takesSpace(op)
	}
	return true
}

// takesSpace says whether a full disk lets an operation fail: votes have their space from the beginning.
func takesSpace(op vfs.Op) bool {
	return (op.Kind == vfs.OpWrite || op.Kind == vfs.OpPreallocate) && !strings.Contains(op.Name, "vote")
}

// writeBack is the kernel that writes to the disk what it was not asked for.
func (sc *scenario) writeBack(name string) {
	f, err := sc.mem.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return // not there yet, or a directory
	}
	must(sc.t, f.Sync())
	must(sc.t, f.Close())
}

// die ends the process.
func (sc *scenario) die(how int) {
	if how == powerLoss {
		sc.left = sc.mem.Crash(luck(sc.lives))
		return
	}
	sc.left = sc.mem.KillProcess()
}

// fatal is the store's call for the end of the process.
func (sc *scenario) fatal(err error) {
	if sc.left != nil {
		return
	}
	if !sc.hurt {
		sc.t.Fatalf("fatal: %v", err)
	}
	sc.die([]int{killed, powerLoss}[sc.lives.IntN(2)])
}

func luck(rng *rand.Rand) vfs.CrashOptions {
	return vfs.CrashOptions{
		UnsyncedDataPercent: []int{0, 50, 90, 100}[rng.IntN(4)],
		TornWrites:          rng.IntN(2) == 0, StaleBlocks: rng.IntN(2) == 0, Rand: rng,
	}
}

// cut opens what a power loss would leave now, twice: what was repaired stays so.
func (sc *scenario) cut() {
	after := sc.mem.CrashClone(luck(sc.cuts))
	for _, when := range []string{"after a power loss", "again"} {
		s, err := open(after, nil)
		if err != nil {
			sc.t.Fatalf("open %s: %v", when, err)
		}
		sc.world.check(sc.t, s)
		must(sc.t, s.Close())
	}
}

// step does one thing that raft does.
func (sc *scenario) step() {
	w := &sc.world
	switch sc.draw("step", 14) {
	default:
		sc.store(w.last + 1)
	case 0: // compaction
		if w.first > 0 {
			sc.deleteFront(w.first + uint64(sc.draw("to", int(w.last-w.first+1))))
		}
	case 1: // conflict with a new leader
		if w.first > 0 && w.first < w.last {
			sc.deleteBack(w.last - uint64(sc.draw("entries", int(w.last-w.first))))
		}
		sc.term++
	case 2, 3:
		w.newTerm = w.term + 1
		if sc.done(sc.s.Stable().SetUint64([]byte("term"), w.newTerm)) {
			w.term = w.newTerm
		}
	case 4:
		if w.last <= sc.snapshotTo {
			return
		}
		sc.snapshotTo = w.last
		repeat := []int{1, 500, 15000}[sc.draw("snapshot", 3)]
		w.newSnap = strings.Repeat(fmt.Sprint(w.last, "-", sc.term, " "), repeat)
		if sc.done(writeSnapshot(sc.s, sc.term, w.last, w.newSnap)) {
			w.snapshot = w.newSnap
		}
	case 5: // the entries after a snapshot of the leader's
		w.delFront = w.last
		sc.store(w.last + 10)
	}
}

func (sc *scenario) store(first uint64) {
	w := &sc.world
	sizes := make([]int, 1+sc.draw("entries", 4))
	for i := range sizes {
		sizes[i] = []int{0, 10, 500, 3000, 5000}[sc.draw("size", 5)]
	}
	logs := entries(first, sc.term, sizes...)
	w.adding = append(w.adding, logs...)
	must(sc.t, sc.s.Log().StageCommitIndex(w.last))
	if !sc.done(sc.s.Log().StoreLogs(logs)) {
		return
	}
	if w.first == 0 || w.delFront > 0 {
		w.first = first
	}
	for _, log := range logs {
		w.log[log.Index], w.last = *log, log.Index
	}
	w.adding, w.delFront = nil, 0
}

func (sc *scenario) deleteFront(to uint64) {
	w := &sc.world
	w.delFront = to
	if !sc.done(sc.s.Log().DeleteRange(w.first, to)) {
		return
	}
	if w.first = to + 1; w.first > w.last {
		w.first, w.adding = 0, nil
	}
	w.delFront = 0
}

func (sc *scenario) deleteBack(from uint64) {
	w := &sc.world
	w.delBack = from
	if !sc.done(sc.s.Log().DeleteRange(from, w.last)) {
		return
	}
	for index := from; index <= w.last; index++ {
		delete(w.log, index)
	}
	w.last, w.delBack, w.adding = from-1, 0, nil
}

// done says whether a call succeeded. One that did not stays in flight where the process died; else the store
// goes on from where it stands.
func (sc *scenario) done(err error) bool {
	switch {
	case err == nil:
		return true
	case sc.left != nil:
	case errors.Is(err, syscall.ENOSPC) || sc.world.newSnap != sc.world.snapshot: // a snapshot may fail otherwise too
		sc.hurt = false
		sc.term++ // the leader stepped down, so that no later entry is the same as one that failed
		sc.world.check(sc.t, sc.s)
		sc.world.settle(sc.t, sc.s)
	default:
		sc.t.Fatalf("%v", err)
	}
	return false
}

// The power fails before operations on the disk drawn from all that change it, with every kind of luck and in
// every life, and the store that is found holds what was promised, and in its place nothing else.
func TestStore_PowerLossAtAnyStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "luck")
		sc := scenario{
			t:     t,
			draw:  func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) },
			lives: rand.New(rand.NewPCG(seed, 1)),
			cuts:  rand.New(rand.NewPCG(seed, 2)),
		}
		sc.run()
	})
}
