package loadgen

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/node/nodetest"
)

// A run that fails must leave nothing behind either.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// measured is long enough for a record on a machine that has much else to do.
const measured = time.Second

func testLoad() Load {
	return Load{
		Topic: "load", Partitions: 3, RecordBytes: 100, Redundancy: 0.5, Seed: 1,
		Producers: 2, Acks: "all", Idempotent: true, InFlight: 5, Linger: time.Millisecond, BatchBytes: 64 << 10, Codec: "none",
		Consumers: 2,
	}
}

// startCluster starts a node that has the load's topic.
func startCluster(t *testing.T, load Load) []kgo.Opt {
	t.Helper()
	node := nodetest.Start(t, nodetest.Options{})
	cluster := []kgo.Opt{kgo.SeedBrokers(nodetest.Addr), kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return node.Dial(ctx) }), kgo.MetadataMinAge(10 * time.Millisecond)}
	if err := CreateTopic(t.Context(), cluster, load); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// edges counts the calls of an Edge.
type edges []time.Time

func (e *edges) cross() { *e = append(*e, time.Now()) }

func (e *edges) check(t *testing.T, elapsed time.Duration) {
	t.Helper()
	if len(*e) != 2 {
		t.Fatalf("%d edges were crossed, want 2", len(*e))
	}
	if between := (*e)[1].Sub((*e)[0]); elapsed > between {
		t.Errorf("%v were measured, but only %v lie between the edges", elapsed, between)
	}
}

func TestSaturate(t *testing.T) {
	load := testLoad()
	cluster := startCluster(t, load)
	var crossed edges
	result, err := Saturate(t.Context(), cluster, load,
		Window{Warmup: 50 * time.Millisecond, Measure: measured, Edge: crossed.cross})
	if err != nil {
		t.Fatal(err)
	}
	crossed.check(t, result.Elapsed)
	if result.Bytes != 100*result.Records || result.Elapsed < measured {
		t.Errorf("got %+v", result)
	}
}

