package segment

import (
	"encoding/binary"
	"errors"

	"github.com/walser-io/walser/internal/record"
)

// Damage is a place where records stood that were durable once, and no sound batch stands now.
type Damage struct {
	Position, End     int64 // the bytes
	Offset, EndOffset int64 // what may have stood there
	Err               error
}

// place is where a batch begins: its first byte, and the offset behind the batch before it.
type place struct {
	position, next int64
}

// damage finds the end of the damage at a place: the first sound batch behind it. before is the place of the
// batch before, which may be where it begins: with a header that is sound, but not that of its batch. end is
// the offset at which the durable records end, if that is at the end of the file. False where it cannot be
// told what stands behind the damage.
func (sc *scanner) damage(before, at place, end int64, cause error) (Damage, bool, error) {
	if _, _, err := sc.batch(before.position, true); errors.Is(err, ErrCorrupt) {
		at, cause = before, err
	}
	position, offset := at.position, at.next
	d := Damage{Position: position, End: sc.size, Offset: offset, EndOffset: end, Err: cause}
	first := position + 1
	if sc.size-position >= HeaderSize {
		raw, err := sc.bytes(position, HeaderSize)
		if err != nil {
			return d, false, err
		}
		// Its length may be right, whatever else is wrong. That comes before a search: a record may hold a
		// batch.
		if length := int64(int32(binary.BigEndian.Uint32(raw[8:]))); length >= HeaderSize-record.LogOverhead {
			first = position + record.LogOverhead + length
			if first == sc.size && record.Batch(raw).LastOffset() == end-1 {
				return d, true, nil
			}
			p, ok, err := sc.resumes(first, offset)
			if err != nil || ok {
				d.End, d.EndOffset = p.Position, p.BaseOffset
				return d, ok, err
			}
			first = position + 1
		}
	}
	for ; sc.size-first >= HeaderSize; first++ {
		p, ok, err := sc.resumes(first, offset)
		if err != nil || ok {
			d.End, d.EndOffset = p.Position, p.BaseOffset
			return d, ok, err
		}
	}
	return d, false, nil
}

// resumes says whether a sound batch stands at position that begins behind offset, with a batch or the end
// of the file behind it.
func (sc *scanner) resumes(position, offset int64) (Position, bool, error) {
	_, p, err := sc.batch(position, false)
	if err == nil && p.BaseOffset > offset {
		if _, p, err = sc.batch(position, true); err == nil && p.End() < sc.size {
			_, _, err = sc.batch(p.End(), false)
		}
	} else if err == nil {
		return Position{}, false, nil
	}
	if errors.Is(err, ErrCorrupt) {
		return Position{}, false, nil
	}
	return p, err == nil, err
}

// leaps says whether the base offset of the batch at p is wrong: the batch behind it belongs between it and
// offset, where the one before it ends. The checksum does not cover base offsets.
func (sc *scanner) leaps(p Position, offset int64) bool {
	if p.End() >= sc.size {
		return false
	}
	_, next, err := sc.batch(p.End(), false)
	return err == nil && offset < next.BaseOffset && next.BaseOffset <= p.LastOffset
}
