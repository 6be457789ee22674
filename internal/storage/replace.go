package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/segment"
)

// Rewrite writes what compaction leaves of neighbouring segments into one that takes their place. It ends
// with Commit or Abort. A log has one at a time.
//
// A crash finds the old segments or the new one, never a mixture. In the order of Commit, with a sync of
// the directory at each |:
//
//	write N.log.cleaned and its indexes, sync them |
//	rename *.cleaned to *.swap                     |  from here on the next start completes it
//	rename the old files to *.deleted              |
//	rename *.swap to their names                   |
//
// Readers change over between the second and the third line; those that hold a slice keep the old file.
type Rewrite struct {
	look  *Compaction
	first int // of the old segments in the plan
	old   []*segment.Segment
	next  int64 // the base of the segment after the old ones
	// out is one segment, and more only where the batches grew past what one can hold.
	out      []*segment.Segment
	handle   *segment.Handle // of the last of out
	interval int32
	bytes    int64
}

// Rewrite begins to rewrite n segments of the plan from the first on.
func (c *Compaction) Rewrite(first, n int) (*Rewrite, error) {
	l := c.log
	if !l.rewriting.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("rewrite segments of %s: another rewrite is open", l.tp)
	}
	w := &Rewrite{look: c, first: first, old: slices.Clone(c.segs[first : first+n]), next: c.plan.Segments[first+n-1].Next, interval: l.config.Load().IndexIntervalBytes}
	if err := w.roll(w.old[0].Base()); err != nil {
		return nil, errors.Join(w.diskError(err), w.Abort())
	}
	return w, nil
}

// Bytes returns how much was written.
func (w *Rewrite) Bytes() int64 { return w.bytes }

// roll goes on in a new segment that begins at base.
func (w *Rewrite) roll(base int64) error {
	if w.handle != nil {
		w.handle.Release()
		w.handle = nil
	}
	seg, err := segment.CreateCleaned(w.look.log.dir.files, w.look.log.path, base)
	if err != nil {
		return err
	}
	w.out = append(w.out, seg)
	w.handle, err = seg.Acquire()
	return err
}

// Append writes whole batches, which come in the order of their offsets.
func (w *Rewrite) Append(batches []byte) error {
	if len(batches) == 0 {
		return nil
	}
	seg := w.out[len(w.out)-1]
	first := record.Batch(batches)
	last := first
	for rest := batches[first.Size():]; len(rest) > 0; rest = rest[last.Size():] {
		last = record.Batch(rest)
	}
	if seg.Fits(int64(len(batches)), last.LastOffset()) {
		w.bytes += int64(len(batches))
		return w.diskError(seg.Append(w.handle, batches, w.interval))
	}
	if n := first.Size(); n < len(batches) {
		if err := w.Append(batches[:n]); err != nil {
			return err
		}
		return w.Append(batches[n:])
	}
	// A delete horizon makes batches larger: segments that fitted one of 2 GiB may not any more (KAFKA-5413,
	// KAFKA-20036).
	if err := w.roll(first.BaseOffset()); err != nil {
		return w.diskError(err)
	}
	return w.Append(batches)
}

