package node_test

import (
	"strings"
	"testing"
	"time"
)

var brokerCases = []dynamicCase{
	{"log.cleaner.backoff.ms", []string{"log.cleanup.policy=compact", "log.roll.ms=1000", "log.cleaner.backoff.ms=3600000", "log.cleaner.min.cleanable.ratio=0", pointsSaved}, func(_ *testing.T, n *subject) {
		n.write(batch{key: "a", value: "1"})
		n.write(batch{key: "a", value: "2"})
		n.seal("t")
		n.pass(10 * time.Minute)
		n.expectValues("a", "1", "2")
		n.alter("1000") // which also ends the pause
		n.pass(compacts)
		n.expectValues("a", "2")
		n.write(batch{key: "b", value: "1"})
		n.write(batch{key: "b", value: "2"})
		n.seal("t")
		n.pass(compacts)
		n.expectValues("b", "2")
	}},
	{"log.cleaner.dedupe.buffer.size", compacting, func(t *testing.T, n *subject) {
		// rounds is how many it takes to learn 60 000 keys.
		rounds := func(prefix string) uint64 {
			before := n.rounds()
			for _, half := range []string{"1", "2"} {
				n.write(batch{key: prefix + half, records: 30_000})
			}
			n.seal("t")
			n.pass(compacts)
			return n.rounds() - before
		}
		if got := rounds("a"); got != 1 {
			t.Errorf("%d rounds with 128 MiB, want 1", got)
		}
		before := rounds("b") // one more from now on, for the segment of the last seal
		n.alter("1048577")
		if got := rounds("c"); got != before+1 {
			t.Errorf("%d rounds with 128 MiB and %d with 1 MiB, want one more", before, got)
		}
	}},
	{"log.cleaner.io.max.bytes.per.second", compacting, func(_ *testing.T, n *subject) {
		twice := func(key string) {
			n.write(batch{key: key, value: "1" + strings.Repeat("x", 50_000)})
			n.write(batch{key: key, value: "2"})
			n.seal("t")
		}
		values := func(key string) int { return len(n.values(key)) }
		twice("a")
		n.pass(compacts)
		if got := values("a"); got != 1 {
			n.t.Errorf("%d values at full speed, want 1", got)
		}
		n.alter("1000")
		twice("b")
		n.pass(compacts)
		if got := values("b"); got != 2 {
			n.t.Errorf("%d values after 10 s at 1 kB/s, want 2", got)
		}
		n.pass(5 * time.Minute)
		if got := values("b"); got != 1 {
			n.t.Errorf("%d values after 5 min at 1 kB/s, want 1", got)
		}
	}},
	{"log.cleaner.threads", append([]string{"log.cleaner.io.max.bytes.per.second=1000"}, compacting...), func(t *testing.T, n *subject) {
		if _, err := n.admin.CreateTopic(within(t), 1, 1, nil, "u"); err != nil {
			t.Fatal(err)
		}
		// atOnce is how many partitions are seen being rewritten at the same time.
		atOnce := func() (most int) {
			for _, topic := range []string{"t", "u"} {
				n.write(batch{topic: topic, key: "k", value: strings.Repeat("x", 20_000)})
				n.seal(topic)
			}
			for range 200 {
				now := 0
				for _, topic := range []string{"t", "u"} {
					if len(n.filesOf(topic, ".log.cleaned")) > 0 {
						now++
					}
				}
				most = max(most, now)
				n.pass(time.Second)
			}
			return most
		}
		if got := atOnce(); got != 1 {
			t.Errorf("%d partitions are compacted at once with one thread", got)
		}
		n.alter("2")
		if got := atOnce(); got != 2 {
			t.Errorf("%d partitions are compacted at once with two threads", got)
		}
	}},
	{"max.connection.creation.rate", nil, func(t *testing.T, n *subject) {
		last := func() (took time.Duration) {
			for range 3 {
				took = n.expectCall("10.0.0.1:1", true).took
			}
			return took
		}
		if took := last(); took != 0 {
			t.Errorf("without a limit a connection waits %v", took)
		}
		n.alter("1")
		if took := last(); took < time.Second || took > 3*time.Second {
			t.Errorf("at one a second the third connection waits %v", took)
		}
	}},
	{"max.connections", nil, func(t *testing.T, n *subject) {
		open := n.expectCall("127.0.0.1:1", true)
		n.alter("1")
		n.expectCall("127.0.0.1:2", false)
		if err := ask(open.conn); err != nil {
			t.Errorf("a connection from before the limit: %v", err)
		}
		n.alter("20")
		n.expectCall("127.0.0.1:3", true)
	}},
	{"max.connections.per.ip", nil, func(_ *testing.T, n *subject) {
		n.expectCall("10.0.0.1:1", true)
		n.expectCall("10.0.0.1:2", true)
		n.alter("1")
		n.expectCall("10.0.0.1:3", false)
		n.expectCall("10.0.0.2:1", true)
		n.expectCall("10.0.0.2:2", false)
	}},
	{"max.connections.per.ip.overrides", nil, func(_ *testing.T, n *subject) {
		n.expectCall("10.0.0.1:1", true)
		n.alter("10.0.0.1:1,10.0.0.2:0")
		n.expectCall("10.0.0.1:2", false)
		n.expectCall("10.0.0.2:1", false)
		n.expectCall("10.0.0.3:1", true)
	}},
	{"producer.id.expiration.ms", []string{"producer.id.expiration.check.interval.ms=1000"}, func(t *testing.T, n *subject) {
		again := func() int64 {
			n.pass(compacts)
			return n.write(batch{producer: 7, value: "x"})
		}
		first := n.write(batch{producer: 7, value: "x"})
		if offset := again(); offset != first {
			t.Errorf("the batch sent again is at %d, want %d: the producer is known for a day", offset, first)
		}
		n.alter("5000")
		if offset := again(); offset == first {
			t.Errorf("the batch sent again is at %d still: the producer is not forgotten", offset)
		}
	}},
}
