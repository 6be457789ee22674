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

// kind is the way in which a case offers its load.
type kind int

const (
	saturate       kind = iota // producers with full buffers
	replay                     // requests that were encoded beforehand
	roundTrips                 // one record per request and connection
	stream                     // a fixed rate, read at the tail
	consume                    // a backlog in the page cache, read again and again
	catchUp                    // the same, thrown out of the page cache before each pass
	manyPartitions             // replayed to many partitions, and to one
	javaProducer               // Kafka's own client, by kafka-producer-perf-test
	librdkafka                 // the C client, by kcat or for Python

	// These start a process for every round.
	idleConnections // what open connections cost
	startUp         // exec to the first answer, and the memory of an idle node
	restart         // kill -9 to the first acknowledgement
)

// perRound says that each round has a process of its own. Otherwise one serves all rounds of the case.
func (k kind) perRound() bool { return k >= idleConnections }

// durable says that the fsync of Walser's default is part of what is measured.
func (k kind) durable() bool { return k <= stream }

// benchCase is one load, how it is offered, and what Walser promises for it.
type benchCase struct {
	name    string
	what    string
	kind    kind
	quick   bool // -quick measures it
	long    bool // its p99.9 needs records: it is measured three times as long
	load    loadgen.Load
	targets []target
}

const (
	idleConns      = 5000
	partitionsMany = 1000
)

// cases returns the table of all there are. The targets of a row are those of Walser with write.caching=true,
// which is Kafka's durability, unless they say byDefault.
func cases() []benchCase {
	type change = func(*loadgen.Load)
	load := func(changes ...change) loadgen.Load {
		l := loadgen.Load{
			Topic: "bench", Partitions: 8, RecordBytes: 1024, Redundancy: 0.5, Seed: 1, Producers: 1, Acks: "all", Idempotent: true,
			InFlight: 5, Linger: 5 * time.Millisecond, BatchBytes: 1 << 20, Codec: "none",
		}
		for _, change := range changes {
			change(&l)
		}
		return l
	}
	partitions := func(n int) change { return func(l *loadgen.Load) { l.Partitions = n } }
	consumers := func(n int) change { return func(l *loadgen.Load) { l.Consumers = n } }
	codec := func(name string) change { return func(l *loadgen.Load) { l.Codec = name } }
	small := func(l *loadgen.Load) { l.RecordBytes = 100 }
	replayed := func(perRequest, batchBytes int) change {
		return func(l *loadgen.Load) {
			l.Idempotent, l.Linger, l.Producers, l.PerRequest, l.BatchBytes = false, 0, 4, perRequest, batchBytes
		}
	}
	rate := func(records int) change {
		return func(l *loadgen.Load) { l.Partitions, l.Linger, l.Rate, l.Consumers = 4, 0, records, 1 }
	}
	requests := func(connections int) change {
		return func(l *loadgen.Load) { l.Partitions, l.Linger, l.Producers = connections, 0, connections }
	}
	peak := atMost(peakRSS, 1.0/8)
	absolute := func(figure, op string, bound float64) target { return target{figure, peerWalser, op, bound, false} }

	return []benchCase{
		{
			name: "produce-100b-1p", what: "100-byte records to 1 partition, as fast as they are acknowledged",
			kind: saturate, load: load(small, partitions(1)),
			targets: []target{atLeast(throughput, 1.05), atMost(cpuPerRecord, 0.4), peak},
		},
		{
			name: "produce-100b-64p", what: "100-byte records to 64 partitions",
			kind: saturate, load: load(small, partitions(64)),
			targets: []target{atLeast(throughput, 2), atMost(cpuPerRecord, 0.20), peak},
		},
		{
			name: "produce-1k-1p", what: "1 KiB records to 1 partition",
			kind: saturate, load: load(partitions(1)),
			targets: []target{atLeast(throughput, 3), atMost(cpuPerByte, 0.22), peak},
		},
		{
			name: "produce-1k-64p", what: "1 KiB records to 64 partitions",
			kind: saturate, quick: true, load: load(partitions(64)),
			targets: []target{atLeast(throughput, 2.5), atMost(cpuPerByte, 0.28), peak, atLeast(throughput, 2).byDefault()},
		},
		{
			name: "produce-1k-lz4", what: "1 KiB records to 8 partitions, lz4",
			kind: saturate, load: load(codec("lz4")),
			targets: []target{atLeast(throughput, 1.0), atMost(cpuPerByte, 0.6), peak},
		},
		{
			name: "produce-1k-zstd", what: "1 KiB records to 8 partitions, zstd",
			kind: saturate, load: load(codec("zstd")),
			targets: []target{atLeast(throughput, 1.0), atMost(cpuPerByte, 0.8), peak},
		},
		{
			name: "replay-1k-64p", what: "encoded requests of 1 KiB records to 64 partitions, without producer id",
			kind: replay, quick: true, load: load(partitions(64), replayed(4, 256<<10)),
			targets: []target{atLeast(throughput, 2.5), peak},
		},
		{
			name: "replay-100b-1p", what: "encoded requests of 100-byte records to 1 partition, without producer id",
			kind: replay, load: load(small, partitions(1), replayed(1, 1<<20)),
			targets: []target{atLeast(throughput, 2), peak},
		},
		{
			name: "consume-100b", what: "a backlog of 100-byte records in the page cache",
			kind: consume, load: load(small, consumers(1)),
			targets: []target{atLeast(throughput, 1.1), atMost(cpuPerRecord, 0.5), peak},
		},
		{
			name: "consume-1k", what: "a backlog of 1 KiB records in the page cache",
			kind: consume, quick: true, load: load(consumers(1)),
			targets: []target{atLeast(throughput, 0.95), atMost(cpuPerByte, 1.1), peak},
		},
		{
			name: "consume-1k-5x", what: "the same, read by 5 consumers at once",
			kind: consume, load: load(consumers(5)),
			targets: []target{atLeast(throughput, 0.95), atMost(cpuPerByte, 1.2), peak},
		},
		{
			name: "tail-1k", what: "1 000 records of 100 bytes per second to 4 partitions, read as they come",
			kind: stream, quick: true, long: true, load: load(small, rate(1000)),
			targets: []target{
				atMost(cpuPerRecord, 0.5), atMost(endToEndP50, 1.1), atMost(endToEndP99, 1.1), atMost(endToEndP999, 0.8), peak,
			},
		},
		{
			name: "tail-20k", what: "20 000 records of 100 bytes per second to 4 partitions, read as they come",
			kind: stream, long: true, load: load(small, rate(20_000)),
			targets: []target{
				atMost(cpuPerRecord, 0.5), atMost(endToEndP50, 1.1), atMost(endToEndP99, 1.1), atMost(endToEndP999, 0.5), peak,
			},
		},
		{
			name: "request-1", what: "one 100-byte record per request to 1 partition, 1 connection, one request in flight",
			kind: roundTrips, load: load(small, requests(1)),
			targets: []target{atLeast(throughput, 1.5), atMost(cpuPerRecord, 0.3), atMost(produceP99, 0.7), peak},
		},
		{
			name: "request-64", what: "one 100-byte record per request to 64 partitions, 64 connections, one request in flight on each",
			kind: roundTrips, quick: true, load: load(small, requests(64)),
			targets: []target{
				atLeast(throughput, 2.5), atMost(cpuPerRecord, 0.3), atMost(produceP99, 0.5), peak, atLeast(throughput, 1).byDefault(),
			},
		},
		{
			name: "start", what: "exec to the first Metadata answer that names the broker, and the memory of an idle node",
			kind: startUp, quick: true, load: load(),
			targets: []target{absolute(metadataAfterExec, "≤", 100), absolute(idleRSS, "≤", 32)},
		},
		{
			name: "restart", what: "kill -9 to an acknowledged produce, 1 000 partitions with records in each",
			kind: restart, quick: true, load: load(small, partitions(partitionsMany), replayed(1, 16<<10)),
			targets: []target{absolute(ackAfterKill, "≤", 600)},
		},
		{
			name: "partitions-1000", what: "encoded requests of one 16 KiB batch each, to 1 000 partitions in turn and to 1",
			kind: manyPartitions, load: load(partitions(partitionsMany), replayed(1, 16<<10)),
			targets: []target{absolute(manyByOne, "≤", 1.5)},
		},
		{
			name: "idle-connections", what: "5 000 connections that have asked for ApiVersions and say no more",
			kind: idleConnections, load: load(),
			targets: []target{absolute(connectionsRSS, "<", 60)},
		},
		{
			name: "catchup", what: "a backlog of 1 KiB records in 8 partitions, read from disk",
			kind: catchUp, load: load(consumers(1)),
		},
		{
			name: "fanout-1", what: "10 000 records of 1 KiB per second to 4 partitions, read by 1 consumer as they come",
			kind: stream, load: load(rate(10_000)),
		},
		{
			name: "fanout-10", what: "the same, each record read by 10 consumers",
			kind: stream, load: load(rate(10_000), consumers(10)),
		},
		{
			name: "java", what: "1 KiB records to 8 partitions from Kafka's Java client, by kafka-producer-perf-test",
			kind: javaProducer, load: load(),
		},
		{
			name: "librdkafka", what: "1 KiB records to 8 partitions from librdkafka",
			kind: librdkafka, load: load(),
		},
	}
}

