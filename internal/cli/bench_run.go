package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/loadgen"
	"github.com/walser-io/walser/internal/model"
)

// Benchmark is the noun benchmark: what a run of bench measured.
type Benchmark struct {
	Kind             string        `json:"kind"` // produce, consume or e2e
	Topic            string        `json:"topic"`
	Load             []string      `json:"load"` // everything that was pinned, as key: value
	Records          int64         `json:"records"`
	Bytes            int64         `json:"bytes"` // of keys and values
	ElapsedMs        float64       `json:"elapsedMs"`
	RecordsPerSecond float64       `json:"recordsPerSecond"`
	MiBPerSecond     float64       `json:"mibPerSecond"`
	Produce          *BenchLatency `json:"produce,omitempty"`
	EndToEnd         *BenchLatency `json:"endToEnd,omitempty"`
	GeneratorLag     *BenchLatency `json:"generatorLag,omitempty"`
}

// BenchLatency is a part of the noun benchmark.
type BenchLatency struct {
	Records int64   `json:"records"`
	P50Ms   float64 `json:"p50Ms"`
	P99Ms   float64 `json:"p99Ms"`
	P999Ms  float64 `json:"p999Ms"`
	MaxMs   float64 `json:"maxMs"`
}

// bench runs a benchmark on the topic that was named, or on one that is there for it alone.
func (a *app) bench(ctx context.Context, c *client, q *benchmark) (err error) {
	load := q.load
	if q.topic == "" {
		load.Topic = fmt.Sprintf("walser-bench-%08x", rand.Uint32())
		made, err := a.makeBenchTopic(ctx, c, load, q.replicas)
		if err != nil {
			return a.dropBenchTopic(ctx, c, load.Topic, made, err)
		}
	} else if load.Partitions, err = a.countPartitions(ctx, c.admin, q.topic); err != nil {
		return err
	}
	if q.readsOnly() {
		load = loadgen.Load{Topic: load.Topic, Partitions: load.Partitions, Consumers: load.Consumers}
	}
	result, err := a.offer(ctx, c, q, load)
	switch {
	case err != nil:
		err = q.explain(err)
	case result.Records == 0:
		err = &Failure{
			Code: ExitError, Cause: fmt.Errorf("topic %s holds no records", load.Topic),
			Fix: "`walser bench produce " + load.Topic + "` writes some; without a TOPIC the benchmark writes its own",
		}
	default:
		a.noteLag(result)
		err = a.printBenchmark(q, &load, result)
	}
	return a.dropBenchTopic(ctx, c, load.Topic, q.topic == "", err)
}

// readsOnly says whether the benchmark reads what others have written.
func (q *benchmark) readsOnly() bool { return q.kind == benchConsume && q.topic != "" }

// makeBenchTopic creates the load's topic and waits for its leaders. Whatever comes of it, made says whether
// the topic may be there.
func (a *app) makeBenchTopic(ctx context.Context, c *client, load loadgen.Load, replicas int16) (made bool, err error) {
	asking, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	answers, err := c.admin.CreateTopics(asking, int32(load.Partitions), replicas, nil, load.Topic)
	if err != nil {
		return true, fmt.Errorf("create topic %s: %w", load.Topic, err)
	}
	if answer := answers[load.Topic]; answer.Err != nil {
		return false, fmt.Errorf("create topic %s: %w", load.Topic, withMessage(answer.Err, answer.ErrMessage))
	}
	return true, loadgen.AwaitLeaders(asking, c.opts, load)
}

// dropBenchTopic deletes a topic that the benchmark made, also when Ctrl-C has ended ctx. It returns how the
// benchmark ended, or, if that went well, why the topic is still there.
func (a *app) dropBenchTopic(ctx context.Context, c *client, topic string, made bool, ended error) error {
	if !made {
		return ended
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.flags.timeout)
	defer cancel()
	answers, err := c.admin.DeleteTopics(asking, topic)
	if err == nil {
		err = withMessage(answers[topic].Err, answers[topic].ErrMessage)
	}
	if err == nil || errors.Is(err, kerr.UnknownTopicOrPartition) {
		return ended
	}
	f := a.explain(fmt.Errorf("topic %s is still there: delete it: %w", topic, err))
	f.Fix = "`walser topic delete " + topic + "`"
	if ended != nil {
		a.note("warning: %v; %s", f, f.Fix)
		return ended
	}
	return f
}

