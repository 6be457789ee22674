package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/cli"
	"github.com/walser-io/walser/internal/loadgen"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/vfs"
)

// benchNode is a node to measure, which has the topic orders with three partitions.
type benchNode struct {
	*nodetest.Node
	t      *testing.T
	client *kgo.Client
	admin  *kadm.Client
	// told is called once, with the first line on standard error; nil does nothing.
	told func()
	wrap func(cli.Admin) cli.Admin
}

func startBenchNode(t *testing.T) *benchNode {
	t.Helper()
	n := &benchNode{Node: nodetest.Start(t, nodetest.Options{}), t: t}
	n.client = n.Client()
	n.admin = kadm.NewClient(n.client)
	if _, err := n.admin.CreateTopic(t.Context(), 3, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	return n
}

// run runs walser bench against the node.
func (n *benchNode) run(ctx context.Context, args string) ran {
	n.t.Helper()
	var stdout bytes.Buffer
	stderr := lines{node: n}
	code := cli.MainOn(ctx, cli.Deps{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, FS: vfs.NewMem(1), Now: time.Now},
		n.Dial, n.wrap, append([]string{"bench"}, strings.Fields(args)...))
	return ran{code, stdout.String(), stderr.String()}
}

// measure runs walser bench, which must succeed, and returns what it measured.
func (n *benchNode) measure(args string) cli.Benchmark {
	n.t.Helper()
	got := n.run(n.t.Context(), args+" -o json")
	var b cli.Benchmark
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil || got.code != cli.ExitOK {
		n.t.Fatalf("walser bench %s: %v\n%v", args, err, got)
	}
	if b.RecordsPerSecond <= 0 || b.MiBPerSecond <= 0 || b.ElapsedMs <= 0 {
		n.t.Errorf("walser bench %s: %+v", args, b)
	}
	return b
}

// topics returns the topics that there are. It asks with a client of its own: one that has asked before answers
// from its cache.
func (n *benchNode) topics() []string {
	n.t.Helper()
	client := n.Client()
	defer client.Close()
	all, err := kadm.NewClient(client).ListTopics(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return all.Names()
}

// onlyOrders fails unless the benchmark's own topic is gone and the other is not.
func (n *benchNode) onlyOrders() {
	n.t.Helper()
	if got := n.topics(); !slices.Equal(got, []string{"orders"}) {
		n.t.Errorf("there are topics %q, want orders alone", got)
	}
}

// held returns how many records orders holds.
func (n *benchNode) held() (records int64) {
	n.t.Helper()
	ends, err := n.admin.ListEndOffsets(n.t.Context(), "orders")
	if err != nil {
		n.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { records += o.Offset })
	return records
}

func (n *benchNode) write(key, value string) {
	n.t.Helper()
	record := &kgo.Record{Topic: "orders", Key: []byte(key), Value: []byte(value)}
	if err := n.client.ProduceSync(n.t.Context(), record).FirstErr(); err != nil {
		n.t.Error(err)
	}
}

// lines is a standard error that is watched.
type lines struct {
	bytes.Buffer
	node *benchNode
}

func (l *lines) Write(p []byte) (int, error) {
	n, err := l.Buffer.Write(p)
	if told := l.node.told; told != nil {
		l.node.told = nil
		told()
	}
	return n, err
}

func hasLine(b cli.Benchmark, want string) bool {
	return slices.ContainsFunc(b.Load, func(line string) bool { return strings.Contains(line, want) })
}

// TestBenchOwnTopic: without a TOPIC each command makes one, says what it measured there, and deletes it.
func TestBenchOwnTopic(t *testing.T) {
	n := startBenchNode(t)
	for _, tc := range []struct {
		args           string
		records, bytes int64 // 0: whatever was acknowledged in time
		latencies      string
		loop           string
	}{
		{args: "produce --duration 1m --warmup 1m --max-bytes 16MiB --size 100", loop: "loop: closed, buffers kept full"},
		{args: "produce --duration 1m --warmup 1m --max-bytes 512KiB --sync --clients 2 --size 100", latencies: "produce", loop: "one record per request"},
		{args: "produce --duration 200ms --warmup 50ms --rate 1000 --size 100", records: 200, bytes: 20_000, latencies: "produce lag", loop: "open, 1000 records per second"},
		{args: "e2e --duration 200ms --warmup 50ms --consumers 2 --size 100", records: 200, bytes: 20_000, latencies: "produce end-to-end lag", loop: "open, 1000 records per second"},
		{args: "consume --backlog 64KiB --clients 2", records: 128, bytes: 128 << 10, loop: "a backlog of 64KiB"},
	} {
		b := n.measure(tc.args + " --partitions 2")
		if !strings.HasPrefix(b.Topic, "walser-bench-") || b.Kind != strings.Fields(tc.args)[0] {
			t.Errorf("%s: a benchmark %s of topic %s", tc.args, b.Kind, b.Topic)
		}
		if tc.records > 0 && (b.Records != tc.records || b.Bytes != tc.bytes) || tc.records == 0 && b.Bytes != 100*b.Records {
			t.Errorf("%s: %d records and %d bytes", tc.args, b.Records, b.Bytes)
		}
		var latencies []string
		for _, l := range []struct {
			name    string
			latency *cli.BenchLatency
		}{{"produce", b.Produce}, {"end-to-end", b.EndToEnd}, {"lag", b.GeneratorLag}} {
			if l.latency != nil {
				latencies = append(latencies, l.name)
				if q := l.latency; q.Records < 1 || q.P50Ms <= 0 || q.P50Ms > q.P99Ms || q.P99Ms > q.P999Ms || q.P999Ms > q.MaxMs {
					t.Errorf("%s: %s is %+v", tc.args, l.name, *q)
				}
			}
		}
		if got := strings.Join(latencies, " "); got != tc.latencies {
			t.Errorf("%s: latencies of %q, want %q", tc.args, got, tc.latencies)
		}
		if !hasLine(b, tc.loop) || !hasLine(b, "partitions: 2") || !hasLine(b, "made for this run") {
			t.Errorf("%s: %q is missing in %q", tc.args, tc.loop, b.Load)
		}
		n.onlyOrders()
	}
}

// TestBenchGivenTopic: with a TOPIC a command uses what is there, and what it says is what the log holds.
func TestBenchGivenTopic(t *testing.T) {
	n := startBenchNode(t)
	n.write("key", "of another size")
	n.write("", strings.Repeat("x", 5000))
	before := n.held()

	b := n.measure("consume orders --clients 2")
	if want := 2 * int64(len("key")+len("of another size")+5000); b.Records != 2*before || b.Bytes != want || b.Topic != "orders" {
		t.Errorf("two consumers read %d records, %d bytes of %s, want %d and %d of orders", b.Records, b.Bytes, b.Topic, 2*before, want)
	}
	if !hasLine(b, "partitions: 3") || hasLine(b, "records:") || hasLine(b, "producers:") {
		t.Errorf("it pins %q of what others wrote", b.Load)
	}
	if got := n.held(); got != before {
		t.Errorf("%d records were written by reading", got-before)
	}
	for _, args := range []string{"e2e orders --rate 500 --duration 200ms --warmup 0s", "produce orders --rate 500 --duration 200ms --warmup 0s --acks 1"} {
		before := n.held()
		if b := n.measure(args); b.Records != 100 || n.held()-before != 100 {
			t.Errorf("%s: says %d records, the log has %d more, want 100", args, b.Records, n.held()-before)
		}
	}
	before = n.held()
	b = n.measure("produce orders --max-bytes 8MiB --duration 1m --warmup 1m")
	if written := n.held() - before; b.Records > written || written<<10 > 8<<20 || written<<10 < 7<<20 {
		t.Errorf("says %d records, the log has %d more of 1 KiB, want near to 8 MiB of them", b.Records, written)
	}
	n.onlyOrders()
}

// TestBenchTable: people get what was pinned, the figures, and once a second how it goes; scripts the figures alone.
func TestBenchTable(t *testing.T) {
	n := startBenchNode(t)
	got := n.run(t.Context(), "e2e --duration 2s --warmup 200ms --rate 100 -z lz4 -r 1")
	for _, want := range []string{
		"LOAD\nPINNED ", "\ntopic       walser-bench-", "made for this run with replication factor 1", "codec lz4\n", "linger 0s", "\nwindow      warm-up 200ms, measured 2s\n",
		"\nRESULT\nRECORDS   BYTES  SECONDS  RECORDS/S  MIB/S\n    200  204800    2.000        100   0.10\n",
		"\nLATENCY IN MS\nOF ", "\nproduce ", "\nend-to-end ", "\ngenerator-lag ",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is missing in\n%s", want, got.stdout)
		}
	}
	if got.code != cli.ExitOK || !strings.Contains(got.stderr, " s  measured ") || !strings.Contains(got.stderr, " records/s ") {
		t.Errorf("no line of progress in\n%v", got)
	}
	got = n.run(t.Context(), "produce --duration 1s --warmup 200ms --rate 100 --no-headers -q")
	if rows := strings.Split(got.stdout, "\n"); len(rows) != 4 || !strings.HasPrefix(rows[0], "100  102400  1.000") || got.stderr != "" {
		t.Errorf("want a line of figures and two of latencies:\n%v", got)
	}
}

// TestBenchInterrupted: Ctrl-C ends a benchmark, whatever it does, and its own topic with it.
func TestBenchInterrupted(t *testing.T) {
	for _, args := range []string{"produce --size 100", "produce --sync", "produce --rate 100", "e2e --rate 100", "consume --backlog 1TiB"} {
		t.Run(args, func(t *testing.T) {
			n := startBenchNode(t)
			ctx, cancel := context.WithCancel(t.Context())
			n.told = func() {
				if got := n.topics(); len(got) != 2 || !strings.HasPrefix(got[1], "walser-bench-") {
					t.Errorf("while it runs there are topics %q", got)
				}
				cancel()
			}
			// Too little for what a node in memory would take meanwhile.
			if got := n.run(ctx, args+" --compression zstd --redundancy 1"); got.code != 130 || !strings.Contains(got.stderr, "error: interrupted\n") {
				t.Errorf("%v", got)
			}
			n.onlyOrders()
		})
	}
}

// TestBenchFails: a benchmark that fails has no figures, and leaves no topic of its own.
func TestBenchFails(t *testing.T) {
	n := startBenchNode(t)
	for _, tc := range []struct {
		args string
		code int
		says string
	}{
		{"produce --size 2MiB --batch-bytes 4MiB", cli.ExitError, "max.message.bytes"},
		{"produce --rate 1 --warmup 10ms --duration 10ms", cli.ExitError, "setting: --duration\n"}, // the second is due after a second
		{"e2e --rate 1 --warmup 10ms --duration 10ms", cli.ExitError, "error: measure for longer"},
		{"e2e -r 3", cli.ExitError, "setting: --replication-factor"},
		{"consume orders", cli.ExitError, "topic orders holds no records"},
		{"consume nowhere", cli.ExitNotFound, "topic nowhere"},
		{"e2e nowhere", cli.ExitNotFound, "topic nowhere"},
	} {
		if got := n.run(t.Context(), tc.args); got.code != tc.code || !strings.Contains(got.stderr, tc.says) || got.stdout != "" {
			t.Errorf("%s: %v\nwant exit %d and %q", tc.args, got, tc.code, tc.says)
		}
		n.onlyOrders()
	}
}

// TestBenchOthersWrite: records of somebody else are no figure, but an error that says what may be the matter.
func TestBenchOthersWrite(t *testing.T) {
	n := startBenchNode(t)
	for _, args := range []string{"produce orders --rate 100 --duration 2500ms", "e2e orders --rate 100 --duration 2500ms"} {
		n.told = func() { n.write("", "of another") }
		got := n.run(t.Context(), args+" --warmup 0s")
		if got.code != cli.ExitCheck || !strings.Contains(got.stderr, "fix: let nobody else write to orders meanwhile") || got.stdout != "" {
			t.Errorf("%s: %v", args, got)
		}
	}
	n.onlyOrders()
}

// TestBenchProperties: what client properties say of a load is what the flags say, unless they are given.
func TestBenchProperties(t *testing.T) {
	n := startBenchNode(t)
	const short = "produce --rate 100 --duration 100ms --warmup 0s "
	b := n.measure(short + "-X acks=-1 -X compression.type=gzip -X linger.ms=7 -X batch.size=2048 -X enable.idempotence=false -X max.in.flight.requests.per.connection=2")
	for _, want := range []string{"acks=all, idempotent false, 2 requests in flight, linger 7ms, batches of 2 KiB", "codec gzip"} {
		if !hasLine(b, want) {
			t.Errorf("%q is missing in %q", want, b.Load)
		}
	}
	b = n.measure(short + "--acks 1 --linger 9ms -z none -X acks=all -X linger.ms=7 -X compression.type=gzip")
	if !hasLine(b, "acks=1, idempotent false, 5 requests in flight, linger 9ms") || !hasLine(b, "codec none") {
		t.Errorf("flags were overruled: %q", b.Load)
	}
	// A client that obeyed it would lose every record.
	got := n.run(t.Context(), short+"-X delivery.timeout.ms=1")
	if got.code != cli.ExitOK || !strings.Contains(got.stderr, "warning: delivery.timeout.ms (-X) has no effect: a benchmark pins it\n") {
		t.Errorf("%v", got)
	}
	n.write("", "a record")
	got = n.run(t.Context(), "consume orders -o jsonl -X fetch.max.bytes=1024 -X acks=1")
	if got.code != cli.ExitOK || got.stderr != "warning: fetch.max.bytes (-X) has no effect: a benchmark pins it\n" || !strings.Contains(got.stdout, "fetches of at most 50 MiB") {
		t.Errorf("%v", got)
	}
}

// TestAnyLeft: whether a partition is read to its end, asked of the node.
func TestAnyLeft(t *testing.T) {
	n := startBenchNode(t)
	for range 3 {
		n.write("the same partition", "a record")
	}
	details, err := n.admin.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ends, err := n.admin.ListEndOffsets(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset == 0 {
			return
		}
		for _, tc := range []struct {
			from, end int64
			left      bool
		}{{0, 3, true}, {2, 3, true}, {3, 3, false}, {3, 5, true}} { // the last are still to come
			left, err := cli.AnyLeft(t.Context(), n.client, details["orders"], model.TopicPartition{Topic: "orders", Partition: o.Partition}, tc.from, tc.end)
			if left != tc.left || err != nil {
				t.Errorf("from %d to %d: %t, %v", tc.from, tc.end, left, err)
			}
		}
	})
}

