package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/walser-io/walser/e2e/rig"
)

const perCodec = 10_000

// clients is the table's first column. What a client cannot do is said here: kafkajs has no lz4 or zstd
// codec that installs without compiling against the headers of old Node versions; kcat and the console tools have tests of their own, since they are
// driven by pipes and have no commit on demand.
func clients() []client {
	all := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	list := []client{franz{}, saramaClient{}}
	python := script{label: "confluent-kafka", command: []string{"", "clients/confluent.py"}, codec: all}
	kafkaPython := script{label: "kafka-python", command: []string{"", "clients/kafkapython.py"}, codec: all}
	kafkajs := script{label: "kafkajs", command: []string{"node", "clients/kafkajs.js"}, codec: all[:3]}
	for _, s := range []script{python, kafkaPython, kafkajs} {
		list = append(list, s)
	}
	return list
}

// TestMatrix is the table of client × step on one node: create a topic, produce per codec, read it all in
// a group of two with a rebalance, commit, start again and resume, look up an offset by time.
func TestMatrix(t *testing.T) {
	runMatrix(t, startNode(t).addr)
}

// TestMatrix_Kafka runs the same table against Apache Kafka, which tells a fault of the table from one of
// Walser. It is slow and proves nothing about Walser, so it runs only when asked for.
func TestMatrix_Kafka(t *testing.T) {
	if os.Getenv("E2E_PEER") == "" {
		t.Skip("set E2E_PEER=1 to run the table against Apache Kafka")
	}
	runMatrix(t, rig.StartKafka(t))
}

func runMatrix(t *testing.T, addr string) {
	for _, c := range clients() {
		t.Run(c.name(), func(t *testing.T) {
			c := installed(t, c)
			topic, group := "matrix-"+c.name(), "group-"+c.name()
			c.create(t, addr, topic, 4)
			before := time.Now().UnixMilli()
			want := map[string]int{}
			for _, codec := range c.codecs() {
				c.produce(t, addr, topic, codec, 0, perCodec)
				for i := range perCodec {
					want[fmt.Sprintf("%s-%d", codec, i)] = 1
				}
			}
			readAsTwo(t, c, addr, topic, group, want)
			resume(t, c, addr, topic, group)
			byTime(t, c, addr, topic, before)
		})
	}
}

// installed fills in where the client's runtime lies, or skips.
func installed(t *testing.T, c client) client {
	t.Helper()
	s, ok := c.(script)
	if !ok {
		return c
	}
	if s.command[0] == "" {
		s.command = append([]string{rig.Needs(t, "venv/bin/python")}, s.command[1:]...)
	} else {
		rig.Needs(t, "node/node_modules/kafkajs")
	}
	return s
}

// readAsTwo reads a topic whole with two members, the second of which joins while the first reads, so that
// partitions move. Everything is read, and nothing but what a rebalance may repeat is read twice.
func readAsTwo(t *testing.T, c client, addr, topic, group string, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	first := c.join(t, addr, topic, group)
	expect(t, first, got, func(e event) bool { return e.Event == "assigned" && len(e.Partitions) == 4 })
	second := c.join(t, addr, topic, group)
	expect(t, second, got, func(e event) bool { return e.Event == "assigned" && len(e.Partitions) == 2 })
	deadline := time.After(60 * time.Second)
	for len(got) < len(want) {
		select {
		case e := <-first.events():
			count(t, e, got)
		case e := <-second.events():
			count(t, e, got)
		case <-deadline:
			t.Fatalf("read %d of %d records in a group of two", len(got), len(want))
		}
	}
	first.leave(t)
	second.leave(t)
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Fatalf("read %d values, want exactly the %d produced", len(got), len(want))
	}
}

// resume starts the group again after it left: it gets what was produced meanwhile, and only that.
func resume(t *testing.T, c client, addr, topic, group string) {
	t.Helper()
	c.produce(t, addr, topic, "none", perCodec, 100)
	got := map[string]int{}
	m := c.join(t, addr, topic, group)
	deadline := time.After(60 * time.Second)
	for len(got) < 100 {
		select {
		case e := <-m.events():
			count(t, e, got)
		case <-deadline:
			t.Fatalf("resumed with %d of 100 records", len(got))
		}
	}
	m.leave(t)
	for value := range got {
		var i int
		if _, err := fmt.Sscanf(value, "none-%d", &i); err != nil || i < perCodec {
			t.Fatalf("after a restart the group read %q again, which it had committed", value)
		}
	}
}

// byTime looks up offsets for a time before the first record and one after the last.
func byTime(t *testing.T, c client, addr, topic string, before int64) {
	t.Helper()
	offsets := c.offsetsAt(t, addr, topic, before)
	if len(offsets) != 4 {
		t.Fatalf("offsets by time of %d partitions, want 4", len(offsets))
	}
	for p, offset := range offsets {
		if offset != 0 {
			t.Errorf("partition %d: the first record after the start has offset %d, want 0", p, offset)
		}
	}
	for p, offset := range c.offsetsAt(t, addr, topic, time.Now().Add(time.Minute).UnixMilli()) {
		if offset >= 0 && offset < 1000 {
			t.Errorf("partition %d: offset %d for a time to come, want none or the end", p, offset)
		}
	}
}

// expect reads a member's events until one is as wanted.
func expect(t *testing.T, m member, got map[string]int, wanted func(event) bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-m.events():
			if !ok {
				t.Fatal("the member ended")
			}
			count(t, e, got)
			if wanted(e) {
				return
			}
		case <-deadline:
			t.Fatal("the member was not assigned its partitions within 30 s")
		}
	}
}

func count(t *testing.T, e event, got map[string]int) {
	t.Helper()
	if e.Event == "error" {
		t.Fatalf("the member failed: %v", e.Values)
	}
	for _, v := range e.Values {
		got[v]++
	}
}
