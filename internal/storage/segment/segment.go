package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// The suffixes of a segment's files.
const (
	LogSuffix       = ".log"
	IndexSuffix     = ".index"
	TimeIndexSuffix = ".timeindex"
	TxnIndexSuffix  = ".txnindex"
	DeletedSuffix   = ".deleted"
	CleanedSuffix   = ".cleaned"
	SwapSuffix      = ".swap"
)

// HeaderSize is the size of a batch header, the least a batch can have.
const HeaderSize = record.HeaderSize

// A segment that holds aheadFrom bytes has blocks allocated ahead of its appends: as much again as it holds, at most
// aheadMost. Without them ext4 looks for room for each 4 KiB of a write and accounts for it, a third of the call's cost.
const (
	aheadFrom = 1 << 20
	aheadMost = 4 << 20
)

// ErrDamaged: an append fell short and could not be cut back; the segment takes no more.
var ErrDamaged = errors.New("the segment could not be cut back after a failed write")

// FileName returns the name of a segment file: 20 decimal digits and the suffix.
func FileName(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// Segment is one segment. Reads may run beside one appender; everything that changes files other than
// Append (FlushIndex, Truncate, Recover, MarkDeleted, Remove) is called by one goroutine at a time.
type Segment struct {
	files       *FileCache
	dir         string
	base        int64
	handle      atomic.Pointer[Handle]
	closed      atomic.Bool  // no longer kept in the cache
	place       atomic.Int32 // which suffix its files carry
	indexSynced atomic.Bool  // its index files are durable and complete

	// mu guards what an append moves. It is never held across IO.
	mu struct {
		xsync.Mutex
		size      int64     // bytes of N.log that readers may see
		next      int64     // offset after the last batch
		damage    error     // why it takes no more; nil while it does
		allocated int64     // blocks of N.log were asked for up to here
		firstTime int64     // maximum timestamp of the first batch, -1 unknown
		maxTime   TimeEntry // the largest timestamp and the batch that holds it
		timeKnown bool      // maxTime is known; else it is read from N.timeindex when it is asked for

		sinceIndex int32 // bytes since the last index entry
		index      sparse[OffsetEntry]
		times      sparse[TimeEntry]
		lastTime   int64 // timestamp of the newest time entry, -1 none
		aborted    []AbortedTxn
		txnsFiled  int // of aborted, how many are in N.txnindex

		// last is the newest batch: who reads at the tail gets its place without a look at the file.
		last Position
		// hint is where the last read ended: the next one of a sequential reader begins there.
		hint OffsetEntry
	}
}

// State is one look at what an append moves.
type State struct {
	Size int64 // bytes
	Next int64 // offset after the last batch
}

// Create makes the files of a new, empty segment that begins at base. The directory entry is not durable
// until the caller syncs the directory. A file of that name is taken over only when it is empty: the
// left-over of an attempt that failed.
func Create(files *FileCache, dir string, base int64, preallocate int64) (*Segment, error) {
	s := newSegment(files, dir, base)
	s.mu.next = base
	s.mu.timeKnown = true
	h, err := files.open(s, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	defer h.Release()
	size, err := h.File.Size()
	if err == nil && size != 0 {
		err = fmt.Errorf("%s holds %d bytes already", s.path(LogSuffix), size)
	}
	if err == nil && preallocate > 0 {
		err = h.File.Preallocate(0, preallocate)
		s.mu.allocated = preallocate
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("create segment %d: %w", base, err)
	}
	return s, nil
}

// Open returns a sealed segment of size bytes whose content is trusted: its successor begins at next.
// Nothing is read. A segment that may be damaged, and the last one, then go through Recover.
func Open(files *FileCache, dir string, base, next, size int64) *Segment {
	s := newSegment(files, dir, base)
	s.mu.size, s.mu.next = size, next
	s.mu.index.unknown, s.mu.times.unknown = true, true
	return s
}

func newSegment(files *FileCache, dir string, base int64) *Segment {
	s := &Segment{files: files, dir: dir, base: base}
	s.mu.firstTime, s.mu.lastTime = -1, -1
	s.mu.maxTime = TimeEntry{Timestamp: -1, Offset: base}
	return s
}

// Base returns the segment's base offset, which is in its name.
func (s *Segment) Base() int64 { return s.base }

// State returns size and next offset together.
func (s *Segment) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{s.mu.size, s.mu.next}
}

// Fits says whether size more bytes with this last offset can be appended: positions and offset deltas
// are int32, and so is the file's size.
func (s *Segment) Fits(size int64, lastOffset int64) bool {
	st := s.State()
	return st.Size+size <= math.MaxInt32 && lastOffset-s.base <= math.MaxInt32
}

// IndexBytes returns the sizes of N.index and N.timeindex, entries that are still in memory included.
func (s *Segment) IndexBytes() (index, times int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.mu.index.len()) * offsetEntrySize, int64(s.mu.times.len()) * timeEntrySize
}

// FirstTimestamp returns the maximum timestamp of the first batch in ms, -1 if it is not known or none.
func (s *Segment) FirstTimestamp() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.firstTime
}

