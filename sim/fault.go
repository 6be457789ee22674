package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"

	"github.com/walser-io/walser/internal/vfs"
)

// Ending is how one life of the node ends.
type Ending int

// The endings.
const (
	PowerLoss Ending = iota
	Kill
	Stop
	StopThenPowerLoss
)

func (e Ending) String() string {
	return [...]string{"power loss", "kill -9", "stop", "stop, then power loss"}[e]
}

// inOrder reports whether the node is asked to stop.
func (e Ending) inOrder() bool { return e == Stop || e == StopThenPowerLoss }

// losesPower reports whether what was not synced may be lost.
func (e Ending) losesPower() bool { return e == PowerLoss || e == StopThenPowerLoss }

// Fault is one ending with its circumstances.
type Fault struct {
	Ending Ending
	// AfterAcks is how many answers the clients get before the end comes; AtOp, if above 0, the operation
	// that changes a file which brings it, counted from the start of the process.
	AfterAcks, AtOp int
	// TornWrite lets half of the write through at which a process is killed.
	TornWrite bool
	Luck      vfs.CrashOptions
}

func (f Fault) String() string {
	s := f.Ending.String()
	if f.AtOp > 0 {
		s += fmt.Sprintf(" at file operation %d", f.AtOp)
	} else {
		s += fmt.Sprintf(" after %d answers", f.AfterAcks)
	}
	if f.TornWrite {
		s += " in the middle of a write"
	}
	if !f.Ending.losesPower() {
		return s
	}
	return s + fmt.Sprintf(" (unsynced data kept: %d%%, torn: %t, stale: %t)",
		f.Luck.UnsyncedDataPercent, f.Luck.TornWrites, f.Luck.StaleBlocks)
}

// drawFault draws an ending.
func drawFault(rng *rand.Rand) Fault {
	f := Fault{AfterAcks: 1 + rng.IntN(40)}
	switch n := rng.IntN(20); {
	case n < 11:
		f.Ending = PowerLoss
	case n < 15:
		f.Ending = Kill
		f.TornWrite = rng.IntN(2) == 0
	case n < 17:
		f.Ending = Stop
	default:
		f.Ending = StopThenPowerLoss
	}
	if !f.Ending.inOrder() && rng.IntN(2) == 0 {
		f.AtOp = 1 + rng.IntN(400)
		if rng.IntN(4) == 0 {
			f.AtOp = 1 + rng.IntN(30) // in the middle of start-up
		}
	}
	switch rng.IntN(4) {
	case 0, 1: // the strict one: what was not synced is gone
	case 2:
		f.Luck = vfs.CrashOptions{UnsyncedDataPercent: 1 + rng.IntN(99), TornWrites: rng.IntN(2) == 0, StaleBlocks: rng.IntN(2) == 0}
	case 3:
		f.Luck.UnsyncedDataPercent = 100
	}
	return f
}

// life is the disk under one process, until the process ends.
type life struct {
	*vfs.Faulty
	mem   *vfs.Mem
	fault Fault
	rng   *rand.Rand

	left atomic.Int64 // operations until the end, below 0 if none brings it
	dead atomic.Bool
	end  sync.Once
	next *vfs.Mem // what the next process finds; set when cut is closed
	cut  chan struct{}
	half chan struct{} // closed when half a write went through: the end is due
}

func newLife(mem *vfs.Mem, fault Fault, drop func(vfs.Op) bool, rng *rand.Rand) *life {
	l := &life{mem: mem, fault: fault, rng: rng, cut: make(chan struct{}), half: make(chan struct{})}
	l.left.Store(-1)
	if fault.AtOp > 0 {
		l.left.Store(int64(fault.AtOp))
	}
	l.Faulty = vfs.NewFaulty(mem, l.decide)
	if drop != nil {
		// A dead process drops nothing: the answer to its sync is not a lie but an error.
		l.DropSyncs(func(op vfs.Op) bool { return !l.dead.Load() && drop(op) })
	}
	return l
}

func (l *life) decide(op vfs.Op) error {
	switch {
	case l.dead.Load():
		return vfs.ErrCrashed
	case !changes(op.Kind) || l.left.Add(-1) != 0:
		return nil
	case l.fault.Ending == Kill && l.fault.TornWrite && op.Kind == vfs.OpWrite && op.Len > 1:
		close(l.half)
		return &vfs.PartialError{N: op.Len / 2, Err: vfs.ErrCrashed}
	}
	l.crash()
	return vfs.ErrCrashed
}

// dying reports whether the process has had an error of the end of its disk.
func (l *life) dying() bool { return l.dead.Load() || isClosed(l.half) }

func changes(kind vfs.OpKind) bool {
	switch kind {
	case vfs.OpCreate, vfs.OpRemove, vfs.OpRemoveAll, vfs.OpRename, vfs.OpMkdirAll, vfs.OpSyncDir, vfs.OpWrite, vfs.OpTruncate,
		vfs.OpSync, vfs.OpSyncVolume, vfs.OpPreallocate:
		return true
	}
	return false
}

// OpenFile opens a file. raft panics when it cannot save its vote, as it must: the process ends. Here the
// process is gone already and only its goroutines are left, so for the vote alone they are told that all
// is well. They can do nothing with it: a leader that cannot write its log acknowledges nothing.
func (l *life) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := l.Faulty.OpenFile(name, flag, perm)
	if err == nil && path.Base(name) == "vote" {
		f = &ballot{f, l}
	}
	return f, err
}

type ballot struct {
	vfs.File
	life *life
}

func (b *ballot) WriteAt(p []byte, at int64) (int, error) {
	n, err := b.File.WriteAt(p, at)
	if errors.Is(err, vfs.ErrCrashed) {
		b.life.crash()
		return len(p), nil
	}
	return n, err
}

func (b *ballot) Sync() error {
	err := b.File.Sync()
	if errors.Is(err, vfs.ErrCrashed) {
		b.life.crash()
		return nil
	}
	return err
}

// crash ends the process, at once and once. From here on its file system is gone for it, so it can
// acknowledge nothing more that needs the disk.
func (l *life) crash() {
	l.end.Do(func() {
		l.dead.Store(true)
		if l.fault.Ending.losesPower() {
			luck := l.fault.Luck
			luck.Rand = l.rng
			l.next = l.mem.Crash(luck)
		} else {
			l.next = l.mem.KillProcess()
		}
		close(l.cut)
	})
}
