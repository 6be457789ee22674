package storage

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
)

const (
	// reserveFile holds space for what must be written before segments are given up (a checkpoint, and for the
	// last one a new segment): on a disk without a single free block retention could else never make room.
	reserveFile  = ".walser_reserve"
	reserveBytes = 1 << 20
)

// reserve is a directory's reserve. Whoever holds the checkpointing token may change it.
type reserve struct {
	held bool
	// lent is set while the space is free for retention: appends, which would take it, are refused.
	lent atomic.Bool
}

// keepReserve sets the reserve aside again if there is none. A full disk puts that off.
func (d *Dir) keepReserve() error {
	d.checkpointing <- struct{}{}
	defer func() { <-d.checkpointing }()
	if d.reserve.held {
		return nil
	}
	err := d.allocateReserve()
	d.reserve.held = err == nil
	if isNoSpace(err) {
		return nil
	}
	return err
}

func (d *Dir) allocateReserve() (err error) {
	f, err := d.fs.OpenFile(filepath.Join(d.path, reserveFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Preallocate(0, reserveBytes)
}

// onReserve does once more what a full disk refused, with the space of the reserve free for it. Without a
// reserve it returns refused. The caller holds neither a log's turn nor the checkpointing token.
func (d *Dir) onReserve(refused error, again func() error) error {
	d.reserve.lent.Store(true)
	defer d.reserve.lent.Store(false)
	d.checkpointing <- struct{}{}
	held := d.reserve.held
	d.reserve.held = false
	<-d.checkpointing
	if !held {
		return refused
	}
	if err := d.fs.Remove(filepath.Join(d.path, reserveFile)); err != nil {
		return d.fail(err)
	}
	return again()
}

// refuseWhileLent keeps appends away from the space that retention is about to take.
func (d *Dir) refuseWhileLent() error {
	if d.reserve.lent.Load() {
		return ErrNoSpace
	}
	return nil
}
