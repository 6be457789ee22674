package segment

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
)

// Recovery says how a segment that may be damaged is read again.
type Recovery struct {
	// From is the offset from which on data may be damaged. Everything below is trusted, as far as an
	// index entry that fits its batch shows where it lies.
	From int64
	// CheckFrom is the position from which on checksums are verified; before it a batch must only have a
	// sound header. A negative position counts from the end of the file.
	CheckFrom int64
	// Flushed is the offset below which everything was durable once. Damage there is kept as it is.
	Flushed int64
	// Ended says that nothing was written past Flushed: damage up to the end of the file lies below it.
	Ended bool
	// MinEpoch is the leader epoch of the batch before From; epochs never decrease in a log.
	MinEpoch int32
	// IndexIntervalBytes is how far apart the rebuilt index entries are.
	IndexIntervalBytes int32
	// Visit sees the header of each batch from the place where reading began; it may be below From. Its error
	// ends the recovery, with the segment as it is.
	Visit func(header record.Batch) error
}

// Recovered is what Recover found.
type Recovered struct {
	State
	LastEpoch int32
	// Read is how many bytes were gone through, headers alone or whole batches, those that were cut among them.
	Read int64
	// Cut is how many bytes were cut off. Damage says why, nil if the file ended where a batch did.
	Cut    int64
	Damage error
	// Kept are the damaged places below Flushed. What stands behind each of them is there.
	Kept []Damage
}

// scanBuffer is what a scan that verifies checksums reads at once.
const scanBuffer = 256 << 10

// Recover reads the segment from its last trusted place on, cuts it at the first batch that is not
// sound, and builds the indexes of what it read. It syncs nothing. An error is one of the disk, or
// ErrCorrupt where batches below Flushed are damaged and none is found behind them: then nothing was cut.
func (s *Segment) Recover(r Recovery) (Recovered, error) {
	h, err := s.Acquire()
	if err != nil {
		return Recovered{}, err
	}
	defer h.Release()
	size, err := h.File.Size()
	if err != nil {
		return Recovered{}, fmt.Errorf("recover segment %d: %w", s.base, err)
	}
	if r.CheckFrom < 0 {
		r.CheckFrom = max(0, size+r.CheckFrom)
	}
	start, err := s.trust(h, size, r.From)
	if err != nil {
		return Recovered{}, err
	}
	found := Recovered{State: State{start.position, start.next}, LastEpoch: r.MinEpoch, Kept: start.damaged}
	interval := r.IndexIntervalBytes
	before := start.place // the batch before the one at found.Size
	sc := scanner{f: h.File, size: size, buf: make([]byte, min(scanBuffer, size-start.position))}
	for found.Size < size {
		header, p, err := sc.batch(found.Size, found.Size >= r.CheckFrom)
		if err == nil {
			err = follows(header, p, found, s.base, r.Flushed)
		}
		if err == nil && found.Next < r.Flushed && p.BaseOffset > found.Next {
			header = bytes.Clone(header) // its memory is read into
			if sc.leaps(p, found.Next) {
				err = fmt.Errorf("%w: base offset %d at position %d is past that of the next batch", ErrCorrupt, p.BaseOffset, p.Position)
			}
		}
		if errors.Is(err, ErrCorrupt) && found.Next < r.Flushed {
			d, ok, other := sc.damage(before, place{found.Size, found.Next}, r.Flushed, err)
			d.Err = s.wrap(d.Err)
			if other != nil {
				return Recovered{}, s.wrap(other)
			}
			if !ok && !r.Ended {
				return Recovered{}, fmt.Errorf("no sound batch behind flushed offset %d: %w", d.Offset, d.Err)
			}
			found.Kept, found.Size, found.Next = append(found.Kept, d), d.End, d.EndOffset
			before = place{d.End, d.EndOffset}
			s.mu.Lock()
			s.mu.size, s.mu.next = found.Size, found.Next
			s.mu.Unlock()
			interval = -1 // an entry for the next batch: no walk from one before the damage gets there
			continue
		}
		if errors.Is(err, ErrCorrupt) {
			found.Damage = err
			break
		}
		if err != nil {
			return Recovered{}, s.wrap(err)
		}
		s.mu.Lock()
		s.noteBatchLocked(header, p.Position, interval)
		s.mu.size = p.End()
		s.mu.Unlock()
		interval = r.IndexIntervalBytes
		before = place{p.Position, found.Next}
		found.Size, found.Next = p.End(), p.LastOffset+1
		if p.BaseOffset >= r.From {
			found.LastEpoch = header.PartitionLeaderEpoch()
		}
		if r.Visit != nil {
			if err := r.Visit(header); err != nil {
				return Recovered{}, err
			}
		}
	}
	found.Read, found.Cut = size-start.position, size-found.Size
	if found.Cut > 0 {
		if err := h.File.Truncate(found.Size); err != nil {
			return Recovered{}, fmt.Errorf("cut segment %d at its first bad batch: %w", s.base, err)
		}
	}
	return found, nil
}

