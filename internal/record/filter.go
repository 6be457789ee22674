package record

import "fmt"

// Filter says what compaction keeps of a batch.
type Filter struct {
	// Keep decides on one record. It is called once for each, in order; the record holds until it returns.
	Keep func(Record) bool
	// KeepEmpty keeps the header of a batch that loses all records: it is the last of its producer, whose sequence
	// must be found again after a restart.
	KeepEmpty bool
	// DeleteHorizonMs is now + delete.retention.ms. A batch that keeps a tombstone and has no horizon yet is given this one (KIP-534).
	DeleteHorizonMs int64
	// EmptyTxnMarker says that b is the marker of a transaction all of whose records are gone: it gets a horizon like a tombstone.
	EmptyTxnMarker bool
}

// Filtered is what came of a batch.
type Filtered struct {
	Batch        Batch // what was appended, nil if nothing; aliases the grown dst
	Read, Kept   int32 // records
	MaxTimestamp int64 // of what was appended; NoTimestamp if nothing
	LastKept     int64 // offset of the last record kept; -1 if none was
	Unchanged    bool  // the original bytes were appended
}

// FilterTo appends to dst what compaction leaves of b: the same bytes if it keeps every record and sets no delete horizon, a batch with fewer
// records, a bare header, or nothing. Base and last offset, leader epoch, producer fields, timestamp type, flags and codec stay, and each kept record
// stays at its offset, so that offsets and sequences read the same before and after.
//
// Compressed records are read twice through the window of s, never held whole. b may not lie in dst. s may be nil, as in Records.
func (b Batch) FilterTo(dst []byte, f Filter, s *Scratch) ([]byte, Filtered, error) {
	if s == nil {
		s = NewScratch(Limits{})
	}
	res := Filtered{MaxTimestamp: NoTimestamp, LastKept: -1}
	tombstones, err := s.choose(b, &f, &res)
	if err != nil {
		return dst, Filtered{}, fmt.Errorf("filter batch at offset %d: %w", b.BaseOffset(), err)
	}
	start := len(dst)
	setHorizon := (tombstones || f.EmptyTxnMarker) && !b.HasDeleteHorizon()
	switch {
	case res.Kept == 0 && !f.KeepEmpty:
		return dst, res, nil
	case res.Kept == 0:
		dst = appendEmpty(dst, b)
	case res.Kept == res.Read && !setHorizon:
		dst = append(dst, b...)
		res.Unchanged = true
	default:
		if dst, err = s.copyKept(dst, b, &f, setHorizon); err != nil {
			return dst[:start], Filtered{}, fmt.Errorf("filter batch at offset %d: %w", b.BaseOffset(), err)
		}
	}
	res.Batch = Batch(dst[start:])
	res.MaxTimestamp = res.Batch.MaxTimestamp()
	return dst, res, nil
}

// choose asks about each record and leaves the answers in s.kept.
func (s *Scratch) choose(b Batch, f *Filter, res *Filtered) (tombstones bool, err error) {
	s.kept = s.kept[:0]
	it := b.Records(s)
	defer s.stream.close()
	for r, ok := it.Next(); ok; r, ok = it.Next() {
		if res.Read%8 == 0 {
			s.kept = append(s.kept, 0)
		}
		if f.Keep(r) {
			s.kept[res.Read/8] |= 1 << (res.Read % 8)
			res.Kept++
			res.LastKept = r.Offset
			tombstones = tombstones || r.Value == nil
		}
		res.Read++
	}
	return tombstones, it.Err()
}

// copyKept builds b anew from the records that s.kept names.
func (s *Scratch) copyKept(dst []byte, b Batch, f *Filter, setHorizon bool) ([]byte, error) {
	bl := &s.builder
	bl.Reset(optionsOf(b, s))
	bl.baseTime, bl.horizon = b.DeleteHorizon()
	if setHorizon {
		bl.baseTime, bl.horizon = f.DeleteHorizonMs, true
	}
	it := b.Records(s)
	defer s.stream.close()
	for i := 0; ; i++ {
		r, ok := it.Next()
		if !ok {
			break
		}
		if s.kept[i/8]&(1<<(i%8)) != 0 {
			bl.AppendAt(r.OffsetDelta, r.Timestamp, r.Key, r.Value, r.Headers)
		}
	}
	if err := it.Err(); err != nil {
		return dst, err
	}
	// The last record may be gone; its sequence number must not be.
	bl.lastDelta = b.LastOffsetDelta()
	return bl.AppendTo(dst)
}

// appendEmpty appends the header of b as that of a batch without records.
func appendEmpty(dst []byte, b Batch) []byte {
	h := header{
		baseOffset: b.BaseOffset(), leaderEpoch: b.PartitionLeaderEpoch(),
		attributes:      b.Attributes() & (attrLogAppendTime | attrTransactional | attrControl),
		lastOffsetDelta: b.LastOffsetDelta(), baseTimestamp: NoTimestamp, maxTimestamp: b.MaxTimestamp(),
		producerID: b.ProducerID(), producerEpoch: b.ProducerEpoch(), baseSequence: b.BaseSequence(),
	}
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	Batch(dst[start:]).putHeader(&h)
	return dst
}
