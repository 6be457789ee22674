package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"

	"github.com/walser-io/walser/internal/vfs"
)

// OffsetEntry is an entry of N.index: a batch's last offset and the position of its first byte.
type OffsetEntry struct {
	Offset   int64
	Position int64
}

// TimeEntry is an entry of N.timeindex: the largest timestamp so far (ms) and the last offset of the
// batch that holds it.
type TimeEntry struct {
	Timestamp int64
	Offset    int64
}

// AbortedTxn is an entry of N.txnindex.
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64
	LastOffset       int64 // the marker's
	LastStableOffset int64 // when the marker was written
}

const (
	offsetEntrySize = 8
	timeEntrySize   = 12
	txnEntrySize    = 34
)

// sparse is one index: filed entries stand in the file, the tail is not written yet.
type sparse[E any] struct {
	unknown bool // how many are filed was not asked yet
	filed   int
	tail    []E
}

func (x *sparse[E]) len() int { return x.filed + len(x.tail) }

func appendOffsetEntry(dst []byte, base int64, e OffsetEntry) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.Offset-base))
	return binary.BigEndian.AppendUint32(dst, uint32(e.Position))
}

func offsetEntry(raw []byte, base int64) OffsetEntry {
	return OffsetEntry{base + int64(int32(binary.BigEndian.Uint32(raw))), int64(int32(binary.BigEndian.Uint32(raw[4:])))}
}

func appendTimeEntry(dst []byte, base int64, e TimeEntry) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Timestamp))
	return binary.BigEndian.AppendUint32(dst, uint32(e.Offset-base))
}

func timeEntry(raw []byte, base int64) TimeEntry {
	return TimeEntry{int64(binary.BigEndian.Uint64(raw)), base + int64(int32(binary.BigEndian.Uint32(raw[8:])))}
}

func appendTxnEntry(dst []byte, t AbortedTxn) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0) // version
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.ProducerID))
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.FirstOffset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.LastOffset))
	return binary.BigEndian.AppendUint64(dst, uint64(t.LastStableOffset))
}

// decodeTxnIndex reads entries as long as they are sound: of this version, of this segment, in order.
func decodeTxnIndex(raw []byte, base int64) []AbortedTxn {
	txns := make([]AbortedTxn, 0, len(raw)/txnEntrySize)
	last := base - 1
	for ; len(raw) >= txnEntrySize; raw = raw[txnEntrySize:] {
		t := AbortedTxn{
			ProducerID:       int64(binary.BigEndian.Uint64(raw[2:])),
			FirstOffset:      int64(binary.BigEndian.Uint64(raw[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(raw[18:])),
			LastStableOffset: int64(binary.BigEndian.Uint64(raw[26:])),
		}
		if binary.BigEndian.Uint16(raw) != 0 || t.LastOffset <= last || t.FirstOffset > t.LastOffset || t.FirstOffset < 0 {
			break
		}
		last = t.LastOffset
		txns = append(txns, t)
	}
	return txns
}

// errIndex says that an index does not fit the log; the segment's indexes are rebuilt.
var errIndex = errors.New("the index does not fit the log")

// floorOffset returns the last entry of N.index for which above is false; ok is false if there is none.
func (s *Segment) floorOffset(h *Handle, above func(OffsetEntry) bool) (e OffsetEntry, ok bool, err error) {
	s.mu.Lock()
	tail := s.mu.index.tail // appended to by others, but what is there does not change
	filed, unknown := s.mu.index.filed, s.mu.index.unknown
	if i := sort.Search(len(tail), func(i int) bool { return above(tail[i]) }); i > 0 {
		e, ok = tail[i-1], true
	}
	s.mu.Unlock()
	if ok || filed == 0 && !unknown {
		return e, ok, nil
	}
	f, err := h.indexFile()
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, errIndex
	}
	if err != nil {
		return e, false, fmt.Errorf("open the index of segment %d: %w", s.base, err)
	}
	if unknown {
		size, err := f.Size()
		if err != nil {
			return e, false, err
		}
		filed = int(size / offsetEntrySize)
		s.mu.Lock()
		if s.mu.index.unknown {
			s.mu.index.unknown, s.mu.index.filed = false, filed
		}
		s.mu.Unlock()
	}
	raw, err := s.files.searchFile(f, filed, offsetEntrySize, func(raw []byte) bool { return above(offsetEntry(raw, s.base)) })
	if err != nil || raw == nil {
		return e, false, err
	}
	return offsetEntry(raw, s.base), true, nil
}

// searchFile returns the last of n entries for which above is false, nil if there is none. It reads one
// entry per step until one block is left, then that block.
func (c *FileCache) searchFile(f vfs.File, n, entrySize int, above func(raw []byte) bool) ([]byte, error) {
	const block = 256
	buf := c.buffers.Get().(*[walkBuffer]byte)
	defer c.buffers.Put(buf)
	lo, hi := 0, n // entries below lo are not above, entries from hi on are
	for hi-lo > block {
		mid := lo + (hi-lo)/2
		if _, err := f.ReadAt(buf[:entrySize], int64(mid*entrySize)); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Name(), err)
		}
		if above(buf[:entrySize]) {
			hi = mid
		} else {
			lo = mid
		}
	}
	raw := buf[:(hi-lo)*entrySize]
	if _, err := f.ReadAt(raw, int64(lo*entrySize)); err != nil && len(raw) > 0 {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	i := sort.Search(hi-lo, func(i int) bool { return above(raw[i*entrySize:][:entrySize]) })
	if i == 0 {
		return nil, nil
	}
	return slices.Clone(raw[(i-1)*entrySize:][:entrySize]), nil
}