func (a *app) countPartitions(ctx context.Context, adm admin, topic string) (int, error) {
	asking, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	details, err := adm.ListTopicsWithInternal(asking, topic)
	if err != nil {
		return 0, fmt.Errorf("look topics up: %w", err)
	}
	if err := topicsExist(details, []string{topic}); err != nil {
		return 0, err
	}
	return len(details[topic].Partitions), nil
}

// offer puts the load on the topic.
func (a *app) offer(ctx context.Context, c *client, q *benchmark, load loadgen.Load) (loadgen.Result, error) {
	m := &meter{a: a, phases: []string{"warm-up", "measured", "ending"}}
	if q.kind == benchConsume {
		m.phases = []string{"reading"}
	}
	w := q.window
	w.Progress, w.Edge = m.tell, m.edge
	switch {
	case q.readsOnly():
		return loadgen.Read(ctx, c.opts, load, w, left(load.Topic))
	case q.kind == benchConsume:
		filling := &meter{a: a, phases: []string{"writing"}}
		if err := loadgen.Fill(ctx, c.opts, load, q.backlog, filling.tell); err != nil {
			return loadgen.Result{}, fmt.Errorf("write the backlog: %w", err)
		}
		return loadgen.CatchUp(ctx, c.opts, load, w)
	case q.kind == benchE2E:
		return loadgen.Stream(ctx, c.opts, load, w)
	case load.Rate > 0:
		return loadgen.Pace(ctx, c.opts, load, w)
	case q.sync:
		return loadgen.RoundTrips(ctx, c.opts, load, w)
	}
	return loadgen.Saturate(ctx, c.opts, load, w)
}

// left returns a function that looks for the records of a topic which compaction has left.
func left(topic string) loadgen.Left {
	return func(ctx context.Context, c *kgo.Client, partition int32, from, until int64) (bool, error) {
		details, err := kadm.NewClient(c).ListTopicsWithInternal(ctx, topic)
		if err != nil {
			return false, fmt.Errorf("look topics up: %w", err)
		}
		return anyLeft(ctx, c, details[topic], model.TopicPartition{Topic: topic, Partition: partition}, from, until)
	}
}

// meter tells how a load goes.
type meter struct {
	a      *app
	phases []string // an edge of the window begins the next; the last one stays
	edges  atomic.Int32
	last   loadgen.Progress
}

func (m *meter) edge() { m.edges.Add(1) }

