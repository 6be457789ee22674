package sim

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/walser-io/walser/internal/model"
)

// partition names a partition of the load.
type partition struct {
	topic string
	index int32
}

func (p partition) String() string { return fmt.Sprintf("%s-%d", p.topic, p.index) }

// value is what a record says: the n-th of a producer in a partition. No two records are told apart by less.
type value struct {
	producer, n int
	old         bool // older than retention.ms from the start on
}

// keysEach is how many keys a producer has in a compacted topic.
const keysEach = 7

func (v value) String() string { return fmt.Sprintf("%d/%d", v.producer, v.n) }

// key is the record's in a compacted topic.
func (v value) key() []byte { return fmt.Appendf(nil, "%d-%d", v.producer, v.n%keysEach) }

// append appends the text of a record, of at least size bytes.
func (v value) append(dst []byte, size int) []byte {
	dst = fmt.Appendf(dst, "%d/%d/%t ", v.producer, v.n, v.old)
	for len(dst) < size {
		dst = append(dst, byte('a'+v.n%26))
	}
	return dst
}

func parseValue(b []byte) (v value, err error) {
	_, err = fmt.Sscanf(string(b), "%d/%d/%t", &v.producer, &v.n, &v.old)
	return v, err
}

// ledger is what the node has promised, whichever client it told.
type ledger struct {
	kinds map[string]topicKind
	mu    struct {
		sync.Mutex
		logs       map[partition]*promised
		topics     map[string]model.UUID // created and not deleted
		gone       map[string]struct{}   // deleted
		producers  map[int64]int         // by producer id
		violations []string
		figures    Figures
	}
	progress chan struct{} // gets one for each answer that promised something
	broken   func()        // called at a violation: there is no use in going on
}

// promised is what was promised about one partition.
type promised struct {
	at        map[int64]value // by offset: acknowledged, or seen by a consumer
	offset    map[value]int64
	anywhere  map[value]struct{} // acknowledged as a duplicate, without an offset
	sentOld   map[value]struct{} // old ones that were sent, acknowledged or not
	deletable int64              // deletion was asked for up to here
	deleted   int64              // and acknowledged up to here
	committed map[string]commit  // by group
	epoch     int32              // highest leader epoch that was announced
}

// commit is what is known of a group's position.
type commit struct{ acknowledged, sent int64 }

// Figures count what a run did.
type Figures struct {
	Cycles, Acknowledged, Seen, Commits, Duplicates, Compared int
	Gone                                                      int // of those compared: deleted or compacted away, as they might be
}

// Add sums up.
func (f *Figures) Add(o Figures) {
	f.Cycles += o.Cycles
	f.Acknowledged += o.Acknowledged
	f.Seen += o.Seen
	f.Commits += o.Commits
	f.Duplicates += o.Duplicates
	f.Compared += o.Compared
	f.Gone += o.Gone
}

func newLedger(kinds map[string]topicKind, broken func()) *ledger {
	l := &ledger{kinds: kinds, progress: make(chan struct{}, 1<<12), broken: broken}
	l.mu.logs = make(map[partition]*promised)
	l.mu.topics = make(map[string]model.UUID)
	l.mu.gone = make(map[string]struct{})
	l.mu.producers = make(map[int64]int)
	return l
}

// violation notes a broken promise.
func (l *ledger) violation(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violationLocked(format, args...)
}

func (l *ledger) violationLocked(format string, args ...any) {
	const most = 20 // one loss shows in many ways
	if len(l.mu.violations) < most {
		l.mu.violations = append(l.mu.violations, fmt.Sprintf(format, args...))
	}
	l.broken()
}

func (l *ledger) found() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.violations)
}

func (l *ledger) figures() Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.figures
}

func (l *ledger) logLocked(p partition) *promised {
	log := l.mu.logs[p]
	if log == nil {
		log = &promised{
			at: make(map[int64]value), offset: make(map[value]int64), anywhere: make(map[value]struct{}), sentOld: make(map[value]struct{}),
			committed: make(map[string]commit), epoch: -1,
		}
		l.mu.logs[p] = log
	}
	return log
}

func (l *ledger) tick() {
	select {
	case l.progress <- struct{}{}:
	default:
	}
}

// introduced notes that a producer got an id, which no other may have got.
func (l *ledger) introduced(pid int64, producer int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.mu.producers[pid]; ok {
		l.violationLocked("producer id %d went to producer %d and to %d", pid, other, producer)
	}
	l.mu.producers[pid] = producer
}

// acknowledged notes that the node took values and gave them offsets from base.
func (l *ledger) acknowledged(p partition, base int64, values []value) {
	l.mu.Lock()
	log := l.logLocked(p)
	for i, v := range values {
		l.placeLocked(p, log, "acknowledged", base+int64(i), v)
	}
	l.mu.figures.Acknowledged += len(values)
	l.mu.Unlock()
	l.tick()
}

// sent notes values that are on their way. Only old ones matter, see outlived.
func (l *ledger) sent(p partition, values []value) {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.logLocked(p)
	for _, v := range values {
		if v.old {
			log.sentOld[v] = struct{}{}
		}
	}
}

