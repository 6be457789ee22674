package cli

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/walser-io/walser/internal/loadgen"
)

// The kinds of a benchmark.
const (
	benchProduce = "produce"
	benchConsume = "consume"
	benchE2E     = "e2e"
)

// benchmark is what one run of bench was asked for.
type benchmark struct {
	kind     string
	topic    string // that was named; "": one of its own
	replicas int16  // of its own
	sync     bool   // one record per request
	backlog  int64  // bytes that consume writes before it reads
	load     loadgen.Load
	window   loadgen.Window
}

func (a *app) benchCommand() *cobra.Command {
	c := parent("bench", "Measure a cluster", nil, a.benchProduce(), a.benchConsume(), a.benchE2E())
	c.Long = `Put a load on a cluster and measure what a client sees of it.

Every benchmark makes a topic of its own, walser-bench-…, and deletes it at the end, also after Ctrl-C or a
failure. With a TOPIC it uses what is there, and never deletes it. Every record is accounted for: one that is
lost, doubled or refused is an error, and there are no figures then.`
	return c
}

func (a *app) benchProduce() *cobra.Command {
	q := newBenchmark(benchProduce)
	c := a.benchmarkCommand(q, "produce [TOPIC]", "Measure how fast records are acknowledged",
		`Measure how fast records are acknowledged.

Without --rate or --sync, clients keep their buffers full, and what counts is throughput: how long a record
waits in a full buffer is no latency. With --sync each client sends one record per request and waits for the
answer. With --rate records are sent by a schedule, and latency counts from the moment a record was due.

With a TOPIC, the records are WRITTEN INTO IT and stay there.`,
		`  walser bench produce
  walser bench produce --size 100 --partitions 64 --compression lz4
  walser bench produce --sync --clients 16
  walser bench produce --rate 50000 --duration 1m`)
	fs := c.Flags()
	a.loadFlags(c, q)
	fs.IntVar(&q.load.Rate, "rate", 0, "`records` per second from all clients together; 0: as fast as they are acknowledged")
	fs.BoolVar(&q.sync, "sync", false, "one record per request, and one request in flight for each client")
	fs.Var(size[int64]{&q.window.MaxBytes}, "max-bytes", "end early when so much is written, warm-up included; 0: no bound")
	windowFlags(c, q)
	return c
}

func (a *app) benchE2E() *cobra.Command {
	q := newBenchmark(benchE2E)
	q.load.Rate = 1000
	c := a.benchmarkCommand(q, "e2e [TOPIC]", "Measure how soon a record is in a consumer's hands",
		`Measure how soon a record is in a consumer's hands. Records are sent by a schedule and read at the tail;
latency counts from the moment a record was due, so that a stall is seen by every record that it delayed. The
generator's lag says how late a record was given to the client: where it comes near the latencies, the rate is
more than the cluster or this machine keeps up with.

With a TOPIC, the records are WRITTEN INTO IT and stay there.`,
		`  walser bench e2e
  walser bench e2e --rate 20000 --size 100 --duration 1m
  walser bench e2e --consumers 10`)
	fs := c.Flags()
	a.loadFlags(c, q)
	fs.IntVar(&q.load.Rate, "rate", q.load.Rate, "`records` per second from all clients together")
	fs.IntVar(&q.load.Consumers, "consumers", 1, "`number` of consumers, each of which reads every record")
	windowFlags(c, q)
	return c
}

func (a *app) benchConsume() *cobra.Command {
	q := newBenchmark(benchConsume)
	q.window = loadgen.Window{}
	c := a.benchmarkCommand(q, "consume [TOPIC]", "Measure how fast records are read",
		`Measure how fast records are read: those of TOPIC, from the first to the last there is now, or, without a
TOPIC, a backlog that it writes first. Nothing is written into a TOPIC, and no offset is committed.`,
		`  walser bench consume
  walser bench consume --backlog 4GiB --clients 3
  walser bench consume orders --duration 30s`)
	fs := c.Flags()
	fs.IntVar(&q.load.Consumers, "clients", 1, "`number` of consumers, each of which reads every record")
	fs.DurationVar(&q.window.Measure, "duration", 0, "read for no longer than that; 0: to the end")
	fs.Var(size[int64]{&q.backlog}, "backlog", "how much to write first: `size` of all values")
	a.ownTopicFlags(c, q)
	a.recordFlags(c, q)
	return c
}

// newBenchmark returns a benchmark with the defaults of its flags.
func newBenchmark(kind string) *benchmark {
	return &benchmark{
		kind: kind, backlog: 512 << 20,
		load: loadgen.Load{
			Partitions: 8, RecordBytes: 1024, Redundancy: 0.5, Seed: 1, Producers: 1, Acks: "all", InFlight: 5,
			Linger: 5 * time.Millisecond, BatchBytes: 1 << 20, Codec: "none",
		},
		window: loadgen.Window{Warmup: 2 * time.Second, Measure: 10 * time.Second},
	}
}