// Append writes data, whole batches whose offsets are assigned, with one write and shows it to readers.
// The error of a short write is returned after the file was cut back to what it was; ErrDamaged joins it
// where that failed too, and is returned from then on. The caller holds the log's append lock and a handle of this segment.
func (s *Segment) Append(h *Handle, data []byte, indexIntervalBytes int32) error {
	s.mu.Lock()
	at, damage, allocated := s.mu.size, s.mu.damage, s.mu.allocated
	s.mu.Unlock()
	if damage != nil {
		return damage
	}
	if end := at + int64(len(data)); at >= aheadFrom && end > allocated {
		s.allocate(h, max(at, allocated), end+min(at, aheadMost))
	}
	if _, err := h.File.WriteAt(data, at); err != nil {
		err = fmt.Errorf("append %d bytes to segment %d: %w", len(data), s.base, err)
		if cut := h.File.Truncate(at); cut != nil {
			err = errors.Join(err, ErrDamaged, cut)
			s.mu.Lock()
			s.mu.damage = err
			s.mu.Unlock()
		}
		return err
	}
	s.mu.Lock()
	s.noteLocked(data, indexIntervalBytes)
	s.mu.Unlock()
	return nil
}

// allocate asks for blocks ahead of the appends. A file system that has none to spare is not asked again:
// whether there is room for records, their own write says.
func (s *Segment) allocate(h *Handle, from, to int64) {
	if err := h.File.Preallocate(from, to); err != nil {
		to = math.MaxInt64
	}
	s.mu.Lock()
	s.mu.allocated = to
	s.mu.Unlock()
}

// trim gives back what is allocated beyond the segment's end. No append runs meanwhile. Where that fails
// the space comes back with the segment's removal, which is why nobody is told.
func (s *Segment) trim() {
	s.mu.Lock()
	size, allocated := s.mu.size, s.mu.allocated
	s.mu.allocated = 0
	s.mu.Unlock()
	if allocated <= size {
		return
	}
	h, err := s.Acquire()
	if err != nil {
		return
	}
	defer h.Release()
	_ = h.File.Truncate(size)
}

// noteLocked moves size, next, times and index entries past the batches in data.
func (s *Segment) noteLocked(data []byte, indexIntervalBytes int32) {
	for len(data) > 0 {
		b := record.Batch(data)
		size := b.Size()
		s.noteBatchLocked(b, s.mu.size, indexIntervalBytes)
		s.mu.size += int64(size)
		data = data[size:]
	}
}

// noteBatchLocked takes a batch header into the indexes.
func (s *Segment) noteBatchLocked(b record.Batch, position int64, indexIntervalBytes int32) {
	last := b.LastOffset()
	if position == 0 {
		s.mu.firstTime = b.MaxTimestamp()
	}
	if t := b.MaxTimestamp(); t > s.mu.maxTime.Timestamp {
		s.mu.maxTime = TimeEntry{t, last}
	}
	if s.mu.sinceIndex > indexIntervalBytes {
		s.mu.index.tail = append(s.mu.index.tail, OffsetEntry{last, position})
		if s.mu.maxTime.Timestamp > s.mu.lastTime {
			s.mu.times.tail = append(s.mu.times.tail, s.mu.maxTime)
			s.mu.lastTime = s.mu.maxTime.Timestamp
		}
		s.mu.sinceIndex = 0
	}
	s.mu.sinceIndex += int32(b.Size())
	s.mu.last = Position{position, int64(b.Size()), b.BaseOffset(), last, b.MaxTimestamp()}
	s.mu.next = last + 1
}

// AddAborted notes a transaction that a marker in this segment aborted.
func (s *Segment) AddAborted(t AbortedTxn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.aborted = append(s.mu.aborted, t)
}

// Aborted appends the aborted transactions that overlap [from, upTo). done says that no later segment
// can hold one that does.
func (s *Segment) Aborted(dst []AbortedTxn, from, upTo int64) (found []AbortedTxn, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.mu.aborted {
		if t.LastOffset >= from && t.FirstOffset < upTo {
			dst = append(dst, t)
		}
		if t.LastStableOffset >= upTo {
			return dst, true
		}
	}
	return dst, false
}

// Sync makes the data of N.log durable; not its directory entry.
func (s *Segment) Sync() error {
	h, err := s.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	if err := h.File.Sync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", s.base, err)
	}
	return nil
}

// IndexSynced says whether SyncIndex succeeded since the segment was sealed.
func (s *Segment) IndexSynced() bool { return s.indexSynced.Load() }

// TrustIndex notes that the index files of a segment below the recovery point are durable.
func (s *Segment) TrustIndex() { s.indexSynced.Store(true) }

// Deleted says whether MarkDeleted was called.
func (s *Segment) Deleted() bool { return s.place.Load() == placeDeleted }

// Close takes the segment's file out of the cache. Readers that have a handle keep it.
func (s *Segment) Close() {
	s.closed.Store(true)
	s.files.drop(s)
}

// MarkDeleted renames the segment's files to *.deleted, N.log last: as long as it has its name the
// segment is there, and indexes are rebuilt. Readers that have a handle go on.
func (s *Segment) MarkDeleted() error {
	s.place.Store(placeDeleted)
	for _, suffix := range []string{IndexSuffix, TimeIndexSuffix, TxnIndexSuffix, LogSuffix} {
		name := filepath.Join(s.dir, FileName(s.base, suffix))
		if err := s.files.fs.Rename(name, name+DeletedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mark segment %d deleted: %w", s.base, err)
		}
	}
	s.Close()
	return nil
}

// RemoveDeleted removes the files that MarkDeleted renamed in dir, which the partition's directory may be
// called by now. Files that are gone already are no error.
func RemoveDeleted(fsys vfs.FS, dir string, base int64) error {
	var errs []error
	for _, suffix := range []string{LogSuffix, IndexSuffix, TimeIndexSuffix, TxnIndexSuffix} {
		err := fsys.Remove(filepath.Join(dir, FileName(base, suffix+DeletedSuffix)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Segment) path(suffix string) string { return s.pathIn(s.place.Load(), suffix) }

func (s *Segment) pathIn(place int32, suffix string) string {
	return filepath.Join(s.dir, FileName(s.base, suffix+placeSuffix(place)))
}
