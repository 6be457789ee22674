package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// load is what clients do, and how the node is set up for it.
type load struct {
	lives     int
	topics    []topicLoad
	dirs      []string // log.dirs; of those that grow, the first is there alone in the first life
	grow      bool
	broker    []string
	producers []producerLoad
	consumers []consumerLoad
	// trims says that records are deleted often, and often all of them.
	trims bool
	// compactOffsets says that the topic of the groups' positions gets segments so small that it is compacted.
	compactOffsets bool
}

// topicLoad is one topic.
type topicLoad struct {
	name       string
	partitions int32
	kind       topicKind
	configs    map[string]string
}

// topicKind says what a node may do to records that were acknowledged.
type topicKind int

const (
	kept      topicKind = iota // nothing
	aging                      // delete old ones
	compacted                  // delete those with a key that a later one has, and perhaps old ones
)

func (k topicKind) String() string { return [...]string{"kept", "aging", "compacted"}[k] }

// ages reports whether producers write old records too.
func (t topicLoad) ages() bool { return t.configs["retention.ms"] != "" }

func (t topicLoad) String() string {
	return fmt.Sprintf("%s (%s, %d partitions, %v)", t.name, t.kind, t.partitions, t.configs)
}

type producerLoad struct {
	idempotent     bool
	depth, records int
	valueBytes     int
	patience       int // how often it lets others go first before it sends again
	targets        []partition
}

type consumerLoad struct {
	partition
	group string
}

func (l *load) partitions() (all []partition) {
	for _, t := range l.topics {
		for i := range t.partitions {
			all = append(all, partition{t.name, i})
		}
	}
	return all
}

// trimmable returns the partitions whose records may be deleted on demand.
func (l *load) trimmable() (some []partition) {
	for _, t := range l.topics {
		for i := range t.partitions {
			if t.configs["cleanup.policy"] != "compact" {
				some = append(some, partition{t.name, i})
			}
		}
	}
	return some
}

// topic returns the topic of a partition.
func (l *load) topic(p partition) topicLoad {
	return l.topics[slices.IndexFunc(l.topics, func(t topicLoad) bool { return t.name == p.topic })]
}

func (l *load) kinds() map[string]topicKind {
	kinds := make(map[string]topicKind)
	for _, t := range l.topics {
		kinds[t.name] = t.kind
	}
	return kinds
}

// settings are the node's in one life, counted from 0.
func (l *load) settings(life int) []string {
	dirs := l.dirs
	if l.grow && life == 0 {
		dirs = dirs[:1]
	}
	return append([]string{"log.dirs=" + strings.Join(dirs, ",")}, l.broker...)
}

// meddling is at how many answers an administrator does something, on average.
func (l *load) meddling() int {
	if l.trims {
		return 6
	}
	return 16
}

func (l *load) String() string {
	s := fmt.Sprintf("topics %v, %d producers, %d consumers, %d lives, node with log.dirs %v and %v",
		l.topics, len(l.producers), len(l.consumers), l.lives, l.dirs, l.broker)
	for _, on := range []struct {
		what string
		is   bool
	}{{"the second directory comes later", l.grow}, {"many records are deleted", l.trims}, {"positions are compacted", l.compactOffsets}} {
		if on.is {
			s += ", " + on.what
		}
	}
	return s
}

func drawLoad(rng *rand.Rand) load {
	l := load{lives: 2 + rng.IntN(4), trims: rng.IntN(3) == 0, compactOffsets: rng.IntN(3) == 0}
	set := func(key string, choices ...string) {
		l.broker = append(l.broker, key+"="+choices[rng.IntN(len(choices))])
	}
	switch rng.IntN(4) {
	case 0, 1:
		l.dirs = []string{"/data"}
	case 2:
		// As disks are mounted: no directory holds another.
		l.dirs = []string{"/disk1/data", "/disk2/more"}
		set("metadata.log.dir", "/disk1/data", "/disk3/meta")
	case 3:
		l.dirs, l.grow = []string{"/disk1/data", "/disk2/more"}, true
	}
	set("offsets.topic.num.partitions", "1", "2")
	if rng.IntN(3) == 0 {
		l.broker = append(l.broker, "log.flush.offset.checkpoint.interval.ms=60000", "log.flush.start.offset.checkpoint.interval.ms=60000",
			"replica.high.watermark.checkpoint.interval.ms=60000")
	} else {
		set("log.flush.offset.checkpoint.interval.ms", "1", "5", "60000")
		set("log.flush.start.offset.checkpoint.interval.ms", "1", "60000")
		set("replica.high.watermark.checkpoint.interval.ms", "1", "5", "5000")
	}
	set("log.retention.check.interval.ms", "1", "60000")
	set("log.cleaner.backoff.ms", "1", "15000")
	for i := range 1 + rng.IntN(2) {
		l.topics = append(l.topics, drawTopic(rng, "t"+strconv.Itoa(i)))
	}
	all := l.partitions()
	for range 1 + rng.IntN(3) {
		p := producerLoad{
			idempotent: rng.IntN(4) > 0, depth: 1 + rng.IntN(5), records: 1 + rng.IntN(4), valueBytes: 8 << rng.IntN(7),
			patience: []int{0, 0, 0, 20, 500}[rng.IntN(5)],
		}
		for _, i := range rng.Perm(len(all))[:1+rng.IntN(min(2, len(all)))] {
			p.targets = append(p.targets, all[i])
		}
		l.producers = append(l.producers, p)
	}
	for i := range 1 + rng.IntN(2) {
		c := consumerLoad{partition: all[rng.IntN(len(all))]}
		if rng.IntN(3) > 0 {
			c.group = "g" + strconv.Itoa(i)
		}
		l.consumers = append(l.consumers, c)
	}
	set("log.flush.file.system.min.partitions", "0", "0", "1", "2")
	return l
}

// retentionMs is how long records of an aging topic are kept; the old ones are twice as old when they are
// written, the others are young for as long as a seed lasts.
const retentionMs = 3_600_000

func drawTopic(rng *rand.Rand, name string) topicLoad {
	t := topicLoad{name: name, partitions: 1 + rng.Int32N(3)}
	// Small indexes roll segments every few batches; small intervals fill them.
	t.configs = map[string]string{
		"index.interval.bytes": strconv.Itoa(rng.IntN(300)),
		"segment.index.bytes":  strconv.Itoa(12 * (2 + rng.IntN(6))),
		"file.delete.delay.ms": strconv.Itoa(rng.IntN(2)),
	}
	switch rng.IntN(4) {
	case 0:
		t.kind = aging
		t.configs["retention.ms"] = strconv.Itoa(retentionMs)
	case 1:
		t.kind = compacted
		t.configs["cleanup.policy"] = "compact"
		if rng.IntN(2) == 0 {
			t.configs["cleanup.policy"] = "compact,delete"
			t.configs["retention.ms"] = strconv.Itoa(retentionMs)
		}
		t.configs["min.cleanable.dirty.ratio"] = "0.01"
	}
	return t
}