// stubborn is a cluster that loses answers.
type stubborn struct {
	cli.Admin
	create, remove error
}

func (s *stubborn) CreateTopics(ctx context.Context, p int32, r int16, configs map[string]*string, topics ...string) (kadm.CreateTopicResponses, error) {
	answers, err := s.Admin.CreateTopics(ctx, p, r, configs, topics...)
	return answers, errors.Join(err, s.create)
}

func (s *stubborn) DeleteTopics(ctx context.Context, topics ...string) (kadm.DeleteTopicResponses, error) {
	if s.remove == nil {
		return s.Admin.DeleteTopics(ctx, topics...)
	}
	return kadm.DeleteTopicResponses{topics[0]: {Topic: topics[0], Err: s.remove}}, nil
}

// TestBenchTopicStays: a topic that may have been created is deleted, and one that cannot be is named.
func TestBenchTopicStays(t *testing.T) {
	n := startBenchNode(t)
	s := &stubborn{create: context.DeadlineExceeded}
	n.wrap = func(adm cli.Admin) cli.Admin {
		s.Admin = adm
		return s
	}
	if got := n.run(t.Context(), "produce"); got.code != cli.ExitUnreachable {
		t.Errorf("%v", got)
	}
	n.onlyOrders()

	*s = stubborn{remove: kerr.TopicDeletionDisabled}
	got := n.run(t.Context(), "produce --rate 100 --duration 100ms --warmup 0s")
	if got.code != cli.ExitError || !strings.Contains(got.stderr, "is still there") || !strings.Contains(got.stderr, "fix: `walser topic delete walser-bench-") || !strings.Contains(got.stdout, "RESULT") {
		t.Errorf("%v", got)
	}
	got = n.run(t.Context(), "produce --rate 1 --warmup 10ms --duration 10ms")
	if got.code != cli.ExitError || !strings.Contains(got.stderr, "warning: topic walser-bench-") || !strings.Contains(got.stderr, "setting: --duration") {
		t.Errorf("%v", got)
	}
}

