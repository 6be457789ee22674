package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
)

// walkBuffer is how much a walk over batch headers reads at once: a few dozen small batches.
const walkBuffer = 8 << 10

// lookBehind is how far behind damage a read looks for the next sound batch.
const lookBehind = 4 << 20

// ErrCorrupt: what stands at a position of N.log is no batch.
var ErrCorrupt = errors.New("corrupt segment")

// Position is where a batch stands.
type Position struct {
	Position   int64
	Size       int64
	BaseOffset int64
	LastOffset int64
	MaxTime    int64
}

// End returns the position after the batch.
func (p Position) End() int64 { return p.Position + p.Size }

// Locate finds the first batch whose last offset is at or above offset; false if there is none. st is
// the caller's look at the segment: nothing at or past st.Size is read.
func (s *Segment) Locate(h *Handle, st State, offset int64) (Position, bool, error) {
	if offset >= st.Next {
		return Position{}, false, nil
	}
	s.mu.Lock()
	hint, last := s.mu.hint, s.mu.last
	s.mu.Unlock()
	if last.BaseOffset <= offset && offset <= last.LastOffset && 0 < last.Size {
		return last, true, nil
	}
	w := s.files.walker(h.File, st.Size)
	defer w.done()
	if hint.Offset == offset && hint.Position > 0 && hint.Position < st.Size {
		// Where the last read ended. Believed only if a batch with this very base offset stands there.
		if p, err := w.at(hint.Position); err == nil && p.BaseOffset == offset {
			return p, true, nil
		}
	}
	from, err := s.indexed(h, w, st, func(e OffsetEntry) bool { return e.Offset > offset })
	next := s.base
	for err == nil && from < st.Size {
		p, fault := w.at(from)
		if errors.Is(fault, ErrCorrupt) {
			// What stands behind it can be read all the same.
			sc := scanner{f: h.File, size: min(st.Size, from+lookBehind), buf: make([]byte, min(scanBuffer, st.Size-from))}
			d, _, other := sc.damage(place{from, next}, place{from, next}, st.Next, fault)
			if err = other; err == nil && offset < d.EndOffset {
				err = fault
			}
			from, next = d.End, d.EndOffset
			continue
		}
		if err = fault; err == nil && p.LastOffset >= offset {
			return p, true, nil
		}
		from, next = p.End(), p.LastOffset+1
	}
	if err != nil {
		return Position{}, false, s.wrap(err)
	}
	return Position{}, false, nil
}

// Cut returns the end of the last batch that ends at or before limit, walking on from first, a batch
// that does. It is how a read of limited size ends between batches.
func (s *Segment) Cut(h *Handle, st State, first Position, limit int64) (int64, error) {
	end := first.End()
	if limit >= st.Size {
		return st.Size, nil
	}
	w := s.files.walker(h.File, st.Size)
	defer w.done()
	if limit-end > walkBuffer {
		from, err := s.indexed(h, w, st, func(e OffsetEntry) bool { return e.Position > limit })
		if err != nil {
			return 0, s.wrap(err)
		}
		end = max(end, from)
	}
	for end < limit {
		p, err := w.at(end)
		if errors.Is(err, ErrCorrupt) {
			break // whoever asks for it is told
		}
		if err != nil {
			return 0, s.wrap(err)
		}
		if p.End() > limit {
			s.Remember(p.BaseOffset, p.Position)
			break
		}
		end = p.End()
	}
	return end, nil
}

// Remember notes where a read ended: offset is that of the batch at position.
func (s *Segment) Remember(offset, position int64) {
	s.mu.Lock()
	s.mu.hint = OffsetEntry{offset, position}
	s.mu.Unlock()
}

