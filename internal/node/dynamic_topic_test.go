package node_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
)

// compacting has a node compact whatever is closed and dirty, within a second.
var compacting = []string{"log.cleanup.policy=compact", "log.roll.ms=1000", "log.cleaner.backoff.ms=1000", "log.cleaner.min.cleanable.ratio=0", pointsSaved}

// pointsSaved makes records compactable soon: those below the saved recovery point are.
const pointsSaved = "log.flush.offset.checkpoint.interval.ms=1000"

// compacts is long enough for the compaction of what is due.
const compacts = 10 * time.Second

// text is what every codec can shorten, by how much depends on its level.
func text() string {
	words := strings.Fields("a topic is a log of records that producers append and consumers read at their own pace")
	rng := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < 200_000 {
		fmt.Fprintf(&b, "%s%d ", words[rng.IntN(len(words))], rng.IntN(50))
	}
	return b.String()
}

// levelCase shows that a codec's level decides how small a batch becomes.
func levelCase(codec, from, to string) dynamicCase {
	key := "compression." + codec + ".level"
	return dynamicCase{key, []string{"compression.type=" + codec, key + "=" + from}, func(t *testing.T, n *subject) {
		size := func() int64 {
			before := n.logBytes()
			n.write(batch{value: text()})
			return n.logBytes() - before
		}
		n.write(batch{key: "first"})
		at := size()
		if again := size(); again != at {
			t.Fatalf("the same batch takes %d bytes, then %d", at, again)
		}
		n.alter(to)
		if changed := size(); changed == at || changed >= 200_000 {
			t.Errorf("the batch takes %d bytes at level %s and %d at level %s", at, from, changed, to)
		}
	}}
}