func TestBenchTooShort(t *testing.T) {
	tooShort := fmt.Errorf("%w: no record came", loadgen.ErrTooShort)
	if f := cli.ExplainBench(0, tooShort); f.Code != cli.ExitError || f.Setting != "--duration" || f.Fix != "measure for longer than 10s" {
		t.Errorf("%+v", f)
	}
	if f := cli.ExplainBench(1, tooShort); f.Setting != "--duration, --max-bytes" || f.Fix != "raise both" {
		t.Errorf("with a bound: %+v", f)
	}
}

// TestBenchMeter: a line is what came since the one before.
func TestBenchMeter(t *testing.T) {
	got := cli.MeterLines([]string{"warm-up", "measured"},
		loadgen.Progress{Elapsed: time.Second, Records: 1000, Bytes: 1 << 20},
		loadgen.Progress{Elapsed: 3 * time.Second, Records: 7000, Bytes: 5 << 20},
		loadgen.Progress{Elapsed: 4 * time.Second, Records: 7000, Bytes: 5 << 20})
	const want = "" +
		"   1 s  warm-up          1000 records/s        1.0 MiB/s\n" +
		"   3 s  measured         3000 records/s        2.0 MiB/s\n" +
		"   4 s  measured            0 records/s        0.0 MiB/s\n"
	if got != want {
		t.Errorf("told\n%swant\n%s", got, want)
	}
}