// outlived reports whether an old value with the key of v may have taken its place, and then been deleted for its
// age: it may have been written though nobody was told, or after what is promised was looked at.
func (l *ledger) outlived(p partition, v value) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for old := range l.logLocked(p).sentOld {
		if old.supersedes(v) {
			return true
		}
	}
	return false
}

// duplicate notes that the node says it has the values already.
func (l *ledger) duplicate(p partition, values []value) {
	l.mu.Lock()
	log := l.logLocked(p)
	for _, v := range values {
		log.anywhere[v] = struct{}{}
	}
	l.mu.figures.Duplicates += len(values)
	l.mu.Unlock()
	l.tick()
}

// seen notes that a consumer got a value.
func (l *ledger) seen(p partition, offset int64, v value) {
	l.mu.Lock()
	l.placeLocked(p, l.logLocked(p), "consumed", offset, v)
	l.mu.figures.Seen++
	l.mu.Unlock()
}

func (l *ledger) placeLocked(p partition, log *promised, how string, offset int64, v value) {
	if before, ok := log.at[offset]; ok && before != v {
		l.violationLocked("%s offset %d: %s as %v, but it was %v before", p, offset, how, v, before)
	}
	if before, ok := log.offset[v]; ok && before != offset {
		l.violationLocked("%s value %v: %s at %d, but it was at %d before", p, v, how, offset, before)
	}
	log.at[offset], log.offset[v] = v, offset
}

// deleting notes that deletion is going to be asked for up to before.
func (l *ledger) deleting(p partition, before int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.logLocked(p)
	log.deletable = max(log.deletable, before)
}

// trimmed notes that deletion up to before was acknowledged.
func (l *ledger) trimmed(p partition, before int64) {
	l.mu.Lock()
	log := l.logLocked(p)
	log.deleted = max(log.deleted, before)
	l.mu.Unlock()
	l.tick()
}

// end returns the offset after the last that was promised.
func (l *ledger) end(p partition) (end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for offset := range l.logLocked(p).at {
		end = max(end, offset+1)
	}
	return end
}

// deletable returns up to where records may be missing.
func (l *ledger) deletable(p partition) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logLocked(p).deletable
}

// committing notes that a position is about to be committed.
func (l *ledger) committing(p partition, group string, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.logLocked(p)
	c := log.committed[group]
	c.sent = offset
	log.committed[group] = c
}

// committed notes that the position was taken.
func (l *ledger) committed(p partition, group string, offset int64) {
	l.mu.Lock()
	log := l.logLocked(p)
	c := log.committed[group]
	c.acknowledged = offset
	log.committed[group] = c
	l.mu.figures.Commits++
	l.mu.Unlock()
	l.tick()
}

// recovered compares a group's position with what was promised. The group's one client asks.
func (l *ledger) recovered(p partition, group string, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.logLocked(p).committed[group]
	if max(offset, 0) < c.acknowledged {
		l.violationLocked("%s group %s: position %d, but %d was committed", p, group, offset, c.acknowledged)
	}
	if offset > c.sent {
		l.violationLocked("%s group %s: position %d, but no one committed more than %d", p, group, offset, c.sent)
	}
}

// leads notes the leader epoch of a new life, which must be above all before.
func (l *ledger) leads(p partition, epoch int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.logLocked(p)
	if epoch <= log.epoch {
		l.violationLocked("%s: leader epoch %d after a start, but it was %d before", p, epoch, log.epoch)
	}
	log.epoch = max(log.epoch, epoch)
}

// created notes a topic.
func (l *ledger) created(topic string, id model.UUID) {
	l.mu.Lock()
	l.mu.topics[topic] = id
	delete(l.mu.gone, topic)
	l.mu.Unlock()
	l.tick()
}

// undecided notes that a topic may or may not be there from now on. It returns false if it was not
// promised to be there.
func (l *ledger) undecided(topic string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.mu.topics[topic]
	delete(l.mu.topics, topic)
	return ok
}

// deleted notes that a topic is gone.
func (l *ledger) deleted(topic string) {
	l.mu.Lock()
	l.mu.gone[topic] = struct{}{}
	l.mu.Unlock()
	l.tick()
}

// topics returns those that are there, to compare with what is asked for from now on.
func (l *ledger) topics() map[string]model.UUID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.mu.topics)
}

// topicsAre compares the topics of the cluster with what was promised before the cluster was asked: another
// client may have created one since.
func (l *ledger) topicsAre(found, before map[string]model.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(l.mu.topics)) {
		if _, ok := before[topic]; !ok {
			continue
		}
		if id, ok := found[topic]; !ok {
			l.violationLocked("topic %s is gone", topic)
		} else if id != l.mu.topics[topic] {
			l.violationLocked("topic %s has id %v, but it was created with %v", topic, id, l.mu.topics[topic])
		}
	}
	for topic := range l.mu.gone {
		if _, ok := found[topic]; ok {
			l.violationLocked("topic %s is back after its deletion", topic)
		}
	}
}

// snapshot copies what is known of a partition, to compare a log with that is read from now on.
func (l *ledger) snapshot(p partition) promised {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.logLocked(p)
	return promised{
		at: maps.Clone(log.at), anywhere: maps.Clone(log.anywhere), deletable: log.deletable, deleted: log.deleted, epoch: log.epoch,
		committed: maps.Clone(log.committed),
	}
}