// Seal notes the largest timestamp as the last entry of the time index: the segment takes no more, and
// retention asks for exactly that entry. What is allocated for appends to come is given back.
func (s *Segment) Seal() {
	s.trim()
	s.indexSynced.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.timeKnown && s.mu.maxTime.Timestamp > s.mu.lastTime {
		s.mu.times.tail = append(s.mu.times.tail, s.mu.maxTime)
		s.mu.lastTime = s.mu.maxTime.Timestamp
	}
}

// FlushIndex writes the entries that are not in the files yet, without a sync, and lets go of their
// memory. The transaction index goes first: recovery trusts it as far as the others reach.
func (s *Segment) FlushIndex() error {
	s.mu.Lock()
	txns, txnsFiled := s.mu.aborted[s.mu.txnsFiled:], s.mu.txnsFiled
	index, indexFiled := s.mu.index.tail, s.mu.index.filed
	times, timesFiled := s.mu.times.tail, s.mu.times.filed
	s.mu.Unlock()

	if len(txns) > 0 {
		raw := make([]byte, 0, len(txns)*txnEntrySize)
		for _, t := range txns {
			raw = appendTxnEntry(raw, t)
		}
		// Missing entries would show aborted records as committed, and no check could tell: they are
		// durable before the recovery point passes their markers.
		if err := s.writeIndex(TxnIndexSuffix, raw, int64(txnsFiled*txnEntrySize), true); err != nil {
			return err
		}
	}
	if len(times) > 0 {
		raw := make([]byte, 0, len(times)*timeEntrySize)
		for _, e := range times {
			raw = appendTimeEntry(raw, s.base, e)
		}
		if err := s.writeIndex(TimeIndexSuffix, raw, int64(timesFiled*timeEntrySize), false); err != nil {
			return err
		}
	}
	if len(index) > 0 {
		raw := make([]byte, 0, len(index)*offsetEntrySize)
		for _, e := range index {
			raw = appendOffsetEntry(raw, s.base, e)
		}
		if err := s.writeIndex(IndexSuffix, raw, int64(indexFiled*offsetEntrySize), false); err != nil {
			return err
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.txnsFiled += len(txns)
	s.mu.times.filed += len(times)
	s.mu.times.tail = shorten(s.mu.times.tail, len(times))
	s.mu.index.filed += len(index)
	s.mu.index.tail = shorten(s.mu.index.tail, len(index))
	return nil
}

// shorten drops the first n entries. A tail that came to be empty gives its memory back: an idle log
// keeps none.
func shorten[E any](tail []E, n int) []E {
	if n == len(tail) {
		return nil
	}
	return slices.Clone(tail[n:])
}

// CreateIndex creates the index files of a sealed segment that has no entries for them: Kafka takes a segment
// without them for damaged.
func (s *Segment) CreateIndex() error {
	s.mu.Lock()
	index, times := s.mu.index.len(), s.mu.times.len()
	s.mu.Unlock()
	if times == 0 {
		if err := s.writeIndex(TimeIndexSuffix, nil, 0, false); err != nil {
			return err
		}
	}
	if index == 0 {
		return s.writeIndex(IndexSuffix, nil, 0, false)
	}
	return nil
}

// SyncIndex makes the index files durable, and creates those that are missing still. It is called once, when
// the segment is sealed or its log is closed.
func (s *Segment) SyncIndex() error {
	for _, suffix := range []string{TimeIndexSuffix, IndexSuffix} {
		// Without its last entry a time index would make retention take the segment for older than it is.
		if err := s.writeIndex(suffix, nil, 0, true); err != nil {
			return err
		}
	}
	s.indexSynced.Store(true)
	return nil
}

func (s *Segment) writeIndex(suffix string, raw []byte, at int64, sync bool) (err error) {
	f, err := s.files.fs.OpenFile(s.path(suffix), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write the index of segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if len(raw) > 0 {
		if _, err := f.WriteAt(raw, at); err != nil {
			return fmt.Errorf("write the index of segment %d: %w", s.base, err)
		}
	}
	if sync {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync the index of segment %d: %w", s.base, err)
		}
	}
	return nil
}

// cutIndex sets the size of an index file that exists.
func (s *Segment) cutIndex(suffix string, size int64) (err error) {
	f, err := s.files.fs.OpenFile(s.path(suffix), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cut the index of segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("cut the index of segment %d: %w", s.base, err)
	}
	return nil
}

// floorTime returns the last entry of N.timeindex at or below ts.
func (s *Segment) floorTime(ts int64) (e TimeEntry, ok bool, err error) {
	return s.searchTimes(func(e TimeEntry) bool { return e.Timestamp > ts })
}

func (s *Segment) searchTimes(above func(TimeEntry) bool) (e TimeEntry, ok bool, err error) {
	s.mu.Lock()
	tail, filed, unknown := s.mu.times.tail, s.mu.times.filed, s.mu.times.unknown
	s.mu.Unlock()
	if i := sort.Search(len(tail), func(i int) bool { return above(tail[i]) }); i > 0 {
		return tail[i-1], true, nil
	}
	if filed == 0 && !unknown {
		return e, false, nil
	}
	// Looked up by timestamp only: rare enough to open the file each time.
	f, err := s.openFile(TimeIndexSuffix, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("open the time index of segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if unknown {
		size, err := f.Size()
		if err != nil {
			return e, false, err
		}
		filed = int(size / timeEntrySize)
	}
	raw, err := s.files.searchFile(f, filed, timeEntrySize, func(raw []byte) bool { return above(timeEntry(raw, s.base)) })
	if err != nil || raw == nil {
		return e, false, err
	}
	return timeEntry(raw, s.base), true, nil
}

// LargestTimestamp returns the largest timestamp in the segment and the last offset of the batch that
// holds it; -1 and the base offset where no batch has one. For a segment that was opened sealed it is
// the last time entry, checked against its batch, and a walk over the headers where that fails.
func (s *Segment) LargestTimestamp() (TimeEntry, error) {
	s.mu.Lock()
	e, known := s.mu.maxTime, s.mu.timeKnown
	s.mu.Unlock()
	if known {
		return e, nil
	}
	h, err := s.Acquire()
	if err != nil {
		return TimeEntry{}, err
	}
	defer h.Release()
	st := s.State()
	e, ok, err := s.searchTimes(func(TimeEntry) bool { return false })
	if err != nil {
		return TimeEntry{}, err
	}
	if ok {
		var p Position
		p, ok, err = s.Locate(h, st, e.Offset)
		if err != nil {
			return TimeEntry{}, err
		}
		ok = ok && p.LastOffset == e.Offset && p.MaxTime == e.Timestamp
	}
	if !ok {
		if e, err = s.walkTimes(h, st); err != nil {
			return TimeEntry{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.timeKnown {
		s.mu.maxTime, s.mu.timeKnown = e, true
	}
	return s.mu.maxTime, nil
}

func (s *Segment) walkTimes(h *Handle, st State) (TimeEntry, error) {
	e := TimeEntry{-1, s.base}
	w := s.files.walker(h.File, st.Size)
	defer w.done()
	for at := int64(0); at < st.Size; {
		p, err := w.at(at)
		if err != nil {
			return TimeEntry{}, s.wrap(err)
		}
		if p.MaxTime > e.Timestamp {
			e = TimeEntry{p.MaxTime, p.LastOffset}
		}
		at = p.End()
	}
	return e, nil
}