func TestBenchLag(t *testing.T) {
	if said := cli.NoteLag(time.Millisecond, 3*time.Millisecond); said != "" {
		t.Errorf("of a third: %s", said)
	}
	if said := cli.NoteLag(2*time.Millisecond, 3*time.Millisecond); !strings.Contains(said, "late (p99 2.00") {
		t.Errorf("of two thirds: %q", said)
	}
}

func TestSize(t *testing.T) {
	for _, tc := range []struct {
		text  string
		bytes int64
		shown string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1000"},
		{"1024", 1024, "1KiB"},
		{"1536", 1536, "1536"},
		{"3kib", 3 << 10, "3KiB"},
		{"16MiB", 16 << 20, "16MiB"},
		{"2 GiB", 2 << 30, "2GiB"},
		{"1024GiB", 1 << 40, "1TiB"},
		{"8388607TiB", 8388607 << 40, "8388607TiB"},
	} {
		if bytes, shown, err := cli.ParseSize(tc.text); bytes != tc.bytes || shown != tc.shown || err != nil {
			t.Errorf("%s: %d, shown as %s, %v; want %d, %s", tc.text, bytes, shown, err, tc.bytes, tc.shown)
		}
	}
	for _, bad := range []string{"", "KiB", "-1", "-1KiB", "1.5MiB", "10MB", "8388608TiB", "1KiBKiB"} {
		if bytes, _, err := cli.ParseSize(bad); err == nil {
			t.Errorf("%q is %d", bad, bytes)
		}
	}
}