func TestSaturate_StopsAtItsBytes(t *testing.T) {
	load := testLoad()
	cluster := startCluster(t, load)
	const limit = 16 << 20
	result, err := Saturate(t.Context(), cluster, load, Window{Warmup: time.Hour, Measure: time.Hour, MaxBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	// The other producer may have counted a record too when one has counted the last of the warm-up.
	if result.Bytes < limit*3/4-100*int64(load.Producers) || result.Bytes > limit*3/4 {
		t.Errorf("%d bytes were measured, want three quarters of %d", result.Bytes, limit)
	}
	after, err := ends(t.Context(), cluster, load)
	if err != nil {
		t.Fatal(err)
	}
	if got := sum(after) * int64(load.RecordBytes); got > limit {
		t.Errorf("%d bytes were written, more than %d", got, limit)
	}
}

func TestRoundTrips(t *testing.T) {
	load := testLoad()
	load.Linger = 0
	cluster := startCluster(t, load)
	var crossed edges
	result, err := RoundTrips(t.Context(), cluster, load,
		Window{Warmup: 20 * time.Millisecond, Measure: measured, Edge: crossed.cross})
	if err != nil {
		t.Fatal(err)
	}
	crossed.check(t, result.Elapsed)
	q := result.Produce.Quantiles()
	if result.Records < 1 || q.P50 <= 0 || q.P50 > result.Elapsed {
		t.Errorf("got %+v with latencies %+v", result, q)
	}
	// A record may be answered on one side of an edge and counted on the other, one for each producer and edge.
	if off := q.Count - result.Records; off < -4 || off > 4 {
		t.Errorf("%d latencies of %d records", q.Count, result.Records)
	}
}

func TestStream(t *testing.T) {
	load := testLoad()
	load.Linger, load.Rate = 0, 2000
	cluster := startCluster(t, load)
	var crossed edges
	result, err := Stream(t.Context(), cluster, load,
		Window{Warmup: 100 * time.Millisecond, Measure: 250 * time.Millisecond, Edge: crossed.cross})
	if err != nil {
		t.Fatal(err)
	}
	if len(crossed) != 2 {
		t.Errorf("%d edges were crossed", len(crossed))
	}
	if result.Records != 500 || result.Elapsed != 250*time.Millisecond {
		t.Errorf("got %d records in %v, want the 500 that were due", result.Records, result.Elapsed)
	}
	for name, want := range map[string]struct {
		latency *Latency
		count   int64
	}{"produce": {result.Produce, 500}, "end to end": {result.EndToEnd, 1000}, "lag": {result.Lag, 500}} {
		if got := want.latency.Quantiles().Count; got != want.count {
			t.Errorf("%s: %d latencies, want %d", name, got, want.count)
		}
	}
}

// The clock of a record starts when it is due. While something stalls the generator, records pile up behind
// the stall, and each of them must show it: one that counts from when it was sent shows nothing, and one that
// counts the stalled record alone shows it in the maximum only.
func TestStream_AStallIsSeenByAllThatItDelays(t *testing.T) {
	load := testLoad()
	load.Linger, load.Rate, load.Producers, load.Consumers = 0, 1000, 1, 1
	cluster := startCluster(t, load)
	const length = 100 * time.Millisecond
	result, err := Stream(t.Context(), append(slices.Clone(cluster), kgo.WithHooks(&stall{length: length})), load,
		Window{Measure: 3 * length})
	if err != nil {
		t.Fatal(err)
	}
	for name, latency := range map[string]*Latency{"produce": result.Produce, "end to end": result.EndToEnd, "lag": result.Lag} {
		if q := latency.Quantiles(); q.P99 < length*9/10 {
			t.Errorf("%s: a third of the records were due during a stall of %v, and the quantiles are %+v", name, length, q)
		}
	}
}

// stall holds up one record that is given to a client.
type stall struct {
	record int32 // which, counted from 0
	length time.Duration
	seen   atomic.Int32
}

func (s *stall) OnProduceRecordBuffered(*kgo.Record) {
	if s.seen.Add(1)-1 == s.record {
		<-time.After(s.length)
	}
}

func TestRoundTrips_MustMeasureARecord(t *testing.T) {
	load := testLoad()
	load.Linger, load.Producers = 0, 1
	cluster := startCluster(t, load)
	stalled := append(slices.Clone(cluster), kgo.WithHooks(&stall{record: 1, length: 300 * time.Millisecond}))
	result, err := RoundTrips(t.Context(), stalled, load, Window{Measure: time.Millisecond})
	if !errors.Is(err, ErrTooShort) {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestCatchUp(t *testing.T) {
	load := testLoad()
	load.RecordBytes = 1000 // several fetches
	cluster := startCluster(t, load)
	if err := Fill(t.Context(), cluster, load, 8000*1000-500, nil); err != nil {
		t.Fatal(err)
	}
	var crossed edges
	result, err := CatchUp(t.Context(), cluster, load, Window{Edge: crossed.cross})
	if err != nil {
		t.Fatal(err)
	}
	crossed.check(t, result.Elapsed)
	if result.Records != 2*8000 || result.Bytes != 2*8000*1000 {
		t.Errorf("two consumers read %d records, %d bytes, of 8000 records of 1000 bytes", result.Records, result.Bytes)
	}
}

func replayLoad() Load {
	load := testLoad()
	load.Partitions, load.PerRequest, load.Idempotent, load.InFlight, load.BatchBytes = 4, 2, false, 3, 4<<10
	return load
}

func TestReplay(t *testing.T) {
	load := replayLoad()
	cluster := startCluster(t, load)
	const limit = 4 << 20
	var crossed edges
	result, err := Replay(t.Context(), cluster, load, Window{Warmup: time.Hour, Measure: time.Hour, MaxBytes: limit, Edge: crossed.cross})
	if err != nil {
		t.Fatal(err)
	}
	crossed.check(t, result.Elapsed)
	if result.Bytes != 100*result.Records || result.Bytes < limit*3/4-64<<10 || result.Bytes > limit*3/4+64<<10 {
		t.Errorf("%d records, %d bytes were measured, want about three quarters of %d bytes", result.Records, result.Bytes, limit)
	}
	if perBatch := result.Records / result.Batches; perBatch < 30 || perBatch > 40 {
		t.Errorf("%d records in %d batches of 4 KiB", result.Records, result.Batches)
	}
	// Whatever was sent can be read, in every partition.
	read, err := CatchUp(t.Context(), cluster, load, Window{})
	if err != nil {
		t.Fatal(err)
	}
	held, err := ends(t.Context(), cluster, load)
	if err != nil {
		t.Fatal(err)
	}
	if read.Records != int64(load.Consumers)*sum(held) || slices.Contains(held, 0) {
		t.Errorf("%d consumers read %d records of %v", load.Consumers, read.Records, held)
	}
}

// An answer that refuses a batch ends the run.
func TestReplay_RefusedBatch(t *testing.T) {
	load := replayLoad()
	cluster := startCluster(t, load)
	load.Topic, load.Partitions = "gone", 2
	if err := CreateTopic(t.Context(), cluster, load); err != nil {
		t.Fatal(err)
	}
	_, err := Replay(t.Context(), cluster, load, Window{Measure: time.Hour, Edge: sync.OnceFunc(func() {
		if err := DeleteTopic(t.Context(), cluster, load); err != nil {
			t.Error(err)
		}
	})})
	// Which of the two depends on how far the deletion has come.
	if !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.NotLeaderForPartition) {
		t.Errorf("got %v", err)
	}
}

func TestReplay_WantsItsLoad(t *testing.T) {
	for name, change := range map[string]func(*Load){
		"idempotent": func(l *Load) { l.Idempotent, l.InFlight = true, 5 },
		"compressed": func(l *Load) { l.Codec = "zstd" },
		"no batches": func(l *Load) { l.PerRequest = 0 },
	} {
		load := replayLoad()
		change(&load)
		if _, err := Replay(t.Context(), nil, load, Window{}); err == nil || !strings.Contains(err.Error(), "a replay needs") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A log that does not hold exactly what was acknowledged is the end of a run.
func TestSaturate_ComparesWithTheLog(t *testing.T) {
	load := testLoad()
	cluster := startCluster(t, load)
	_, err := Saturate(t.Context(), cluster, load, Window{Measure: 50 * time.Millisecond, Edge: func() { produceAlien(t, cluster) }})
	if !errors.Is(err, ErrRecords) || !strings.Contains(err.Error(), "records were acknowledged, and the logs") {
		t.Errorf("two records of another producer: %v", err)
	}
}

func TestStream_ComparesWhatItReads(t *testing.T) {
	load := testLoad()
	load.Rate = 1000
	cluster := startCluster(t, load)
	_, err := Stream(t.Context(), cluster, load,
		Window{Warmup: 50 * time.Millisecond, Measure: 50 * time.Millisecond, Edge: func() { produceAlien(t, cluster) }})
	// Whoever compares first says so.
	if !errors.Is(err, ErrRecords) || !strings.Contains(err.Error(), "it carries no number") && !strings.Contains(err.Error(), "were acknowledged, and the logs") {
		t.Errorf("a record of another producer: %v", err)
	}
}

// The last call of Progress has come when a run returns.
func TestStream_TellsItsProgress(t *testing.T) {
	load := testLoad()
	load.Linger, load.Rate = 0, 1000
	cluster := startCluster(t, load)
	var told []Progress
	if _, err := Stream(t.Context(), cluster, load, Window{Measure: 1500 * time.Millisecond, Progress: func(p Progress) { told = append(told, p) }}); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 || told[0].Elapsed < time.Second || told[0].Records < 1 || told[0].Bytes != 100*told[0].Records {
		t.Errorf("told of %+v", told)
	}
}

func produceAlien(t *testing.T, cluster []kgo.Opt) {
	client, err := kgo.NewClient(cluster...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "load", Value: []byte("alien")}).FirstErr(); err != nil {
		t.Error(err)
	}
}

func TestRuns_EndWithTheirContext(t *testing.T) {
	load := testLoad()
	load.Rate = 1000
	cluster := startCluster(t, load)
	cause := errors.New("the user has seen enough")
	for name, run := range map[string]func(context.Context, []kgo.Opt, Load, Window) (Result, error){
		"Saturate": Saturate, "RoundTrips": RoundTrips, "Stream": Stream, "Replay": Replay,
	} {
		t.Run(name, func(t *testing.T) {
			load := load
			if name == "Replay" {
				load.Idempotent, load.PerRequest = false, 1
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err := run(ctx, cluster, load, Window{Measure: 10 * time.Minute, Edge: func() { cancel(cause) }})
			if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Nobody reads, and the log holds what was due.
func TestPace(t *testing.T) {
	load := testLoad()
	load.Linger, load.Rate = 0, 2000
	cluster := startCluster(t, load)
	result, err := Pace(t.Context(), cluster, load, Window{Warmup: 100 * time.Millisecond, Measure: 250 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if result.Records != 500 || result.EndToEnd != nil || result.Produce.Quantiles().Count != 500 || result.Lag.Quantiles().Count != 500 {
		t.Errorf("got %+v, want the 500 records that were due", result)
	}
	if held, err := Held(t.Context(), cluster, load); err != nil || held != 700 {
		t.Errorf("the log holds %d records, %v, want the 700 of warm-up and measure", held, err)
	}
}

func TestOpenLoops_WantTheirLoad(t *testing.T) {
	for name, tc := range map[string]struct {
		rate, consumers int
		measure         time.Duration
		says            string
	}{
		"no rate":         {0, 1, time.Second, "Rate is 0"},
		"no consumer":     {1, 0, time.Second, "Consumers is 0"},
		"too many at all": {1000, 1, 75 * time.Hour, "more than 268435456 records"},
	} {
		load := testLoad()
		load.Rate, load.Consumers = tc.rate, tc.consumers
		if _, err := Stream(t.Context(), nil, load, Window{Measure: tc.measure}); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStream_MustMeasureARecord(t *testing.T) {
	load := testLoad()
	load.Rate = 100
	cluster := startCluster(t, load)
	_, err := Stream(t.Context(), cluster, load, Window{Warmup: 25 * time.Millisecond, Measure: time.Millisecond})
	if !errors.Is(err, ErrTooShort) {
		t.Errorf("got %v", err)
	}
}

// noneLeft is a Left that must not be asked.
func noneLeft(t *testing.T) Left {
	return func(_ context.Context, _ *kgo.Client, partition int32, from, until int64) (bool, error) {
		t.Errorf("asked for records of partition %d from %d to %d", partition, from, until)
		return false, nil
	}
}

// What others wrote has any size and keys, begins anywhere, and grows while it is read.
func TestRead(t *testing.T) {
	load := testLoad()
	cluster := startCluster(t, load)
	client, err := kgo.NewClient(append(slices.Clone(cluster), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var bytes, records int64
	for i := range 100 {
		record := &kgo.Record{Topic: "load", Partition: int32(i % 2), Key: make([]byte, i%7), Value: make([]byte, i)}
		if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if record.Partition == 0 && record.Offset < 10 {
			continue
		}
		records++
		bytes += int64(i%7 + i)
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset("load", 0, 10, -1)
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	load = Load{Topic: "load", Partitions: 3, Consumers: 2}
	result, err := Read(t.Context(), cluster, load, Window{Edge: func() { produceAlien(t, cluster) }}, noneLeft(t))
	if err != nil {
		t.Fatal(err)
	}
	if result.Records != 2*records || result.Bytes != 2*bytes || result.Elapsed <= 0 {
		t.Errorf("two consumers read %d records, %d bytes in %v, of %d records, %d bytes", result.Records, result.Bytes, result.Elapsed, records, bytes)
	}
}

// Where the last records of a partition are gone, the read ends all the same, and the wait does not count.
func TestRead_EndsWhereNothingIsLeft(t *testing.T) {
	load := testLoad()
	load.Consumers = 1
	cluster := startCluster(t, load)
	if err := Fill(t.Context(), cluster, load, 3000, nil); err != nil {
		t.Fatal(err)
	}
	until, err := ends(t.Context(), cluster, load)
	if err != nil {
		t.Fatal(err)
	}
	held := slices.Clone(until)
	for p := range until {
		until[p] += 5
	}
	var asked sync.Map
	const patience = 200 * time.Millisecond
	left := func(_ context.Context, _ *kgo.Client, partition int32, from, until int64) (bool, error) {
		_, again := asked.LoadOrStore(partition, true)
		if from != held[partition] || until != from+5 {
			t.Errorf("asked for records of partition %d from %d to %d, it ends at %d", partition, from, until, held[partition])
		}
		return !again, nil // there may be one yet, then there is none
	}
	b := &backlog{load: load, cluster: cluster, from: make([]int64, 3), until: until, left: left, patience: patience}
	began := time.Now()
	result, err := b.read(t.Context(), Window{})
	if err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began) - result.Elapsed; result.Records != 30 || waited < 2*patience {
		t.Errorf("got %+v, and %v of waiting that do not count, want 30 records and %v", result, waited, 2*patience)
	}
}

// A time that is given ends the reading. What was read by then counts, and so does the time in which nothing came.
func TestRead_EndsWithItsTime(t *testing.T) {
	load := testLoad()
	load.Consumers = 1
	cluster := startCluster(t, load)
	if err := Fill(t.Context(), cluster, load, 3000, nil); err != nil {
		t.Fatal(err)
	}
	b := &backlog{load: load, cluster: cluster, from: make([]int64, 3), until: []int64{1000, 1000, 1000}, patience: readTimeout}
	result, err := b.read(t.Context(), Window{Measure: time.Second})
	if err != nil || result.Records != 30 || result.Elapsed != time.Second {
		t.Errorf("got %+v, %v", result, err)
	}
	if _, err := CatchUp(t.Context(), cluster, load, Window{Measure: time.Nanosecond}); !errors.Is(err, ErrTooShort) {
		t.Errorf("of a nanosecond: %v", err)
	}
}

func TestReader_OfGaps(t *testing.T) {
	r := newReader([]int64{3})
	r.gaps = true
	for _, offset := range []int64{3, 7, 8} {
		if err := r.follows(&kgo.Record{Offset: offset}); err != nil {
			t.Error(err)
		}
	}
	if err := r.follows(&kgo.Record{Offset: 7}); !errors.Is(err, ErrRecords) {
		t.Errorf("took an offset twice: %v", err)
	}
}

func TestFill_TellsItsProgress(t *testing.T) {
	load := testLoad()
	load.Linger, load.Producers = 0, 1
	cluster := append(startCluster(t, load), kgo.WithHooks(&stall{record: 20, length: 1500 * time.Millisecond}))
	var told []Progress
	if err := Fill(t.Context(), cluster, load, 30*100, func(p Progress) { told = append(told, p) }); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 || told[0].Records != 20 || told[0].Bytes != 2000 {
		t.Errorf("told of %+v", told)
	}
}