func follows(b record.Batch, p Position, found Recovered, base, flushed int64) error {
	switch {
	case p.BaseOffset < found.Next:
		return fmt.Errorf("%w: base offset %d at position %d after offset %d", ErrCorrupt, p.BaseOffset, p.Position, found.Next-1)
	case p.LastOffset-base > 1<<31-1:
		return fmt.Errorf("%w: offset %d is too far from the segment's base %d", ErrCorrupt, p.LastOffset, base)
	case b.PartitionLeaderEpoch() < found.LastEpoch && p.BaseOffset >= flushed:
		// What another leader wrote there earlier, which a lost truncation brought back.
		return fmt.Errorf("%w: leader epoch %d at position %d after epoch %d", ErrCorrupt, b.PartitionLeaderEpoch(), p.Position, found.LastEpoch)
	}
	return nil
}

type trusted struct {
	place
	damaged []Damage // before it
}

// Truncate cuts the segment at position, where the batch begins that would hold offset next. The caller
// has moved readers away from what is cut, and no append runs.
func (s *Segment) Truncate(position, next int64, indexIntervalBytes int32) error {
	if err := s.FlushIndex(); err != nil {
		return err
	}
	h, err := s.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	if err := h.File.Truncate(position); err != nil {
		return fmt.Errorf("truncate segment %d: %w", s.base, err)
	}
	_, err = s.Recover(Recovery{From: next, CheckFrom: position, Flushed: next, MinEpoch: -1, IndexIntervalBytes: indexIntervalBytes})
	s.indexSynced.Store(false)
	return err
}

// InUse says whether someone besides the cache holds the segment's file.
func (s *Segment) InUse() bool {
	h := s.handle.Load()
	return h != nil && h.refs.Load() > 1
}