// benchmarkCommand returns the command of a benchmark, without its flags.
func (a *app) benchmarkCommand(q *benchmark, use, short, long, example string) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args:              atMostOne("topic"),
		ValidArgsFunction: a.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if q.topic = args[0]; q.topic == "" {
					return usage("the topic has no name")
				}
			}
			if err := q.checkFlags(cmd); err != nil {
				return err
			}
			s, err := a.benchSettings(cmd)
			if err != nil {
				return err
			}
			if err := q.checkLoad(cmd, s); err != nil {
				return err
			}
			return a.open(cmd.Context(), s, nil, func(c *client) error { return a.bench(cmd.Context(), c, q) })
		},
	}
	c.Flags().SortFlags = false
	return c
}

// loadFlags are the flags of what is written, and by whom.
func (a *app) loadFlags(c *cobra.Command, q *benchmark) {
	fs := c.Flags()
	a.ownTopicFlags(c, q)
	a.recordFlags(c, q)
	fs.IntVar(&q.load.Producers, "clients", q.load.Producers, "`number` of producers, a connection each")
	fs.StringVar(&q.load.Acks, "acks", q.load.Acks, "who must have a record: all or 1 (the leader)")
	fs.DurationVar(&q.load.Linger, "linger", q.load.Linger, "how long a batch waits for more records; with --rate or --sync 0s, unless it is given")
	fs.IntVar(&q.load.InFlight, "in-flight", q.load.InFlight, "`requests` that a client sends ahead; fixed unless -X enable.idempotence=false")
	a.complete(c, "acks", "all", "1")
}

// ownTopicFlags are the flags of a topic that the benchmark makes.
func (a *app) ownTopicFlags(c *cobra.Command, q *benchmark) {
	c.Flags().IntVarP(&q.load.Partitions, "partitions", "p", q.load.Partitions, "number of partitions of its own topic")
	c.Flags().Int16VarP(&q.replicas, "replication-factor", "r", -1, "copies of each partition of its own topic; -1 is the cluster's default")
}

// recordFlags are the flags of the records that are written.
func (a *app) recordFlags(c *cobra.Command, q *benchmark) {
	fs := c.Flags()
	fs.Var(size[int]{&q.load.RecordBytes}, "size", "`size` of a record's value")
	fs.Float64Var(&q.load.Redundancy, "redundancy", q.load.Redundancy, "`share` of a value that compresses away, 0 to 1")
	fs.Uint64Var(&q.load.Seed, "seed", q.load.Seed, "`number` that the values are made from")
	fs.StringVarP(&q.load.Codec, "compression", "z", q.load.Codec, "`codec`: none, gzip, snappy, lz4 or zstd")
	fs.Var(size[int]{&q.load.BatchBytes}, "batch-bytes", "`size` that a batch may have")
	a.complete(c, "compression", codecNames()...)
}

func windowFlags(c *cobra.Command, q *benchmark) {
	c.Flags().DurationVar(&q.window.Warmup, "warmup", q.window.Warmup, "how long the load runs before it is measured")
	c.Flags().DurationVar(&q.window.Measure, "duration", q.window.Measure, "how long it is measured")
}

// checkFlags refuses flags that contradict each other.
func (q *benchmark) checkFlags(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	if q.topic != "" {
		own := []string{"partitions", "replication-factor"}
		if q.kind == benchConsume {
			own = append(own, "backlog", "size", "redundancy", "seed", "compression", "batch-bytes")
		}
		for _, flag := range own {
			if changed(flag) {
				return usage("--%s is for a topic that the benchmark makes, and %s is there: leave one of them out", flag, q.topic)
			}
		}
	}
	switch {
	case q.sync && q.load.Rate > 0:
		return usage("--sync sends as fast as answers come, --rate by a schedule: give one of them")
	case changed("max-bytes") && q.load.Rate > 0:
		return usage("--max-bytes bounds a load that has no --rate: with one, --duration does")
	case q.kind == benchE2E && q.load.Rate < 1:
		return usage("--rate %d: want at least 1", q.load.Rate)
	case q.replicas < 1 && q.replicas != -1:
		return usage("--replication-factor (-r): want a number above 0, or -1 for the cluster's default")
	case q.backlog < 1:
		return usage("--backlog %d: want at least a byte", q.backlog)
	case q.window.Warmup < 0:
		return usage("--warmup %v: want no less than 0s", q.window.Warmup)
	case q.window.Measure <= 0 && q.kind != benchConsume, q.window.Measure < 0:
		return usage("--duration %v: want more", q.window.Measure)
	}
	if span := q.window.Warmup + q.window.Measure; span.Seconds()*float64(q.load.Rate) > loadgen.MaxPaced {
		return usage("--rate %d for %v (--warmup and --duration): that is more than %d records", q.load.Rate, span, loadgen.MaxPaced)
	}
	return nil
}

