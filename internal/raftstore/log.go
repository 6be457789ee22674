package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"syscall"

	"github.com/hashicorp/raft"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// spareName is the segment that is allocated ahead.
const spareName = "spare"

// Log is the raft log: entries without gaps from FirstIndex to LastIndex.
type Log struct {
	store *Store
	write writeLock // guards the files, and segments and staged against other writers
	mu    struct {
		xsync.RWMutex
		segments []*segment // by first index; the last is written to
		first    uint64     // of the log: entries before it were deleted though their segment is still there
	}
	spare  header // of the spare, or of the last one while there is none
	staged uint64 // commit index for the next entries
	buf    []byte // frames of one StoreLogs
}

var (
	_ raft.CommitTrackingLogStore = (*Log)(nil)
	_ raft.MonotonicLogStore      = (*Log)(nil)
)

// openLog recovers the segments in names.
func openLog(s *Store, names []string) (*Log, error) {
	l := &Log{store: s}
	for _, name := range names {
		if first, ok := parseSegmentName(name); ok {
			file, err := s.fs.OpenFile(s.path(name), os.O_RDWR, 0)
			if err != nil {
				return nil, errors.Join(err, l.close())
			}
			l.mu.segments = append(l.mu.segments, &segment{name: s.path(name), file: file, first: first})
		}
	}
	slices.SortFunc(l.mu.segments, func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	if err := l.recover(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if err := l.openSpare(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// openSpare takes over the spare, or makes a new one where it is missing or was not finished.
func (l *Log) openSpare() error {
	for _, seg := range l.mu.segments {
		l.spare.serial = max(l.spare.serial, seg.serial)
	}
	content, err := vfs.ReadFile(l.store.fs, l.store.path(spareName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if head, err := readHeader(content); err == nil && len(content) == frameHeader && head.serial > l.spare.serial {
		l.spare = head
		return l.syncSpare()
	}
	if err := l.makeSpare(); !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil // on a full disk the log lives on in the space it has
}

// syncSpare makes durable what a process that was killed may have left in the page cache.
func (l *Log) syncSpare() error {
	file, err := l.store.fs.OpenFile(l.store.path(spareName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// recover scans all segments. Only the last may end in the middle of a write. It is synced: a process that
// was killed may have left entries in the page cache, and raft takes what the log shows for stored.
func (l *Log) recover() error {
	segments := l.mu.segments
	for i, seg := range segments {
		torn, err := seg.scan()
		if err != nil {
			return err
		}
		if i+1 < len(segments) {
			if next := segments[i+1]; torn || seg.last()+1 != next.first {
				return corrupt(seg.name, seg.end, "the log goes on with index %d in %s, but here it ends with %d", next.first, next.name, seg.last())
			}
		}
		if i > 0 && len(seg.offsets) > 0 && seg.before != segments[i-1].sum {
			return corrupt(seg.name, frameHeader, "it follows a segment that ends with checksum %08x, but %s ends with %08x", seg.before, segments[i-1].name, segments[i-1].sum)
		}
		if i+1 < len(segments) {
			continue
		}
		if torn {
			if err := l.cut(seg); err != nil {
				return fmt.Errorf("remove an unfinished write: %w", err)
			}
		}
		if err := seg.file.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", seg.name, err)
		}
	}
	if n := len(segments); n > 0 && len(segments[n-1].offsets) == 0 {
		// The crash came between the new segment and its first entries.
		empty := segments[n-1]
		l.mu.segments = segments[:n-1]
		if err := errors.Join(empty.file.Close(), l.store.fs.Remove(empty.name)); err != nil {
			return err
		}
	}
	if len(l.mu.segments) > 0 {
		l.mu.first = l.mu.segments[0].first
	}
	return nil
}

// cut removes an unfinished write from the end of a segment, and allocates the space again. Until the sync
// that follows, a crash leaves an unfinished write still.
func (l *Log) cut(seg *segment) error {
	if err := seg.file.Truncate(seg.end); err != nil {
		return err
	}
	if err := seg.file.Preallocate(0, l.store.segmentBytes); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

func (l *Log) close() error {
	var errs []error
	for _, seg := range l.mu.segments {
		errs = append(errs, seg.file.Close())
	}
	return errors.Join(errs...)
}

// IsMonotonic tells raft to keep the log without gaps: after a restored snapshot it deletes all entries.
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex returns the index of the first entry, 0 when the log is empty.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.mu.segments) == 0 {
		return 0, nil
	}
	return l.mu.first, nil
}

// LastIndex returns the index of the last entry, 0 when the log is empty.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.lastLocked(), nil
}

func (l *Log) lastLocked() uint64 {
	if len(l.mu.segments) == 0 {
		return 0
	}
	return l.mu.segments[len(l.mu.segments)-1].last()
}

// StageCommitIndex notes raft's commit index; it is stored with the entries of the next StoreLogs.
func (l *Log) StageCommitIndex(index uint64) error {
	l.write.Lock()
	defer l.write.Unlock()
	l.staged = index
	return nil
}

// GetCommitIndex returns the commit index stored with the last entry. It is never above LastIndex.
func (l *Log) GetCommitIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.mu.segments) == 0 {
		return 0, nil
	}
	return l.mu.segments[len(l.mu.segments)-1].commit, nil
}

// GetLog reads an entry and checks it: raft.ErrLogNotFound where it is not in the log, ErrCorrupt where
// it is not what was written.
func (l *Log) GetLog(index uint64, log *raft.Log) error {
	l.mu.RLock()
	at, ok := l.findLocked(index)
	l.mu.RUnlock()
	if !ok {
		return raft.ErrLogNotFound
	}
	f, err := at.read()
	switch {
	case errors.Is(err, fs.ErrClosed):
		return raft.ErrLogNotFound // compacted away since
	case err != nil:
		return err
	case f.index != index:
		return corrupt(at.name, at.offset, "index %d where %d belongs", f.index, index)
	}
	f.entry(log)
	return nil
}

// findLocked returns where an entry lies.
func (l *Log) findLocked(index uint64) (at place, ok bool) {
	if index == 0 || index < l.mu.first || index > l.lastLocked() {
		return place{}, false
	}
	i, found := slices.BinarySearchFunc(l.mu.segments, index, func(s *segment, index uint64) int {
		return cmp.Compare(s.first, index)
	})
	if !found {
		i--
	}
	seg := l.mu.segments[i]
	return seg.placeOf(int(index - seg.first)), true
}

// StoreLog stores one entry; see StoreLogs.
func (l *Log) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs appends entries with one write and one sync. They must follow LastIndex; where they leave
// a gap, which raft does after a snapshot only, all earlier entries are deleted first.
func (l *Log) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.store.broken(); err != nil {
		return err
	}
	last, _ := l.LastIndex()
	switch first := logs[0].Index; {
	case first == 0 || last > 0 && first <= last:
		return fmt.Errorf("store raft entry %d: the log ends with %d", first, last)
	case last > 0 && first > last+1:
		if err := l.deleteFront(last); err != nil {
			return fmt.Errorf("begin the raft log again at %d: %w", first, err)
		}
	}
	if err := l.append(logs); err != nil {
		return fmt.Errorf("store raft entries from %d: %w", logs[0].Index, err)
	}
	return nil
}

func (l *Log) append(logs []*raft.Log) error {
	need := int64(frameHeader) // of a fresh segment
	for i, log := range logs {
		if log.Index != logs[0].Index+uint64(i) {
			return fmt.Errorf("index %d follows %d", log.Index, logs[i-1].Index)
		}
		f := frameOf(log)
		if f.size() > maxFrame {
			return fmt.Errorf("an entry of %d bytes is larger than %d", f.size(), maxFrame)
		}
		need += int64(f.size())
	}
	if need > math.MaxUint32/2 {
		return fmt.Errorf("%d bytes in one write", need)
	}
	seg, fresh, err := l.writable(logs[0].Index, need)
	if err != nil {
		return err
	}
	buf, write, sum := l.buf[:0], uint32(seg.end), seg.sum
	offsets := make([]int64, len(logs))
	commit := seg.commit
	for i, log := range logs {
		offsets[i] = seg.end + int64(len(buf))
		f := frameOf(log)
		f.previous, f.segment, f.write = sum, seg.id, write
		f.commit = min(max(l.staged, commit), f.index)
		commit = f.commit
		buf, sum = appendFrame(buf, &f)
	}
	const keepBuffer = 1 << 20
	if l.buf = buf; cap(buf) > keepBuffer {
		l.buf = nil
	}
	if err := l.put(seg, buf); err != nil {
		seg.torn = true
		if fresh {
			err = errors.Join(err, seg.file.Close(), l.abandon(seg.name))
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if fresh {
		l.mu.segments = append(l.mu.segments, seg)
		if len(l.mu.segments) == 1 {
			l.mu.first = seg.first
		}
	}
	seg.offsets = append(seg.offsets, offsets...)
	seg.end += int64(len(buf))
	seg.sum, seg.commit = sum, commit
	return nil
}

// put writes frames at the end of a segment and makes them durable.
func (l *Log) put(seg *segment, frames []byte) error {
	if _, err := seg.file.WriteAt(frames, seg.end); err != nil {
		return l.store.fail(fmt.Errorf("write %s at offset %d: %w", seg.name, seg.end, err))
	}
	if err := seg.file.Sync(); err != nil {
		return l.store.failNow(fmt.Errorf("sync %s: %w", seg.name, err))
	}
	return nil
}

// writable returns the segment for the next write of need bytes, which begins with this index: the last
// one, or a fresh one that no list holds yet.
func (l *Log) writable(index uint64, need int64) (seg *segment, fresh bool, err error) {
	if n := len(l.mu.segments); n > 0 {
		last := l.mu.segments[n-1]
		if last.end+need <= l.store.segmentBytes {
			return last, false, nil
		}
		if err := l.mend(last); err != nil {
			return nil, false, l.store.failNow(fmt.Errorf("end %s: %w", last.name, err))
		}
	}
	seg = &segment{name: l.store.path(segmentName(index)), first: index, end: frameHeader}
	if len(l.mu.segments) > 0 {
		previous := l.mu.segments[len(l.mu.segments)-1]
		seg.before, seg.sum, seg.commit = previous.sum, previous.sum, previous.commit
	}
	if seg.file, seg.header, err = l.takeSpare(seg.name, need); err != nil {
		return nil, false, errors.Join(l.store.fail(fmt.Errorf("begin %s: %w", seg.name, err)), l.abandon(seg.name))
	}
	// The name must be durable before the entries in the file are acknowledged.
	if err := l.store.fs.SyncDir(l.store.dir); err != nil {
		return nil, false, l.store.failNow(fmt.Errorf("begin %s: %w", seg.name, errors.Join(err, seg.file.Close())))
	}
	return seg, true, nil
}

// mend removes, durably, what a write that a full disk cut short left: behind the end of a segment that is not
// the last one it would be damage, or entries that are elsewhere too.
func (l *Log) mend(seg *segment) error {
	if !seg.torn {
		return nil
	}
	if err := seg.file.Truncate(seg.end); err != nil {
		return err
	}
	seg.torn = false
	return seg.file.Sync()
}

// abandon removes, durably, a segment that could not be begun: its entries may come to lie in the one before.
func (l *Log) abandon(name string) error {
	if l.store.broken() != nil {
		return nil // nothing is stored any more, and what is there may be
	}
	err := l.store.fs.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = l.store.fs.SyncDir(l.store.dir)
	}
	if err != nil {
		return l.store.failNow(fmt.Errorf("remove %s: %w", name, err))
	}
	return nil
}

// takeSpare gives the spare its name in the log and makes the next spare, if there is space for one.
func (l *Log) takeSpare(name string, need int64) (file vfs.File, head header, err error) {
	fsys := l.store.fs
	err = fsys.Rename(l.store.path(spareName), name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = l.makeSpare(); err == nil {
			err = fsys.Rename(l.store.path(spareName), name)
		}
	}
	if err != nil {
		return nil, header{}, err
	}
	head = l.spare
	if file, err = fsys.OpenFile(name, os.O_RDWR, 0); err != nil {
		return nil, header{}, err
	}
	if need > l.store.segmentBytes {
		err = file.Preallocate(0, need)
	}
	if err == nil {
		if err = l.makeSpare(); errors.Is(err, syscall.ENOSPC) {
			err = nil
		}
	}
	if err != nil {
		return nil, header{}, errors.Join(err, file.Close())
	}
	return file, head, nil
}

// makeSpare allocates the next segment and writes its header. Its name becomes durable with the next
// sync of the directory.
func (l *Log) makeSpare() error {
	file, err := l.store.create(spareName)
	if err != nil {
		return err
	}
	next := header{serial: l.spare.serial + 1}
	content, id := appendFrame(nil, &frame{kind: headerType, index: next.serial})
	next.id = id
	err = file.Preallocate(0, l.store.segmentBytes)
	if err == nil {
		_, err = file.WriteAt(content, 0)
	}
	if err == nil {
		err = file.Sync() // a header is durable before its file gets a name in the log
	}
	if err != nil {
		return errors.Join(err, file.Close(), l.store.fs.Remove(l.store.path(spareName)))
	}
	l.spare = next
	return file.Close()
}

// DeleteRange deletes entries from either end of the log, as raft does it: up to a snapshot, or those
// that conflict with the leader's.
func (l *Log) DeleteRange(from, to uint64) error {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.store.broken(); err != nil {
		return err
	}
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if last == 0 || from > last || to < first || from > to {
		return nil
	}
	var err error
	switch {
	case from <= first:
		err = l.deleteFront(min(to, last))
	case to >= last:
		err = l.deleteBack(from)
	default:
		return fmt.Errorf("delete raft entries %d to %d out of the middle of %d to %d", from, to, first, last)
	}
	if err != nil {
		return l.store.fail(fmt.Errorf("delete raft entries %d to %d: %w", from, to, err))
	}
	return nil
}

// deleteFront deletes the entries up to index to: whole segments, oldest first, each durably before the
// next, so that a crash leaves no gap. The rest of the first segment that stays is only hidden; a
// restart shows it again, which raft does not mind.
func (l *Log) deleteFront(to uint64) error {
	for len(l.mu.segments) > 0 && l.mu.segments[0].last() <= to {
		if err := l.drop(0); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.first = 0
	if len(l.mu.segments) > 0 {
		l.mu.first = max(to+1, l.mu.segments[0].first)
	}
	return nil
}

// deleteBack deletes the entries from index from on: newest segment first.
func (l *Log) deleteBack(from uint64) error {
	for l.mu.segments[len(l.mu.segments)-1].first >= from {
		if err := l.drop(len(l.mu.segments) - 1); err != nil {
			return err
		}
	}
	seg := l.mu.segments[len(l.mu.segments)-1]
	if seg.last() < from {
		return nil
	}
	return l.shorten(seg, int(from-seg.first))
}

// shorten keeps the first entries of the last segment.
//
// NB: it copies them into the spare, which takes the segment's place, under an identity of its own. A
// truncate that a crash cuts short may zero the first deleted entries and leave later ones, which is
// what damage looks like; so would blocks of the old file that a crash leaves in the new one.
func (l *Log) shorten(seg *segment, keep int) error {
	content := make([]byte, seg.offsets[keep])
	if n, err := seg.file.ReadAt(content, 0); n < len(content) {
		return fmt.Errorf("read %s: %w", seg.name, err)
	}
	if _, err := l.store.fs.Stat(l.store.path(spareName)); errors.Is(err, fs.ErrNotExist) {
		if err := l.makeSpare(); err != nil {
			return err
		}
	}
	next := segment{name: seg.name, first: seg.first, offsets: seg.offsets[:keep:keep], before: seg.before, header: l.spare}
	next.sum, next.end = seg.before, int64(len(content))
	buf := make([]byte, 0, len(content))
	for _, offset := range next.offsets {
		f, _, err := parseFrame(content[offset:])
		if err != nil {
			return corrupt(seg.name, offset, "%v", err)
		}
		f.previous, f.segment = next.sum, next.id
		next.commit = f.commit
		buf, next.sum = appendFrame(buf, &f)
	}
	var err error
	if next.file, err = l.fillSpare(seg.name, buf); err != nil {
		return err
	}
	l.mu.Lock()
	old := seg.file
	*seg = next
	l.mu.Unlock()
	if err := l.makeSpare(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, old.Close())
	}
	return old.Close()
}

// fillSpare writes frames into the spare and gives it the name of the segment that it replaces.
func (l *Log) fillSpare(name string, frames []byte) (vfs.File, error) {
	file, err := l.store.fs.OpenFile(l.store.path(spareName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if _, err = file.WriteAt(frames, frameHeader); err == nil {
		if err = file.Sync(); err == nil {
			err = l.store.fs.Rename(l.store.path(spareName), name)
		}
	}
	if err != nil {
		// With these frames in it, it is no spare any more.
		return nil, errors.Join(err, file.Close(), l.store.fs.Remove(l.store.path(spareName)))
	}
	if err := l.store.fs.SyncDir(l.store.dir); err != nil {
		return nil, errors.Join(l.store.failNow(err), file.Close())
	}
	return file, nil
}

// drop removes one segment, durably.
func (l *Log) drop(i int) error {
	l.mu.Lock()
	seg := l.mu.segments[i]
	l.mu.segments = slices.Delete(slices.Clone(l.mu.segments), i, i+1)
	l.mu.Unlock()
	if err := errors.Join(seg.file.Close(), l.store.fs.Remove(seg.name)); err != nil {
		return err
	}
	if err := l.store.fs.SyncDir(l.store.dir); err != nil {
		return l.store.failNow(err)
	}
	return nil
}
