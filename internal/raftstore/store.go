package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// ErrCorrupt is damage that no crash explains. The error around it names file and offset.
var ErrCorrupt = errors.New("corrupt raft store")

// DirName is the directory below the metadata log directory that holds a store.
const DirName = "__walser_metadata"

// Deps are what a store works with.
type Deps struct {
	FS vfs.FS
	// Fatal is called once, with the first write or sync that failed. It must see to it that the process
	// ends: what the store wrote last may or may not be there. It may return.
	Fatal func(error)
}

// Config sizes a store. The zero value is usable.
type Config struct {
	SegmentBytes int64 // space allocated for a segment; 0 means 4 MiB
}

const defaultSegmentBytes = 4 << 20

// Store is an open store. Log, Stable and Snapshots are its three faces to raft; all may be used from
// any goroutine.
type Store struct {
	fs           vfs.FS
	dir          string
	segmentBytes int64
	lock         io.Closer
	fatal        func(error)
	failed       atomic.Pointer[error]

	log       *Log
	stable    *Stable
	snapshots *Snapshots
}

// Open opens the store in dir, making it where it is missing, and recovers it. The error is ErrCorrupt
// where the store must not be used, vfs.ErrLocked where another process uses it.
func Open(dir string, cfg Config, deps Deps) (_ *Store, err error) {
	s := &Store{fs: deps.FS, dir: dir, segmentBytes: cfg.SegmentBytes, fatal: deps.Fatal}
	if s.segmentBytes == 0 {
		s.segmentBytes = defaultSegmentBytes
	}
	if err := s.makeDir(); err != nil {
		return nil, fmt.Errorf("make raft store: %w", err)
	}
	if s.lock, err = s.fs.Lock(s.path("lock")); err != nil {
		return nil, fmt.Errorf("lock raft store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	names, err := s.list()
	if err != nil {
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	if s.snapshots, err = openSnapshots(s, names); err != nil {
		return nil, fmt.Errorf("open raft snapshots: %w", err)
	}
	if s.stable, err = openStable(s); err != nil {
		return nil, fmt.Errorf("open raft vote: %w", err)
	}
	if s.log, err = openLog(s, names); err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	// One sync makes every name durable that the opening made.
	if err := s.fs.SyncDir(dir); err != nil {
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	return s, nil
}

// makeDir makes the directory durably: its name is an entry of its parent. One without a vote may be that of
// a process that was killed before its name was durable.
func (s *Store) makeDir() error {
	if _, err := s.fs.Stat(s.path(voteName)); err == nil {
		return nil
	}
	if err := s.fs.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	return vfs.SyncPath(s.fs, s.dir)
}

// list returns the names in the directory and removes what an interrupted snapshot left.
func (s *Store) list() ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), vfs.TempSuffix) {
			if err := s.fs.Remove(s.path(e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// Log returns the raft log.
func (s *Store) Log() *Log { return s.log }

// Stable returns term and vote.
func (s *Store) Stable() *Stable { return s.stable }

// Snapshots returns the snapshots.
func (s *Store) Snapshots() *Snapshots { return s.snapshots }

// Close closes all files. Nothing is lost by not calling it.
func (s *Store) Close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.close())
	}
	if s.stable != nil {
		errs = append(errs, s.stable.file.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// broken returns the error that ended the store, if one did.
func (s *Store) broken() error {
	if err := s.failed.Load(); err != nil {
		return fmt.Errorf("the raft store failed before: %w", *err)
	}
	return nil
}

// fail ends the store. A full disk does not: nothing was acknowledged, the bytes are written again at the
// same place, and raft steps down until there is space.
func (s *Store) fail(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return s.failNow(err)
}

// failNow is fail for a sync: what it could not write may be gone for good, whatever the reason.
func (s *Store) failNow(err error) error {
	if s.failed.CompareAndSwap(nil, &err) && s.fatal != nil {
		s.fatal(err)
	}
	return err
}

// writeLock makes writes to one file, or one set of files, follow one another. It is held across IO:
// raft has a single writer, and only the compaction after a snapshot ever waits for it.
type writeLock struct {
	xsync.Mutex
}

func (s *Store) create(name string) (vfs.File, error) {
	return s.fs.OpenFile(s.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
}

func corrupt(file string, offset int64, format string, args ...any) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrCorrupt, file, offset, fmt.Sprintf(format, args...))
}
