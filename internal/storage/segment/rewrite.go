package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"

	"github.com/walser-io/walser/internal/vfs"
)

// Where a segment's files are. What compaction writes goes through cleaned and swap to live; what it
// replaces goes from live to deleted. docs/formats/log-directory.md draws it.
const (
	placeLive int32 = iota
	placeCleaned
	placeSwap
	placeDeleted
)

func placeSuffix(place int32) string {
	switch place {
	case placeCleaned:
		return CleanedSuffix
	case placeSwap:
		return SwapSuffix
	case placeDeleted:
		return DeletedSuffix
	}
	return ""
}

// fileSuffixes are those of a segment's files, N.log last: as long as it has its name the segment is there.
var fileSuffixes = [...]string{IndexSuffix, TimeIndexSuffix, TxnIndexSuffix, LogSuffix}

// openFile opens one of the segment's files where it is at this moment. A file that another segment has
// put in its place is never returned.
func (s *Segment) openFile(suffix string, flag int) (vfs.File, error) {
	for {
		place := s.place.Load()
		f, err := s.files.fs.OpenFile(s.pathIn(place, suffix), flag, 0o644)
		if place == placeSwap && errors.Is(err, fs.ErrNotExist) {
			// Install has renamed the file and not said so yet. What was called so before is long gone.
			f, err = s.files.fs.OpenFile(s.pathIn(placeLive, suffix), flag, 0o644)
		}
		if s.place.Load() == place {
			return f, err
		}
		// Renamed meanwhile: the name may have been the successor's already.
		if err == nil {
			_ = f.Close()
		}
	}
}

// CreateCleaned makes the files of a segment that will replace others, under names that the next start
// removes. Append fills it; Finish, Promote and Install follow, or Discard.
func CreateCleaned(files *FileCache, dir string, base int64) (*Segment, error) {
	s := newSegment(files, dir, base)
	s.place.Store(placeCleaned)
	s.mu.next = base
	s.mu.timeKnown = true
	h, err := files.open(s, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	h.Release()
	return s, nil
}

// Finish makes the content of a segment from CreateCleaned durable, indexes included; its names are made
// so by the next sync of the directory. next is the base of its successor.
func (s *Segment) Finish(next int64) error {
	s.mu.Lock()
	s.mu.next = next
	s.mu.Unlock()
	s.Seal()
	for _, suffix := range []string{IndexSuffix, TimeIndexSuffix, TxnIndexSuffix} {
		// Of an attempt that failed: its end would stick out behind what is written now.
		if err := s.files.fs.Remove(s.path(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("finish segment %d: %w", s.base, err)
		}
	}
	if err := s.FlushIndex(); err != nil {
		return err
	}
	if err := s.SyncIndex(); err != nil {
		return err
	}
	return s.Sync()
}

// Promote renames the files from *.cleaned to *.swap: once that is durable, the next start completes the
// replacement.
func (s *Segment) Promote() error { return s.move(placeCleaned, placeSwap) }

// Install renames the files from *.swap to their final names, which are free. Readers go on meanwhile.
func (s *Segment) Install() error { return s.move(placeSwap, placeLive) }

func (s *Segment) move(from, to int32) error {
	for _, suffix := range fileSuffixes {
		if err := s.files.fs.Rename(s.pathIn(from, suffix), s.pathIn(to, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rename segment %d: %w", s.base, err)
		}
	}
	s.place.Store(to)
	return nil
}

// Discard removes a segment that was not installed.
func (s *Segment) Discard() error {
	s.Close()
	var errs []error
	for _, place := range []int32{placeSwap, placeCleaned} {
		for _, suffix := range fileSuffixes {
			if err := s.files.fs.Remove(s.pathIn(place, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// AllAborted returns the entries of the transaction index.
func (s *Segment) AllAborted() []AbortedTxn {
	found, _ := s.Aborted(nil, 0, math.MaxInt64)
	return found
}

// FirstTime returns the largest timestamp of the first batch in ms, which it reads where it is not known
// yet; -1 where there is none.
func (s *Segment) FirstTime() (int64, error) {
	if t := s.FirstTimestamp(); t >= 0 {
		return t, nil
	}
	st := s.State()
	if st.Size == 0 {
		return -1, nil
	}
	h, err := s.Acquire()
	if err != nil {
		return -1, err
	}
	defer h.Release()
	w := s.files.walker(h.File, st.Size)
	defer w.done()
	p, err := w.at(0)
	if err != nil {
		return -1, s.wrap(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.firstTime = p.MaxTime
	return p.MaxTime, nil
}

// EndOf returns the offset after the last batch of a segment file, by the headers. ErrCorrupt comes with
// the offset after the last that is one.
func EndOf(files *FileCache, f vfs.File, base int64) (int64, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	next := base
	w := files.walker(f, size)
	defer w.done()
	for at := int64(0); at < size; {
		p, err := w.at(at)
		if err != nil {
			return next, err
		}
		next, at = p.LastOffset+1, p.End()
	}
	return next, nil
}

// Scan shows visit the whole batches of the segment, in order, from the first that ends at or above
// offset on. buf is where they are read to; a batch that is larger is read to memory of its own, which is
// returned for the next call. A batch holds until visit returns; its checksum and the order of offsets were
// verified, and ErrCorrupt ends the scan where they are wrong.
func (s *Segment) Scan(offset int64, buf []byte, visit func(batch []byte) error) ([]byte, error) {
	h, err := s.Acquire()
	if err != nil {
		return buf, err
	}
	defer h.Release()
	st := s.State()
	p, ok, err := s.Locate(h, st, max(offset, s.base))
	if err != nil || !ok {
		return buf, err
	}
	sc := scanner{f: h.File, size: st.Size, buf: buf}
	next := s.base
	for at := p.Position; at < st.Size; {
		_, p, err := sc.batch(at, false)
		if err == nil && (p.BaseOffset < next || p.LastOffset >= st.Next) {
			// The checksum does not cover offsets, and nothing may be decided by wrong ones.
			err = fmt.Errorf("%w: offsets %d to %d at position %d, want them in %d to %d", ErrCorrupt, p.BaseOffset, p.LastOffset, at, next, st.Next-1)
		}
		if err != nil {
			return sc.buf, s.wrap(err)
		}
		next = p.LastOffset + 1
		if p.Size > int64(len(sc.buf)) {
			sc.buf, sc.n = make([]byte, p.Size), 0
		}
		raw, err := sc.checked(p)
		if err != nil {
			return sc.buf, s.wrap(err)
		}
		if err := visit(raw); err != nil {
			return sc.buf, err
		}
		at = p.End()
	}
	return sc.buf, nil
}
