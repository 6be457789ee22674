package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

// kind is the way in which a scenario offers its load.
type kind int

const (
	saturate   kind = iota // producers with full buffers
	roundTrips             // one record per request and connection
	stream                 // a fixed rate, read at the tail
	consume                // a backlog in the page cache, read again and again
	catchUp                // the same, thrown out of the page cache before each pass
)

// scenario is one load and how it is offered.
type scenario struct {
	name      string
	what      string
	kind      kind
	byDefault bool
	load      loadgen.Load
}

// base is what the loads have in common.
func base() loadgen.Load {
	return loadgen.Load{
		Topic: "bench", Partitions: 8, RecordBytes: 1024,
		Producers: 1, InFlight: 5, Linger: 5 * time.Millisecond, BatchBytes: 1 << 20, Codec: "none",
	}
}

// scenarios returns the table of all there are. A row changes what it differs in from base.
func scenarios() []scenario {
	row := func(name, what string, kind kind, change func(*loadgen.Load)) scenario {
		load := base()
		change(&load)
		return scenario{name: name, what: what, kind: kind, load: load}
	}
	small := func(l *loadgen.Load) { l.RecordBytes = 100 }
	rate := func(records int) func(*loadgen.Load) {
		return func(l *loadgen.Load) {
			l.RecordBytes, l.Partitions, l.Linger, l.Rate, l.Consumers = 100, 4, 0, records, 1
		}
	}
	requests := func(connections int) func(*loadgen.Load) {
		return func(l *loadgen.Load) {
			l.RecordBytes, l.Partitions, l.Linger, l.Producers = 100, connections, 0, connections
		}
	}
	table := []scenario{
		row("produce-1k", "1 KiB records to 8 partitions, as fast as they are acknowledged", saturate, func(*loadgen.Load) {}),
		row("produce-100b", "100-byte records to 8 partitions, as fast as they are acknowledged", saturate, small),
		row("tail", "20 000 records of 100 bytes per second to 4 partitions, read as they come", stream, rate(20_000)),
		row("catchup", "a backlog of 1 KiB records in 8 partitions, read from disk", catchUp,
			func(l *loadgen.Load) { l.Consumers = 1 }),

		row("produce-1k-1p", "1 KiB records to 1 partition", saturate, func(l *loadgen.Load) { l.Partitions = 1 }),
		row("produce-1k-64p", "1 KiB records to 64 partitions", saturate, func(l *loadgen.Load) { l.Partitions = 64 }),
		row("produce-100b-1p", "100-byte records to 1 partition", saturate, func(l *loadgen.Load) { small(l); l.Partitions = 1 }),
		row("produce-100b-64p", "100-byte records to 64 partitions", saturate, func(l *loadgen.Load) { small(l); l.Partitions = 64 }),
		row("produce-1k-lz4", "1 KiB records to 8 partitions, lz4", saturate, func(l *loadgen.Load) { l.Codec = "lz4" }),
		row("produce-1k-zstd", "1 KiB records to 8 partitions, zstd", saturate, func(l *loadgen.Load) { l.Codec = "zstd" }),
		row("consume-100b", "a backlog of 100-byte records in the page cache", consume, func(l *loadgen.Load) { small(l); l.Consumers = 1 }),
		row("consume-1k", "a backlog of 1 KiB records in the page cache", consume, func(l *loadgen.Load) { l.Consumers = 1 }),
		row("consume-1k-5x", "the same, read by 5 consumers at once", consume, func(l *loadgen.Load) { l.Consumers = 5 }),
		row("tail-1k", "1 000 records of 100 bytes per second to 4 partitions, read as they come", stream, rate(1000)),
		row("request-1", "one 100-byte record per request to 1 partition, 1 connection, one request in flight", roundTrips, requests(1)),
		row("request-64", "one 100-byte record per request to 64 partitions, 64 connections, one request in flight on each", roundTrips, requests(64)),
	}
	for i := range 4 {
		table[i].byDefault = true
	}
	return table
}

func parseScenarios(text string) ([]scenario, error) {
	all := scenarios()
	switch text {
	case "all":
		return all, nil
	case "default":
		return slices.DeleteFunc(all, func(s scenario) bool { return !s.byDefault }), nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-scenario %s: there is no %q; -list shows what there is", text, name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func listScenarios(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	for _, s := range scenarios() {
		mark := ""
		if s.byDefault {
			mark = "by default"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", s.name, mark, s.what)
	}
}

// describe returns the lines of a report that pin the load.
func (s *scenario) describe() []string {
	lines := s.load.Describe()
	if s.kind == roundTrips {
		lines = append(lines, "each producer waits for the answer to a record before it sends the next")
	}
	if s.load.Rate > 0 {
		lines = append(lines, fmt.Sprintf("open loop of %d records per second; latency counts from when a record was due", s.load.Rate))
	}
	return lines
}
