package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/xsync"
)

const (
	deleteSuffix = "-delete"
	maxFileName  = 255
)

// deletion is something renamed out of the way that is to be removed.
type deletion struct {
	dir   *Dir
	path  string // the partition's directory
	base  int64  // of the segment whose files are removed
	whole bool   // the whole directory is
	due   time.Time
}

// deletions are what file.delete.delay.ms still keeps. After a restart the renamed files are found by
// their names and removed at once.
type deletions struct {
	changed chan struct{} // capacity 1
	mu      struct {
		xsync.Mutex
		list []deletion // in no order: there are few, and they are looked at rarely
	}
}

func (q *deletions) init() { q.changed = make(chan struct{}, 1) }

func (q *deletions) add(x deletion, due time.Time) {
	x.due = due
	q.mu.Lock()
	q.mu.list = append(q.mu.list, x)
	q.mu.Unlock()
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// take returns what is due at now, and when the next one is; the zero time for none.
func (q *deletions) take(now time.Time) (due []deletion, next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.mu.list[:0]
	for _, x := range q.mu.list {
		if !x.due.After(now) {
			due = append(due, x)
			continue
		}
		if next.IsZero() || x.due.Before(next) {
			next = x.due
		}
		rest = append(rest, x)
	}
	clear(q.mu.list[len(rest):])
	q.mu.list = rest
	return due, next
}

// Delete closes a log and renames its directory out of the way; the files go file.delete.delay.ms later.
// A partition that is on disk but not open is deleted too, and a recovery under way is given up. Readers that
// hold a slice keep it.
func (m *Manager) Delete(tp model.TopicPartition) error {
	l, ok := m.Get(tp)
	if !ok {
		return m.deleteFound(tp)
	}
	l.unwanted.Store(true)
	done := l.takeTurn()
	defer done()
	l.deleted.Store(true)
	l.close()
	m.mu.Lock()
	if m.mu.logs[tp] == l {
		delete(m.mu.logs, tp)
	}
	m.mu.Unlock()
	l.dir.mu.Lock()
	delete(l.dir.mu.logs, tp)
	_, found := l.dir.mu.found[tp] // not recovered
	delete(l.dir.mu.found, tp)
	l.dir.mu.Unlock()
	if !l.metadataSaved && !found {
		return nil // it never had files
	}
	return m.deleteDir(l.dir, l.path, tp, l.config.Load().fileDeleteDelay())
}

func (m *Manager) deleteFound(tp model.TopicPartition) error {
	defaults := DefaultLogConfig()
	for _, d := range m.dirs {
		d.mu.Lock()
		_, ok := d.mu.found[tp]
		delete(d.mu.found, tp)
		d.mu.Unlock()
		if ok {
			return m.deleteDir(d, filepath.Join(d.path, tp.String()), tp, defaults.fileDeleteDelay())
		}
	}
	return fmt.Errorf("%w: %s", ErrUnknownPartition, tp)
}

// DeleteStale deletes what other directories hold of earlier topics under the name of an open log: one that was
// offline when such a topic was deleted, and is back.
func (m *Manager) DeleteStale(tp model.TopicPartition) error {
	l, ok := m.Get(tp)
	if !ok {
		return nil
	}
	var errs []error
	for _, d := range m.dirs {
		d.mu.Lock()
		_, found := d.mu.found[tp]
		d.mu.Unlock()
		if d == l.dir || !found {
			continue
		}
		if _, err := d.topicIDOf(tp, l.topicID); !errors.Is(err, ErrWrongTopicID) {
			continue
		}
		d.logger.Warn("deleting the log of an earlier topic of this name", "topic", tp.Topic, "partition", tp.Partition, "dir", d.path)
		d.mu.Lock()
		delete(d.mu.found, tp)
		d.mu.Unlock()
		errs = append(errs, m.deleteDir(d, filepath.Join(d.path, tp.String()), tp, l.config.Load().fileDeleteDelay()))
	}
	return errors.Join(errs...)
}

// deleteDir renames a partition's directory to topic-partition.<id>-delete, as Kafka does. Its name must
// be free at once: the topic may be created again.
func (m *Manager) deleteDir(d *Dir, path string, tp model.TopicPartition, delay time.Duration) error {
	if err := d.Err(); err != nil {
		return err
	}
	unique, err := m.cfg.NewDirectoryID()
	if err != nil {
		return err
	}
	suffix := "." + hex.EncodeToString(unique[:]) + deleteSuffix
	name := tp.String()
	target := filepath.Join(d.path, name[:min(len(name), maxFileName-len(suffix))]+suffix)
	// Not synced: a directory that comes back after a power loss is a stray, which its topic id shows.
	if err := d.fs.Rename(path, target); err != nil {
		return d.fail(fmt.Errorf("delete %s: %w", tp, err))
	}
	m.deletes.add(deletion{dir: d, path: target, whole: true}, time.Now().Add(delay))
	return d.oneLess()
}

// RemoveDue removes what was deleted and is due at now, and says when the next is, the zero time for
// none. Manager.Run does this; only who does not run it calls this.
func (m *Manager) RemoveDue(now time.Time) (next time.Time) {
	due, next := m.deletes.take(now)
	room := map[*Dir]bool{}
	for _, x := range due {
		if x.dir.Err() != nil {
			continue
		}
		var err error
		if x.whole {
			err = x.dir.fs.RemoveAll(x.path)
		} else {
			err = segment.RemoveDeleted(x.dir.fs, x.path, x.base)
		}
		if err != nil {
			x.dir.logger.Warn("deleted files not removed", "path", x.path, "err", err)
		}
		room[x.dir] = true
	}
	for d := range room {
		if err := d.keepReserve(); err != nil {
			d.fail(fmt.Errorf("set space aside: %w", err))
		}
	}
	return next
}