// indexed returns the position of the last indexed batch for which above is false, 0 if there is none.
// An entry counts only if it points to a batch with the offset it names; where the index lies it is
// passed over, and the walk from the segment's start is slow but right.
func (s *Segment) indexed(h *Handle, w *walker, st State, above func(OffsetEntry) bool) (int64, error) {
	e, ok, err := s.floorOffset(h, above)
	if errors.Is(err, errIndex) {
		return 0, nil
	}
	if err != nil || !ok {
		return 0, err
	}
	if e.Position < 0 || e.Position >= st.Size {
		return 0, nil
	}
	if p, err := w.at(e.Position); err != nil || p.LastOffset != e.Offset {
		return 0, nil
	}
	return e.Position, nil
}

// FirstAtOrAfter returns the first batch from p on whose largest timestamp is at or above ts.
func (s *Segment) FirstAtOrAfter(h *Handle, st State, p Position, ts int64) (Position, bool, error) {
	w := s.files.walker(h.File, st.Size)
	defer w.done()
	for p.MaxTime < ts {
		if p.End() >= st.Size {
			return Position{}, false, nil
		}
		var err error
		if p, err = w.at(p.End()); err != nil {
			return Position{}, false, s.wrap(err)
		}
	}
	return p, true, nil
}

// TimeFloor returns the last time entry with a timestamp at or below ts whose batch is what it says, and
// the segment's beginning if there is none.
func (s *Segment) TimeFloor(h *Handle, st State, ts int64) (TimeEntry, error) {
	e, ok, err := s.floorTime(ts)
	if err != nil || !ok {
		return TimeEntry{-1, s.base}, err
	}
	p, found, err := s.Locate(h, st, e.Offset)
	if err != nil || !found || p.LastOffset != e.Offset || p.MaxTime != e.Timestamp {
		return TimeEntry{-1, s.base}, err
	}
	return e, nil
}

// walker reads batch headers of a file through a small buffer.
type walker struct {
	files *FileCache
	f     vfs.File
	size  int64 // of the file, as far as it may be read
	buf   *[walkBuffer]byte
	start int64 // of buf in the file
	n     int
}

func (c *FileCache) walker(f vfs.File, size int64) *walker {
	return &walker{files: c, f: f, size: size, buf: c.buffers.Get().(*[walkBuffer]byte)}
}

func (w *walker) done() { w.files.buffers.Put(w.buf) }

// at reads the header of the batch at position.
func (w *walker) at(position int64) (Position, error) {
	header, err := w.header(position)
	if err != nil {
		return Position{}, err
	}
	return parseHeader(header, position, w.size)
}

func (w *walker) header(position int64) (record.Batch, error) {
	if position < 0 || w.size-position < HeaderSize {
		return nil, fmt.Errorf("%w: position %d of %d bytes", ErrCorrupt, position, w.size)
	}
	if position < w.start || position+HeaderSize > w.start+int64(w.n) {
		n := min(walkBuffer, w.size-position)
		got, err := w.f.ReadAt(w.buf[:n], position)
		if int64(got) < n {
			if err == nil || err == io.EOF {
				err = fmt.Errorf("%w: %d bytes at position %d, want %d", ErrCorrupt, got, position, n)
			}
			w.n = 0
			return nil, err
		}
		w.start, w.n = position, got
	}
	return record.Batch(w.buf[position-w.start:][:HeaderSize]), nil
}

// parseHeader checks what a header can show: magic, a length that fits the file, a sane last offset.
func parseHeader(b record.Batch, position, fileSize int64) (Position, error) {
	size := int64(b.Length()) + record.LogOverhead
	if b.Magic() != 2 || size < HeaderSize || size > fileSize-position || b.BaseOffset() < 0 || b.LastOffsetDelta() < 0 || b.LastOffset() < 0 {
		return Position{}, fmt.Errorf("%w: no batch at position %d (magic %d, %d bytes, base offset %d)", ErrCorrupt, position, b.Magic(), size, b.BaseOffset())
	}
	return Position{position, size, b.BaseOffset(), b.LastOffset(), b.MaxTimestamp()}, nil
}

func (s *Segment) wrap(err error) error { return fmt.Errorf("read %s: %w", s.path(LogSuffix), err) }