var topicCases = []dynamicCase{
	{"cleanup.policy", nil, func(_ *testing.T, n *subject) {
		n.write(batch{value: "without a key"})
		n.alter("compact")
		n.refused(batch{value: "without a key"}, kafkaerr.InvalidRecord)
	}},
	{"compression.type", nil, func(t *testing.T, n *subject) {
		n.write(batch{value: text()})
		n.alter("gzip")
		n.write(batch{value: text()})
		records := n.records()
		if before, after := records[0].Attrs.CompressionType(), records[1].Attrs.CompressionType(); before != 0 || after != 1 {
			t.Errorf("stored with codec %d, then %d, want 0 and 1 (gzip)", before, after)
		}
	}},
	levelCase("gzip", "9", "1"),
	levelCase("lz4", "12", "1"),
	levelCase("zstd", "19", "1"),
	{"delete.retention.ms", compacting, func(_ *testing.T, n *subject) {
		deleted := func(key string) {
			n.write(batch{key: key, value: "1"})
			n.write(batch{key: key})
			n.seal("t")
			n.pass(compacts) // the round that drops the value says until when the tombstone stays
			n.seal("t")
			n.pass(compacts) // the round that drops the tombstone, if its time is over
		}
		deleted("a")
		n.expectValues("a", "")
		n.alter("1000")
		deleted("b")
		n.expectValues("b")
	}},
	{"file.delete.delay.ms", nil, func(t *testing.T, n *subject) {
		remains := func(topic string) bool {
			entries, err := n.fs.ReadDir("/data")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), topic+"-0.") && strings.HasSuffix(e.Name(), "-delete") {
					return true
				}
			}
			return false
		}
		if _, err := n.admin.CreateTopic(within(t), 1, 1, nil, "before"); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"before", "t"} {
			n.write(batch{topic: topic, value: "x"})
			if topic == "t" {
				n.alter("1000")
			}
			if _, err := n.admin.DeleteTopic(within(t), topic); err != nil {
				t.Fatal(err)
			}
		}
		if !remains("t") {
			t.Error("the files went with the topic")
		}
		n.pass(2 * time.Second)
		if !remains("before") || remains("t") {
			t.Errorf("after 2 s files remain: %v with 60 s of delay, %v with 1 s", remains("before"), remains("t"))
		}
	}},
	{"flush.messages", []string{"log.write.caching=true"}, func(t *testing.T, n *subject) {
		survives := func(want int64) {
			t.Helper()
			n.write(batch{value: "x"})
			n.pass(time.Second)
			n.losePower()
			if _, end := n.bounds(); end != want {
				t.Errorf("%d records survive, want %d", end, want)
			}
		}
		survives(0)
		n.alter("1")
		survives(1)
	}},
	{"flush.ms", []string{"log.write.caching=true"}, func(t *testing.T, n *subject) {
		survives := func(want int64) {
			t.Helper()
			n.write(batch{value: "x"})
			n.pass(5 * time.Second)
			n.losePower()
			if _, end := n.bounds(); end != want {
				t.Errorf("%d records survive, want %d", end, want)
			}
		}
		survives(0)
		n.alter("500")
		survives(1)
	}},
	{"index.interval.bytes", []string{"log.roll.ms=1000"}, func(t *testing.T, n *subject) {
		entries := func() int64 {
			n.seal("t")
			for range 20 {
				n.write(batch{value: "x"})
			}
			n.seal("t")
			return slices.Max(slices.Collect(maps.Values(n.files(".index")))) / 8
		}
		if got := entries(); got != 0 {
			t.Errorf("%d index entries for 20 small batches, want 0", got)
		}
		n.alter("0")
		if got := entries(); got < 19 {
			t.Errorf("%d index entries for 20 batches, want one for each but the first", got)
		}
	}},
	{"max.compaction.lag.ms", []string{"log.cleanup.policy=compact", "log.roll.ms=1000", "log.cleaner.backoff.ms=1000", "log.cleaner.min.cleanable.ratio=1", pointsSaved}, func(_ *testing.T, n *subject) {
		n.write(batch{key: "k", value: "1"})
		n.write(batch{key: "k", value: "2"})
		n.seal("t")
		n.pass(time.Minute)
		n.expectValues("k", "1", "2")
		n.alter("5000")
		n.pass(compacts)
		n.expectValues("k", "2")
	}},
	{"max.message.bytes", nil, func(_ *testing.T, n *subject) {
		n.write(batch{value: strings.Repeat("x", 2000)})
		n.alter("1000")
		n.refused(batch{value: strings.Repeat("x", 2000)}, kafkaerr.MessageTooLarge)
	}},
	{"message.timestamp.after.max.ms", nil, func(_ *testing.T, n *subject) {
		n.write(batch{at: time.Now().Add(time.Minute), value: "x"})
		n.alter("1000")
		n.refused(batch{at: time.Now().Add(time.Minute), value: "x"}, kafkaerr.InvalidTimestamp)
	}},
	{"message.timestamp.before.max.ms", nil, func(_ *testing.T, n *subject) {
		n.write(batch{at: time.Now().Add(-time.Minute), value: "x"})
		n.alter("1000")
		n.refused(batch{at: time.Now().Add(-time.Minute), value: "x"}, kafkaerr.InvalidTimestamp)
	}},
	{"message.timestamp.type", nil, func(t *testing.T, n *subject) {
		then := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		n.write(batch{at: then, value: "x"})
		n.alter("LogAppendTime")
		n.write(batch{at: then, value: "x"})
		records := n.records()
		if !records[0].Timestamp.Equal(then) || !records[1].Timestamp.After(then.Add(time.Minute)) {
			t.Errorf("timestamps %v and %v of records that say %v", records[0].Timestamp, records[1].Timestamp, then)
		}
	}},
	{"min.cleanable.dirty.ratio", []string{"log.cleanup.policy=compact", "log.roll.ms=1000", "log.cleaner.backoff.ms=1000", "log.cleaner.min.cleanable.ratio=1", pointsSaved}, func(_ *testing.T, n *subject) {
		n.write(batch{key: "k", value: "1"})
		n.write(batch{key: "k", value: "2"})
		n.seal("t")
		n.pass(time.Minute)
		n.expectValues("k", "1", "2")
		n.alter("0.1")
		n.pass(compacts)
		n.expectValues("k", "2")
	}},
	{"min.compaction.lag.ms", compacting, func(_ *testing.T, n *subject) {
		twice := func(key string) {
			n.write(batch{key: key, value: "1"})
			n.write(batch{key: key, value: "2"})
			n.seal("t")
			n.pass(compacts)
		}
		twice("a")
		n.expectValues("a", "2")
		n.alter("3600000")
		twice("b")
		n.expectValues("b", "1", "2")
		n.pass(time.Hour)
		n.expectValues("b", "2")
	}},
	{"preallocate", []string{"log.roll.ms=1000", "log.segment.bytes=10000000"}, func(t *testing.T, n *subject) {
		// taken is the disk that the next segment takes beyond what is written to it.
		taken := func() int64 {
			free := func() int64 {
				usage, err := n.fs.Usage("/data")
				if err != nil {
					t.Fatal(err)
				}
				return usage.FreeBytes
			}
			before := free()
			n.seal("t")
			return before - free()
		}
		n.write(batch{value: "x"})
		if got := taken(); got > 1_000_000 {
			t.Errorf("a segment takes %d bytes", got)
		}
		n.alter("true")
		if got := taken(); got < 9_000_000 {
			t.Errorf("a segment takes %d bytes, want the 10 000 000 it may become", got)
		}
		if got := taken(); got > 1_000_000 {
			t.Errorf("a segment takes %d bytes, and the one before it has not given back what it did not need", got)
		}
	}},
	{"retention.bytes", []string{"log.retention.check.interval.ms=1000"}, func(t *testing.T, n *subject) {
		n.write(batch{value: "x"})
		n.pass(compacts)
		if start, _ := n.bounds(); start != 0 {
			t.Fatalf("the log starts at %d without a limit", start)
		}
		n.alter("0")
		n.pass(compacts)
		if start, end := n.bounds(); start != end {
			t.Errorf("the log holds %d to %d, want nothing", start, end)
		}
	}},
	{"retention.ms", []string{"log.retention.check.interval.ms=1000"}, func(t *testing.T, n *subject) {
		n.write(batch{value: "x"})
		n.pass(compacts)
		if start, _ := n.bounds(); start != 0 {
			t.Fatalf("the log starts at %d after ten seconds of a week", start)
		}
		n.alter("5000")
		n.pass(compacts)
		if start, end := n.bounds(); start != end {
			t.Errorf("the log holds %d to %d, want nothing", start, end)
		}
	}},
	{"segment.bytes", nil, func(_ *testing.T, n *subject) {
		large := batch{value: strings.Repeat("x", 600_000)}
		n.write(large)
		n.write(large)
		n.expectSegments(1)
		n.alter("1048576")
		n.write(large)
		n.expectSegments(2)
	}},
	{"segment.index.bytes", []string{"log.index.interval.bytes=0"}, func(_ *testing.T, n *subject) {
		for range 20 {
			n.write(batch{value: "x"})
		}
		n.expectSegments(1)
		n.alter("80")
		n.write(batch{value: "x"})
		n.expectSegments(2)
	}},
	{"segment.jitter.ms", []string{"log.roll.ms=3600000"}, func(_ *testing.T, n *subject) {
		n.write(batch{value: "x"})
		n.pass(time.Hour - time.Second)
		n.write(batch{value: "x"})
		n.expectSegments(1)
		n.alter("3600000") // of which this partition draws its share
		n.write(batch{value: "x"})
		n.expectSegments(2)
	}},
	{"segment.ms", nil, func(_ *testing.T, n *subject) {
		n.write(batch{value: "x"})
		n.pass(time.Minute)
		n.write(batch{value: "x"})
		n.expectSegments(1)
		n.alter("30000")
		n.write(batch{value: "x"})
		n.expectSegments(2)
	}},
	{"write.caching", nil, func(t *testing.T, n *subject) {
		survive := func(want int64) {
			t.Helper()
			n.write(batch{value: "x"})
			n.losePower()
			if _, end := n.bounds(); end != want {
				t.Errorf("%d acknowledged records survive, want %d", end, want)
			}
		}
		survive(1)
		n.alter("true")
		survive(1)
		n.alter("false")
		survive(2)
	}},
}