func (m *meter) tell(p loadgen.Progress) {
	seconds := (p.Elapsed - m.last.Elapsed).Seconds()
	phase := m.phases[min(int(m.edges.Load()), len(m.phases)-1)]
	m.a.note("%4.0f s  %-8s  %11.0f records/s  %9.1f MiB/s", p.Elapsed.Seconds(), phase,
		float64(p.Records-m.last.Records)/seconds, mib(p.Bytes-m.last.Bytes)/seconds)
	m.last = p
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// noteLag says so where the latencies are the generator's own.
func (a *app) noteLag(r loadgen.Result) {
	if r.Lag == nil {
		return
	}
	if lag, produce := r.Lag.Quantiles().P99, r.Produce.Quantiles().P99; lag > produce/2 {
		a.note("warning: records were given to the client late (p99 %.3f ms, of %.3f ms to their acknowledgement): the rate is more than the cluster, or this machine, keeps up with", ms(lag), ms(produce))
	}
}

// describe returns everything that is pinned.
func (q *benchmark) describe(load *loadgen.Load) []string {
	topic := load.Topic + ", which was there"
	switch {
	case q.topic == "" && q.replicas == -1:
		topic = load.Topic + ", made for this run with the cluster's replication factor"
	case q.topic == "":
		topic = fmt.Sprintf("%s, made for this run with replication factor %d", load.Topic, q.replicas)
	}
	lines := append([]string{"topic: " + topic}, load.Describe()...)
	loop := "closed, buffers kept full"
	switch {
	case q.readsOnly():
		loop = "from the first record to the last there is"
	case q.kind == benchConsume:
		loop = "a backlog of " + sizeText(q.backlog) + ", from the first record to the last"
	case load.Rate > 0:
		loop = fmt.Sprintf("open, %d records per second; latency counts from when a record was due", load.Rate)
	case q.sync:
		loop = "closed, one record per request and one request in flight for each producer; latency counts from the send"
	}
	lines = append(lines, "loop: "+loop)
	window := fmt.Sprintf("warm-up %v, measured %v", q.window.Warmup, q.window.Measure)
	switch {
	case q.kind == benchConsume && q.window.Measure == 0:
		return lines
	case q.kind == benchConsume:
		window = fmt.Sprintf("at most %v", q.window.Measure)
	case q.window.MaxBytes > 0:
		window += fmt.Sprintf(", at most %s", sizeText(q.window.MaxBytes))
	}
	return append(lines, "window: "+window)
}

func (a *app) printBenchmark(q *benchmark, load *loadgen.Load, r loadgen.Result) error {
	b := Benchmark{
		Kind: q.kind, Topic: load.Topic, Load: q.describe(load), Records: r.Records, Bytes: r.Bytes, ElapsedMs: ms(r.Elapsed),
		RecordsPerSecond: thousandths(float64(r.Records) / r.Elapsed.Seconds()), MiBPerSecond: thousandths(mib(r.Bytes) / r.Elapsed.Seconds()),
		Produce: latencyOf(r.Produce), EndToEnd: latencyOf(r.EndToEnd), GeneratorLag: latencyOf(r.Lag),
	}
	var sections []section
	if !a.flags.noHeaders {
		head := section{title: "LOAD", headers: []string{"PINNED", "TO"}}
		for _, line := range b.Load {
			key, value, _ := strings.Cut(line, ": ")
			head.rows = append(head.rows, []any{key, value})
		}
		sections = append(sections, head)
	}
	sections = append(sections, section{
		title: "RESULT", headers: []string{"RECORDS", "BYTES", "SECONDS", "RECORDS/S", "MIB/S"}, numeric: []int{0, 1, 2, 3, 4},
		rows: [][]any{{b.Records, b.Bytes, fmt.Sprintf("%.3f", r.Elapsed.Seconds()), fmt.Sprintf("%.0f", b.RecordsPerSecond), fmt.Sprintf("%.2f", b.MiBPerSecond)}},
	})
	latencies := section{title: "LATENCY IN MS", headers: []string{"OF", "P50", "P99", "P99.9", "MAX", "RECORDS"}, numeric: []int{1, 2, 3, 4, 5}}
	for _, l := range []struct {
		of string
		*BenchLatency
	}{{"produce", b.Produce}, {"end-to-end", b.EndToEnd}, {"generator-lag", b.GeneratorLag}} {
		if l.BenchLatency != nil {
			at := func(ms float64) string { return fmt.Sprintf("%.3f", ms) }
			latencies.rows = append(latencies.rows, []any{l.of, at(l.P50Ms), at(l.P99Ms), at(l.P999Ms), at(l.MaxMs), l.Records})
		}
	}
	if len(latencies.rows) > 0 {
		sections = append(sections, latencies)
	}
	return printOne(a, b, sections...)
}

func latencyOf(l *loadgen.Latency) *BenchLatency {
	if l == nil {
		return nil
	}
	q := l.Quantiles()
	return &BenchLatency{Records: q.Count, P50Ms: ms(q.P50), P99Ms: ms(q.P99), P999Ms: ms(q.P999), MaxMs: ms(q.Max)}
}

// ms is a duration in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return thousandths(d.Seconds() * 1000) }

func thousandths(x float64) float64 { return math.Round(x*1000) / 1000 }
