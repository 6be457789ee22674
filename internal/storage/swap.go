package storage

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/storage/segment"
)

// completeSwaps brings a replacement of segments that a crash interrupted to its end, or undoes it, and
// returns what the directory then holds. *.cleaned files were never complete, and neither is a *.swap at
// or above the first of them. Any other *.swap is complete and durable, and what it replaces may be gone
// in part: the rest goes, and it takes the place.
func (l *Log) completeSwaps(entries []fs.DirEntry) ([]fs.DirEntry, error) {
	fsys := l.dir.fs
	firstCleaned := int64(math.MaxInt64)
	var logs, swaps []int64 // bases of N.log, and of anything with SwapSuffix
	for _, e := range entries {
		base, suffix, ok := parseFileName(e.Name())
		switch {
		case !ok:
		case suffix == segment.LogSuffix:
			logs = append(logs, base)
		case strings.HasSuffix(suffix, segment.CleanedSuffix):
			firstCleaned = min(firstCleaned, base)
			if err := fsys.Remove(filepath.Join(l.path, e.Name())); err != nil {
				return nil, err
			}
		case strings.HasSuffix(suffix, segment.SwapSuffix):
			swaps = append(swaps, base)
		}
	}
	if len(swaps) == 0 {
		return entries, nil
	}
	slices.Sort(swaps)
	swaps = slices.Compact(swaps)
	for _, base := range swaps {
		if base >= firstCleaned {
			if err := l.eachSwap(base, func(from, _ string) error { return fsys.Remove(from) }); err != nil {
				return nil, err
			}
			continue
		}
		next, err := l.swapEnd(base)
		if err != nil {
			return nil, err
		}
		for _, old := range logs {
			if old > base && old < next {
				if err := l.removeSegmentFiles(old); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := fsys.SyncDir(l.path); err != nil {
		return nil, err
	}
	for _, base := range swaps {
		if base < firstCleaned {
			l.dir.logger.Info("replacement of segments completed", "topic", l.tp.Topic, "partition", l.tp.Partition, "segment", base)
			if err := l.eachSwap(base, fsys.Rename); err != nil {
				return nil, err
			}
		}
	}
	if err := fsys.SyncDir(l.path); err != nil {
		return nil, err
	}
	return fsys.ReadDir(l.path)
}

// swapEnd returns the offset after the last batch of N.log.swap; base where only indexes were left to be
// renamed. It ends before a batch that is not sound, like reads do.
func (l *Log) swapEnd(base int64) (next int64, err error) {
	f, err := l.dir.fs.OpenFile(filepath.Join(l.path, segment.FileName(base, segment.LogSuffix+segment.SwapSuffix)), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return base, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	next, err = segment.EndOf(l.dir.files, f, base)
	if errors.Is(err, segment.ErrCorrupt) {
		l.dir.logger.Warn("damaged segment", "topic", l.tp.Topic, "partition", l.tp.Partition, "segment", base, "err", err)
		err = nil
	}
	return next, err
}

// eachSwap does something to each *.swap file of a segment, N.log last.
func (l *Log) eachSwap(base int64, do func(from, to string) error) error {
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix, segment.LogSuffix} {
		to := filepath.Join(l.path, segment.FileName(base, suffix))
		if err := do(to+segment.SwapSuffix, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
