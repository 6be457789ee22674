package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// openVolume opens the file system of the directory, if it is to be synced as a whole and can be.
func (d *Dir) openVolume(logs int) (err error) {
	if logs <= 0 {
		return nil
	}
	d.volumeLogs = logs
	if d.volume, err = d.fs.OpenVolume(d.path); errors.Is(err, errors.ErrUnsupported) {
		err = nil // each file is synced alone
	}
	return err
}

// maxUnwritten bounds what a sync of the whole file system may have to write where acknowledgements wait for it, since it
// waits for the files of others too.
const maxUnwritten = 32 << 20

// drainPause is the least time between two syncs that nobody waits for.
const drainPause = 5 * time.Second

// flushTogether flushes logs by one sync of their file system, if they are many, and returns those that are left:
// on the machine where it was measured 64 files took 8 ms of 4 threads that sync each, and 0.8 ms so.
func (d *Dir) flushTogether(batch []*Log) (rest []*Log) {
	if d.volume == nil || len(batch) < d.volumeLogs {
		return batch
	}
	switch unwritten, err := d.volume.Unwritten(); {
	case err != nil:
		return batch
	case unwritten > maxUnwritten:
		select {
		case d.crowded <- struct{}{}:
		default:
		}
		return batch
	}
	points := make([]flushPoint, 0, len(batch))
	for _, l := range batch {
		if p, ok := l.recordsPoint(); ok {
			points = append(points, p)
		} else {
			rest = append(rest, l)
		}
	}
	if len(points) < d.volumeLogs {
		return batch
	}
	if err := d.volume.Sync(); err != nil {
		_ = d.fail(fmt.Errorf("sync the file system: %w", err))
		return nil
	}
	d.metrics.volumeSyncs.Inc()
	for i := range points {
		if points[i].reach() {
			points[i].log.tellFlushed()
		}
	}
	return rest
}

// runDrain writes out what others left unwritten, beside the rounds, which meanwhile sync file by file: so those that come can be
// of the whole file system again. The kernel would take half a minute over it. As long as rounds follow each other
// they leave nothing to gather anew; somebody who writes faster than that is not chased.
func (d *Dir) runDrain(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.crowded:
		}
		if d.Err() != nil {
			return
		}
		if err := d.volume.Sync(); err != nil {
			_ = d.fail(fmt.Errorf("sync the file system: %w", err)) // a lost write is reported once, here
			return
		}
		d.metrics.volumeDrains.Inc()
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainPause):
		}
		select {
		case <-d.crowded: // before the drain, or during it
		default:
		}
	}
}
