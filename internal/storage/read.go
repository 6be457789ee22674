package storage

import (
	"errors"
	"fmt"
	"io"

	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
)

// Slice is a run of whole batches in one segment file. It holds a reference on the file: bytes stay
// readable when the segment is deleted. A truncation can cut the file, then reads come up short; bytes
// never change. The zero Slice is empty.
type Slice struct {
	FirstOffset int64    // base offset of the first batch; it may be below the offset asked for
	File        vfs.File // nil if Size is 0
	Position    int64    // of the first byte in File
	Size        int      // bytes

	handle *segment.Handle
}

// Release gives the reference back. It is called once; on an empty slice it does nothing.
func (s *Slice) Release() {
	if s.handle != nil {
		s.handle.Release()
		s.handle, s.File = nil, nil
	}
}

// ReadAt reads from the slice; off counts from its first byte.
func (s *Slice) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(s.Size) {
		return 0, io.EOF
	}
	short := int64(len(p)) > int64(s.Size)-off
	if short {
		p = p[:int64(s.Size)-off]
	}
	n, err := s.File.ReadAt(p, s.Position+off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// CopyTo copies the slice to buf, which has room for Size bytes, and returns how many there were. Fewer
// than Size come with an error.
func (s *Slice) CopyTo(buf []byte) (int, error) {
	if s.Size == 0 {
		return 0, nil
	}
	n, err := s.File.ReadAt(buf[:s.Size], s.Position)
	if n == s.Size {
		return n, nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read %s: %w", s.File.Name(), err)
}

// Read returns the batches from the one that holds offset on: whole batches of one segment, below upTo
// (the high watermark, the last stable offset or the end), at most maxBytes of them. With minOne the
// first batch is returned even if it alone is larger. The slice is empty where there is nothing yet, or
// where the first batch does not fit. An offset before the start or past the end is ErrOffsetOutOfRange;
// ErrCorruptSegment where the batch cannot be found since its header, or one on the way to it, is damaged.
// Checksums are the reader's to look at.
func (l *Log) Read(offset int64, maxBytes int, minOne bool, upTo int64) (Slice, error) {
	for {
		if err := l.Err(); err != nil {
			return Slice{}, err
		}
		truncations := l.truncations.Load()
		// One look at the end: an append that comes later is not part of this read (KAFKA-9835).
		end, start := l.end.Load(), l.start.Load()
		if offset < start || offset > end {
			return Slice{}, fmt.Errorf("%w: %s: %d is not in %d to %d", ErrOffsetOutOfRange, l.tp, offset, start, end)
		}
		upTo = min(upTo, end)
		before := l.segments.Load()
		segs := l.list()
		if offset >= upTo || len(segs) == 0 {
			return Slice{FirstOffset: offset}, nil
		}
		slice, err := l.readFrom(segs[floor(segs, offset):], offset, maxBytes, minOne, upTo)
		switch {
		case l.truncations.Load() != truncations, l.start.Load() > offset:
			// Truncate counts before it looks who holds the file: either it sees this slice, or this sees
			// the count. Where the start has moved, segments may be gone from the list.
			slice.Release()
			continue
		case l.closed.Load():
			slice.Release() // it may be of another log of this name
			return Slice{}, l.Err()
		case err != nil && l.segments.Load() != before:
			continue // segments were deleted meanwhile: look again
		}
		if err != nil {
			if now := l.Err(); now != nil {
				return Slice{}, now
			}
			if errors.Is(err, ErrCorruptSegment) {
				l.reportDamage(err)
			}
		}
		return slice, err
	}
}

// readFrom reads from the first of segs that has a batch at or above offset.
func (l *Log) readFrom(segs []*segment.Segment, offset int64, maxBytes int, minOne bool, upTo int64) (Slice, error) {
	for _, seg := range segs {
		if seg.Base() >= upTo {
			break
		}
		st := seg.State()
		if offset >= st.Next {
			continue // a gap at the segment's end, which compaction leaves
		}
		h, err := seg.Acquire()
		if err != nil {
			return Slice{}, err
		}
		slice, err := readSegment(seg, h, st, offset, maxBytes, minOne, upTo)
		if err != nil || slice.Size == 0 {
			h.Release()
		}
		if err != nil || slice.FirstOffset >= 0 {
			return slice, err
		}
	}
	return Slice{FirstOffset: offset}, nil
}

// readSegment returns a slice with FirstOffset -1 where the segment has no batch at or above offset.
func readSegment(seg *segment.Segment, h *segment.Handle, st segment.State, offset int64, maxBytes int, minOne bool, upTo int64) (Slice, error) {
	first, ok, err := seg.Locate(h, st, offset)
	if err != nil {
		return Slice{}, err
	}
	if !ok {
		return Slice{FirstOffset: -1}, nil
	}
	if first.LastOffset >= upTo {
		return Slice{FirstOffset: first.BaseOffset}, nil
	}
	limit := st.Size
	if upTo < st.Next {
		// Batches from the one that holds upTo on are out of bounds.
		if bound, ok, err := seg.Locate(h, st, upTo); err != nil {
			return Slice{}, err
		} else if ok {
			limit = bound.Position
		}
	}
	end := limit
	switch {
	case first.Size > int64(maxBytes):
		if !minOne {
			return Slice{FirstOffset: first.BaseOffset}, nil
		}
		end = first.End()
	case limit-first.Position > int64(maxBytes):
		if end, err = seg.Cut(h, st, first, first.Position+int64(maxBytes)); err != nil {
			return Slice{}, err
		}
	}
	if end == st.Size {
		seg.Remember(st.Next, end)
	}
	return Slice{FirstOffset: first.BaseOffset, File: h.File, Position: first.Position, Size: int(end - first.Position), handle: h}, nil
}