// trust finds the last batch below from that an index entry points to, loads the state up to it, and
// drops the index entries from there on, in memory and in the files.
func (s *Segment) trust(h *Handle, size, from int64) (trusted, error) {
	t := trusted{place: place{0, s.base}}
	w := s.files.walker(h.File, size)
	defer w.done()

	s.mu.Lock()
	s.mu.index, s.mu.times = sparse[OffsetEntry]{unknown: true}, sparse[TimeEntry]{unknown: true}
	s.mu.aborted, s.mu.txnsFiled = nil, 0
	s.mu.last, s.mu.hint = Position{}, OffsetEntry{}
	s.mu.Unlock()

	raw, err := readIndex(s.files.fs, s.path(IndexSuffix))
	if err != nil {
		return t, err
	}
	entries := len(raw) / offsetEntrySize
	entry := func(i int) OffsetEntry { return offsetEntry(raw[i*offsetEntrySize:], s.base) }
	// The entry must point below from, and be sound; damage near the end is the likely one.
	indexed := entries // entries of N.index that are kept
	for ; indexed > 0; indexed-- {
		e := entry(indexed - 1)
		if e.Offset >= from {
			continue
		}
		if p, err := w.at(e.Position); err == nil && p.LastOffset == e.Offset {
			t.position, t.next = e.Position, p.BaseOffset
			break
		}
	}
	// The batch the entry points to is read again, and so makes its entry anew.
	indexed = max(0, indexed-1)

	rawTimes, err := readIndex(s.files.fs, s.path(TimeIndexSuffix))
	if err != nil {
		return t, err
	}
	maxTime, lastTime := TimeEntry{-1, s.base}, int64(-1)
	timed := min(len(rawTimes)/timeEntrySize, entries+1)
	for ; timed > 0; timed-- {
		e := timeEntry(rawTimes[(timed-1)*timeEntrySize:], s.base)
		if e.Offset >= t.next {
			continue
		}
		p, ok, err := s.locateFrom(w, e.Offset, raw[:indexed*offsetEntrySize], size)
		if err != nil {
			return t, err
		}
		if ok && p.LastOffset == e.Offset && p.MaxTime == e.Timestamp {
			maxTime, lastTime = e, e.Timestamp
			break
		}
	}
	// Between the last time entry and the place reading begins at there may be larger timestamps, whose
	// entries were lost or not due yet.
	gapFrom := int64(0)
	if timed > 0 {
		p, _, err := s.locateFrom(w, maxTime.Offset, raw[:indexed*offsetEntrySize], size)
		if err != nil {
			return t, err
		}
		gapFrom = p.Position
	}
	firstTime := int64(-1)
	if size >= HeaderSize && t.position > 0 {
		if p, err := w.at(0); err == nil {
			firstTime = p.MaxTime
		}
	}
	next := s.base
	for at := gapFrom; at < t.position; {
		p, err := w.at(at)
		if errors.Is(err, ErrCorrupt) {
			sc := scanner{f: h.File, size: size, buf: make([]byte, min(scanBuffer, size))}
			d, _, other := sc.damage(place{at, next}, place{at, next}, t.next, err)
			d.Err = s.wrap(d.Err)
			if other != nil {
				return t, s.wrap(other)
			}
			t.damaged, at, next = append(t.damaged, d), d.End, d.EndOffset
			continue
		}
		if err != nil {
			return t, s.wrap(err)
		}
		if p.MaxTime > maxTime.Timestamp {
			maxTime = TimeEntry{p.MaxTime, p.LastOffset}
		}
		at, next = p.End(), p.LastOffset+1
	}

	rawTxns, err := readIndex(s.files.fs, s.path(TxnIndexSuffix))
	if err != nil {
		return t, err
	}
	aborted := decodeTxnIndex(rawTxns, s.base) // those from `from` on are found again by Replay
	for len(aborted) > 0 && aborted[len(aborted)-1].LastOffset >= from {
		aborted = aborted[:len(aborted)-1]
	}

	if err := s.cutIndexes(indexed, len(raw), timed, len(rawTimes), len(aborted), len(rawTxns)); err != nil {
		return t, err
	}
	sinceIndex := t.position
	if indexed > 0 {
		sinceIndex -= entry(indexed - 1).Position
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.index, s.mu.times = sparse[OffsetEntry]{filed: indexed}, sparse[TimeEntry]{filed: timed}
	s.mu.lastTime, s.mu.maxTime, s.mu.timeKnown, s.mu.firstTime = lastTime, maxTime, true, firstTime
	s.mu.aborted, s.mu.txnsFiled = aborted, len(aborted)
	s.mu.sinceIndex = int32(min(sinceIndex, 1<<31-1))
	s.mu.size, s.mu.next = t.position, t.next
	return t, nil
}

// locateFrom is Locate over an index in memory, for a segment that is being recovered. A place that is
// not sound is "not found".
func (s *Segment) locateFrom(w *walker, offset int64, index []byte, size int64) (Position, bool, error) {
	at := int64(0)
	for i := len(index) / offsetEntrySize; i > 0; i-- {
		e := offsetEntry(index[(i-1)*offsetEntrySize:], s.base)
		if e.Offset > offset {
			continue
		}
		if p, err := w.at(e.Position); err == nil && p.LastOffset == e.Offset {
			at = e.Position
		}
		break
	}
	for at < size {
		p, err := w.at(at)
		if errors.Is(err, ErrCorrupt) {
			return Position{}, false, nil
		}
		if err != nil {
			return Position{}, false, s.wrap(err)
		}
		if p.LastOffset >= offset {
			return p, true, nil
		}
		at = p.End()
	}
	return Position{}, false, nil
}

// cutIndexes drops what is not kept from the index files.
func (s *Segment) cutIndexes(index, indexBytes, times, timesBytes, txns, txnBytes int) error {
	for _, cut := range []struct {
		suffix     string
		keep, have int
	}{
		{IndexSuffix, index * offsetEntrySize, indexBytes},
		{TimeIndexSuffix, times * timeEntrySize, timesBytes},
		{TxnIndexSuffix, txns * txnEntrySize, txnBytes},
	} {
		if cut.keep == cut.have {
			continue
		}
		if err := s.cutIndex(cut.suffix, int64(cut.keep)); err != nil {
			return err
		}
	}
	return nil
}

func readIndex(fsys vfs.FS, name string) ([]byte, error) {
	raw, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return raw, nil
}

// castagnoli is read only.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// scanner reads whole batches one after the other.
type scanner struct {
	f     vfs.File
	size  int64
	buf   []byte
	start int64
	n     int
}

// batch reads the header of the batch at position and, if check is set, verifies its checksum.
func (sc *scanner) batch(position int64, check bool) (record.Batch, Position, error) {
	if sc.size-position < HeaderSize {
		return nil, Position{}, fmt.Errorf("%w: %d bytes at position %d are no batch header", ErrCorrupt, sc.size-position, position)
	}
	raw, err := sc.bytes(position, HeaderSize)
	if err != nil {
		return nil, Position{}, err
	}
	header := record.Batch(raw)
	p, err := parseHeader(header, position, sc.size)
	if err != nil || !check {
		return header, p, err
	}
	if p.Size <= int64(len(sc.buf)) {
		raw, err := sc.checked(p)
		if err != nil {
			return nil, Position{}, err
		}
		return raw[:HeaderSize], p, nil
	}
	header = record.Batch(append(make([]byte, 0, HeaderSize), header...))
	const checkedFrom = 21 // the checksum covers what follows it: attributes and on
	crc := uint32(0)
	for at := position + checkedFrom; at < p.End(); {
		raw, err := sc.bytes(at, int(min(p.End()-at, int64(len(sc.buf)))))
		if err != nil {
			return nil, Position{}, err
		}
		crc = crc32.Update(crc, castagnoli, raw)
		at += int64(len(raw))
	}
	if crc != header.CRC() {
		return nil, Position{}, errChecksum(p)
	}
	return header, p, nil
}

// checked returns a batch that fits the buffer, whole and with its checksum verified.
func (sc *scanner) checked(p Position) (record.Batch, error) {
	raw, err := sc.bytes(p.Position, int(p.Size))
	if err != nil {
		return nil, err
	}
	if !record.Batch(raw).CheckCRC() {
		return nil, errChecksum(p)
	}
	return raw, nil
}

func errChecksum(p Position) error {
	return fmt.Errorf("%w: checksum of the batch at position %d, offsets %d to %d", ErrCorrupt, p.Position, p.BaseOffset, p.LastOffset)
}

// bytes returns n bytes at position, n at most len(buf), valid until the next call.
func (sc *scanner) bytes(position int64, n int) ([]byte, error) {
	if position < sc.start || position+int64(n) > sc.start+int64(sc.n) {
		// A header alone of a batch that is skipped: do not read all of the batch for it.
		want := int64(len(sc.buf))
		if n == HeaderSize && position >= sc.start+int64(sc.n)+walkBuffer {
			want = walkBuffer
		}
		want = min(max(want, int64(n)), int64(len(sc.buf)), sc.size-position)
		got, err := sc.f.ReadAt(sc.buf[:want], position)
		if int64(got) < want {
			if err == nil || err == io.EOF {
				err = fmt.Errorf("%w: %d bytes at position %d, want %d", ErrCorrupt, got, position, want)
			}
			return nil, err
		}
		sc.start, sc.n = position, got
	}
	return sc.buf[position-sc.start:][:n], nil
}

// Replay shows visit the batches from the one that holds offset on, maybe some before it: headers, and
// control batches whole. What is damaged is passed over and told. An error of visit ends it.
func (s *Segment) Replay(offset int64, visit func(record.Batch) error, damaged func(Damage)) error {
	h, err := s.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	st := s.State()
	at := int64(0)
	if offset > s.base {
		p, ok, err := s.Locate(h, st, offset)
		switch {
		case errors.Is(err, ErrCorrupt): // on the way there: from the beginning
		case err != nil || !ok:
			return err
		default:
			at = p.Position
		}
	}
	sc := scanner{f: h.File, size: st.Size, buf: make([]byte, min(scanBuffer, st.Size-at))}
	next := s.base
	before := place{at, next}
	for at < st.Size {
		b, p, err := sc.batch(at, false)
		if errors.Is(err, ErrCorrupt) {
			d, _, other := sc.damage(before, place{at, next}, st.Next, err)
			d.Err = s.wrap(d.Err)
			if other != nil {
				return s.wrap(other)
			}
			damaged(d)
			at, next = d.End, d.EndOffset
			before = place{at, next}
			continue
		}
		if err != nil {
			return s.wrap(err)
		}
		if b.IsControl() && p.Size <= int64(len(sc.buf)) {
			if b, err = sc.bytes(at, int(p.Size)); err != nil {
				return s.wrap(err)
			}
		}
		if err := visit(b); err != nil {
			return err
		}
		before = place{at, next}
		at, next = p.End(), p.LastOffset+1
	}
	return nil
}

// LastAborted returns the marker's offset of the newest entry of the transaction index, -1 if there is none.
func (s *Segment) LastAborted() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.mu.aborted); n > 0 {
		return s.mu.aborted[n-1].LastOffset
	}
	return -1
}

// LoadAborted reads the transaction index of a segment that was opened sealed.
func (s *Segment) LoadAborted() error {
	raw, err := readIndex(s.files.fs, s.path(TxnIndexSuffix))
	if err != nil {
		return err
	}
	aborted := decodeTxnIndex(raw, s.base)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.aborted, s.mu.txnsFiled = aborted, len(aborted)
	return nil
}