// checkLoad completes the load and refuses one that cannot be offered.
func (q *benchmark) checkLoad(cmd *cobra.Command, s *settings) error {
	if !cmd.Flags().Changed("linger") && (q.sync || q.load.Rate > 0) {
		q.load.Linger = 0
	}
	q.load.Idempotent = q.load.Acks == "all"
	if s.idempotence != nil {
		q.load.Idempotent = *s.idempotence
	}
	q.load.Topic = cmp.Or(q.topic, "walser-bench")
	if err := q.load.Validate(); err != nil {
		f := usage("%s", q.flagNames().Replace(err.Error()))
		if strings.Contains(f.Error(), "idempotent") {
			f.Setting, f.Fix = "enable.idempotence (-X)", "`-X enable.idempotence=false` makes a producer that takes any --acks and --in-flight"
		}
		return f
	}
	if q.load.Consumers < 1 && q.kind != benchProduce {
		return usage("%s is %d: want at least 1", q.flagNames().Replace("Consumers"), q.load.Consumers)
	}
	const overhead = 100 // of a batch with one record, and then some
	if q.load.RecordBytes > q.load.BatchBytes-overhead {
		f := usage("--size is %s, and --batch-bytes %s: a batch would not hold one record", sizeText(int64(q.load.RecordBytes)), sizeText(int64(q.load.BatchBytes)))
		f.Fix = "raise --batch-bytes, and max.message.bytes of the topic with it; or make --size smaller"
		return f
	}
	return nil
}

// flagNames replaces fields of a load by the flags that fill them in.
func (q *benchmark) flagNames() *strings.Replacer {
	consumers := "--consumers"
	if q.kind == benchConsume {
		consumers = "--clients"
	}
	return strings.NewReplacer("Partitions", "--partitions", "RecordBytes", "--size", "Redundancy", "--redundancy", "Producers", "--clients",
		"Acks", "--acks", "InFlight", "--in-flight", "Linger", "--linger", "BatchBytes", "--batch-bytes", "Codec", "--compression", "Rate", "--rate",
		"Consumers", consumers)
}

// benchSettings are the settings of a client that connects. Properties that shape a load are taken for the
// flags that do, where these are not given; what no flag says is pinned, and named on standard error.
func (a *app) benchSettings(cmd *cobra.Command) (*settings, error) {
	all, err := a.properties()
	if err != nil {
		return nil, err
	}
	s := defaultSettings()
	for _, p := range all {
		name, shapes := benchFlag(p.key)
		if !shapes {
			if err := a.apply(s, p); err != nil {
				return nil, err
			}
			continue
		}
		if err := a.apply(defaultSettings(), p); err != nil { // its value is checked all the same
			return nil, err
		}
		if name == "" {
			a.note("warning: %s (%s) has no effect: a benchmark pins it", p.key, p.source)
			continue
		}
		if flag := cmd.Flags().Lookup(name); flag == nil || flag.Changed {
			continue
		}
		if err := cmd.Flags().Set(name, flagValue(p)); err != nil {
			return nil, &Failure{Code: ExitUsage, Cause: err, Setting: p.key + " (" + p.source + ")"}
		}
	}
	return s, nil
}

// benchFlag returns whether a client property shapes a load, and the flag that does the same, if there is one.
func benchFlag(key string) (flag string, shapes bool) {
	switch key {
	case "acks":
		return "acks", true
	case "compression.type":
		return "compression", true
	case "linger.ms":
		return "linger", true
	case "batch.size":
		return "batch-bytes", true
	case "max.in.flight.requests.per.connection":
		return "in-flight", true
	case "delivery.timeout.ms", "buffer.memory", "isolation.level", "fetch.min.bytes", "fetch.max.bytes", "max.partition.fetch.bytes", "fetch.max.wait.ms":
		return "", true
	}
	return "", false
}

// flagValue is a property's value as the flag takes it.
func flagValue(p property) string {
	switch {
	case p.key == "linger.ms":
		return p.value + "ms"
	case p.key == "acks" && p.value == "-1":
		return "all"
	}
	return p.value
}

// explain says what a load's own errors mean to the user.
func (q *benchmark) explain(err error) error {
	switch {
	case errors.Is(err, loadgen.ErrTooShort):
		f := &Failure{Code: ExitError, Cause: err, Setting: "--duration", Fix: "measure for longer than " + q.window.Measure.String()}
		if q.window.MaxBytes > 0 {
			f.Setting, f.Fix = "--duration, --max-bytes", "raise both"
		}
		return f
	case errors.Is(err, loadgen.ErrRecords):
		f := &Failure{Code: ExitCheck, Cause: err}
		if q.topic != "" {
			f.Fix = "let nobody else write to " + q.topic + " meanwhile; if nobody did, the cluster is at fault"
		}
		return f
	}
	return err
}