// Commit puts the new segment in the place of the old ones, durably. ErrSegmentsChanged where they are no
// longer what they were. After an error nothing is replaced, or the log is offline.
func (w *Rewrite) Commit() error {
	l := w.look.log
	if err := w.finish(); err != nil {
		return errors.Join(w.diskError(err), w.Abort())
	}
	done := l.takeTurn()
	defer done()
	segs := l.list()
	at := slices.Index(segs, w.old[0])
	err := w.look.holds()
	if err == nil && (at < 0 || at+len(w.old) >= len(segs) || !slices.Equal(segs[at:at+len(w.old)], w.old)) {
		err = fmt.Errorf("%w: segments of %s from %d on", ErrSegmentsChanged, l.tp, w.old[0].Base())
	}
	if err == nil {
		err = w.promote()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	defer w.end()

	l.newNames.Store(true)
	replaced := slices.Concat(segs[:at], w.out, segs[at+len(w.old):])
	l.mu.Lock()
	l.segments.Store(&replaced)
	l.mu.Unlock()
	clear(w.look.segs[w.first:][:len(w.old)]) // seen no more by this look, and not missed
	if err := w.install(); err != nil {
		if isNoSpace(err) {
			return l.fail(err) // the names on disk are between two states, which only a start resolves
		}
		return l.dir.fail(err)
	}
	return nil
}

// finish makes the new segment's files durable.
func (w *Rewrite) finish() error {
	l := w.look.log
	for i, seg := range w.out {
		next := w.next
		if i+1 < len(w.out) {
			next = w.out[i+1].Base()
		}
		for _, old := range w.old {
			for _, t := range old.AllAborted() {
				if t.LastOffset >= seg.Base() && t.LastOffset < next {
					seg.AddAborted(t)
				}
			}
		}
		if err := seg.Finish(next); err != nil {
			return err
		}
	}
	return l.dir.fs.SyncDir(l.path)
}

// promote makes the replacement certain. The last segment comes first: recovery gives up what lies at or
// above the first *.cleaned that it finds.
func (w *Rewrite) promote() error {
	l := w.look.log
	if err := w.removeStrays(); err != nil {
		return w.diskError(fmt.Errorf("replace segments of %s: %w", l.tp, err))
	}
	for _, seg := range slices.Backward(w.out) {
		err := seg.Promote()
		if err == nil {
			err = l.dir.fs.SyncDir(l.path)
		}
		if err != nil {
			return w.diskError(fmt.Errorf("replace segments of %s: %w", l.tp, err))
		}
	}
	return nil
}

// removeStrays removes what earlier attempts may have left, also those of a deleted log of this name.
// Recovery would take it for a sign that this replacement was not complete.
func (w *Rewrite) removeStrays() error {
	fsys, dir := w.look.log.dir.fs, w.look.log.path
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		base, suffix, ok := parseFileName(e.Name())
		if !ok || !strings.HasSuffix(suffix, segment.CleanedSuffix) || slices.ContainsFunc(w.out, func(s *segment.Segment) bool { return s.Base() == base }) {
			continue
		}
		if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// install carries the replacement out on disk. Readers see the new segments already.
func (w *Rewrite) install() error {
	l := w.look.log
	err := l.retire(w.old)
	if err == nil {
		// Retention relies on the snapshot of a segment's base; those of bases that are no more are of no use.
		err = l.removeSnapshots(func(offset int64) bool {
			is := func(s *segment.Segment) bool { return s.Base() == offset }
			return slices.ContainsFunc(w.old, is) && !slices.ContainsFunc(w.out, is)
		})
	}
	if err == nil {
		// Before a *.swap goes: it alone tells that what it replaces must not come back.
		err = l.dir.fs.SyncDir(l.path)
	}
	for _, seg := range w.out {
		if err == nil {
			err = seg.Install()
		}
	}
	if err == nil {
		// Before the next rewrite: its *.cleaned would make recovery give up a *.swap.
		err = l.dir.fs.SyncDir(l.path)
	}
	if err != nil {
		return fmt.Errorf("replace segments of %s: %w", l.tp, err)
	}
	return nil
}

// Abort gives up and removes what was written.
func (w *Rewrite) Abort() error {
	defer w.end()
	if w.look.log.closed.Load() {
		// Deleted with its directory; what bears the old path now is another log's.
		for _, seg := range w.out {
			seg.Close()
		}
		return nil
	}
	var errs []error
	for _, seg := range w.out {
		errs = append(errs, seg.Discard())
	}
	if err := errors.Join(errs...); err != nil {
		return w.diskError(fmt.Errorf("remove what a rewrite of %s left: %w", w.look.log.tp, err))
	}
	return nil
}

func (w *Rewrite) end() {
	if w.handle != nil {
		w.handle.Release()
		w.handle = nil
	}
	w.look.log.rewriting.Store(false)
}

// diskError says what an error of writing means: nothing where the log was deleted meanwhile.
func (w *Rewrite) diskError(err error) error {
	l := w.look.log
	if err == nil {
		return nil
	}
	if l.closed.Load() {
		return fmt.Errorf("%w: %s", ErrClosed, l.tp)
	}
	if errors.Is(err, segment.ErrDamaged) && isNoSpace(err) {
		return fmt.Errorf("%w: %s: %w", ErrNoSpace, l.tp, err) // the damage is to a file that is given up
	}
	return l.diskError(err)
}