func parseCases(text string, quick bool) ([]benchCase, error) {
	all := cases()
	switch {
	case text == "all", text == "" && !quick:
		return all, nil
	case text == "":
		return slices.DeleteFunc(all, func(c benchCase) bool { return !c.quick }), nil
	}
	var chosen []benchCase
	for name := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc(all, func(c benchCase) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-case %s: there is no %q; -list shows what there is", text, name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func listCases(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	for _, c := range cases() {
		mark := ""
		if c.quick {
			mark = "-quick"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", c.name, mark, c.what)
		for _, t := range c.targets {
			fmt.Fprintf(tw, "\t\t  %s: %s %s\n", t.Peer, t.Figure, t)
		}
	}
}

// describe returns the lines of a report that pin the load.
func (c *benchCase) describe() []string {
	switch c.kind {
	case startUp, idleConnections:
		return nil
	case restart:
		return []string{fmt.Sprintf("a raw probe of partition %d: it connects and sends one encoded Produce (acks=all, no producer id) every %v, from the kill on", c.load.Partitions-1, probeEvery)}
	case javaProducer:
		return []string{"values of kafka-producer-perf-test; its default partitioner", "acks=all, idempotent, 5 requests in flight, linger 5ms, batches of 1024 KiB, buffer of 64 MiB; a quarter of the records warm it up"}
	case librdkafka:
		return []string{"its default partitioner; acks=all, idempotent, 5 requests in flight, linger 5ms, batches of 1000000 bytes, buffer of 64 MiB"}
	}
	lines := c.load.Describe()
	if c.kind == roundTrips {
		lines = append(lines, "each producer waits for the answer to a record before it sends the next")
	}
	if c.load.Rate > 0 {
		lines = append(lines, fmt.Sprintf("open loop of %d records per second; latency counts from when a record was due", c.load.Rate))
	}
	return lines
}
