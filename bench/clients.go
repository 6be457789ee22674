package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/loadgen"
)

// client is a producer that is not ours, in a process of its own.
type client struct {
	describe string
	// command returns the command that sends as many records.
	command func(ctx context.Context, addr string, load loadgen.Load, records int64) *exec.Cmd
	// feed writes them to the command's standard input; nil: the command makes them.
	feed func(w io.Writer, load loadgen.Load, records int64) error
	// took returns for how many records it measured how long, of what the command printed in so much time.
	took func(output string, elapsed time.Duration, records int64) (int64, time.Duration, error)
}

// findClient returns the client that a kind of case needs, if it needs one, or why it is missing.
func (b *bench) findClient(ctx context.Context, k kind) (*client, error) {
	switch k {
	case javaProducer:
		return findJavaClient(ctx, b.options, b.progress)
	case librdkafka:
		return findLibrdkafka(ctx)
	}
	return nil, nil
}

// offer lets the client produce, and checks that the topic holds what it was to send. The broker's account
// spans the process.
func (c *client) offer(ctx context.Context, broker *process, cluster []kgo.Opt, load loadgen.Load, w loadgen.Window) (result loadgen.Result, err error) {
	records := w.MaxBytes / 2 / int64(load.RecordBytes)
	cmd := c.command(ctx, broker.addr, load, records)
	var output, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &log
	cmd.Env, cmd.SysProcAttr = environment("KAFKA_"), childAttr()
	var stdin io.WriteCloser
	if c.feed != nil {
		if stdin, err = cmd.StdinPipe(); err != nil {
			return result, err
		}
	}
	edge := w.Edge
	if edge == nil {
		edge = func() {}
	}
	edge()
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return result, err
	}
	var fed error
	if c.feed != nil {
		fed = errors.Join(c.feed(stdin, load, records), stdin.Close())
	}
	err = cmd.Wait()
	elapsed := time.Since(began)
	edge()
	if err := errors.Join(err, fed); err != nil {
		return result, fmt.Errorf("%s: %w\n%s", cmd.Path, err, tail(append(output.Bytes(), log.Bytes()...)))
	}
	held, err := loadgen.Held(ctx, cluster, load)
	if err != nil {
		return result, err
	}
	if held != records {
		return result, fmt.Errorf("%s sent %d records, and the topic holds %d\n%s", cmd.Path, records, held, tail(append(output.Bytes(), log.Bytes()...)))
	}
	measured, took, err := c.took(output.String(), elapsed, records)
	if err != nil {
		return result, fmt.Errorf("%s: %w\n%s", cmd.Path, err, tail(append(output.Bytes(), log.Bytes()...)))
	}
	// The CPU was used for all records: figures per record divide by them, the rate by its own time.
	took = time.Duration(float64(took) * float64(records) / float64(measured))
	return loadgen.Result{Records: records, Bytes: records * int64(load.RecordBytes), Elapsed: took}, nil
}

// tail is the end of a log.
func tail(log []byte) []byte { return log[max(0, len(log)-3000):] }

// steadyLine is what kafka-producer-perf-test prints at the end, of all records and then of those behind the
// warm-up.
var steadyLine = regexp.MustCompile(`(\d+) (?:steady state )?records sent, ([0-9.]+) records/sec`)

// steadyRate returns the last such line.
func steadyRate(output string) (records int64, took time.Duration, err error) {
	lines := steadyLine.FindAllStringSubmatch(output, -1)
	if len(lines) == 0 {
		return 0, 0, errors.New("it printed no rate")
	}
	last := lines[len(lines)-1]
	records, err = strconv.ParseInt(last[1], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	rate, err := strconv.ParseFloat(last[2], 64)
	if err == nil && (rate <= 0 || records <= 0) {
		err = fmt.Errorf("it printed a rate of %v for %d records", rate, records)
	}
	return records, time.Duration(float64(records) / rate * float64(time.Second)), err
}

func findJavaClient(ctx context.Context, o *options, progress io.Writer) (*client, error) {
	jars, err := findJars(ctx, o.jars, progress)
	if err != nil {
		return nil, err
	}
	java, version, err := findJava(ctx, o.java)
	if err != nil {
		return nil, err
	}
	return &client{
		describe: "kafka-producer-perf-test " + kafkaVersion + ", -Xmx512M as its script has it, " + version,
		command: func(ctx context.Context, addr string, load loadgen.Load, records int64) *exec.Cmd {
			return exec.CommandContext(ctx, java, "-Xmx512M", "-cp", filepath.Join(jars, "*"), "org.apache.kafka.tools.ProducerPerformance",
				"--bootstrap-server", addr, "--topic", load.Topic, "--num-records", strconv.FormatInt(records, 10),
				"--record-size", strconv.Itoa(load.RecordBytes), "--throughput", "-1", "--warmup-records", strconv.FormatInt(records/4, 10),
				"--command-property", "acks=all", "enable.idempotence=true", "max.in.flight.requests.per.connection=5",
				fmt.Sprintf("linger.ms=%d", load.Linger.Milliseconds()), fmt.Sprintf("batch.size=%d", load.BatchBytes), "buffer.memory=67108864")
		},
		took: func(output string, _ time.Duration, _ int64) (int64, time.Duration, error) { return steadyRate(output) },
	}, nil
}

//go:embed librdkafka.py
var librdkafkaScript string

// findLibrdkafka looks for kcat, then for a Python that has confluent-kafka, that of make e2e among them.
func findLibrdkafka(ctx context.Context) (*client, error) {
	if kcat, err := exec.LookPath("kcat"); err == nil {
		version, _ := exec.CommandContext(ctx, kcat, "-V").Output() // nothing then
		return kcatClient(kcat, string(version)), nil
	}
	candidates := []string{"python3"}
	if cache, err := os.UserCacheDir(); err == nil {
		candidates = append(candidates, filepath.Join(cache, "walser-e2e", "venv", "bin", "python"))
	}
	for _, python := range candidates {
		version, err := exec.CommandContext(ctx, python, "-c", "import confluent_kafka as c; print(c.version()[0] if isinstance(c.version(), tuple) else c.version(), c.libversion()[0])").Output()
		if err == nil {
			return pythonClient(python, strings.TrimSpace(string(version))), nil
		}
	}
	return nil, errors.New("neither kcat nor confluent-kafka for Python is installed; make e2e installs both")
}

// librdkafkaSettings are those of the load, as far as librdkafka has them.
func librdkafkaSettings(load loadgen.Load) []string {
	return []string{
		"acks=all", "enable.idempotence=true", "max.in.flight.requests.per.connection=5",
		fmt.Sprintf("linger.ms=%d", load.Linger.Milliseconds()), "batch.size=1000000", "queue.buffering.max.kbytes=65536",
	}
}

func kcatClient(kcat, version string) *client {
	libraries := regexp.MustCompile(`librdkafka ([0-9.]+)`).FindStringSubmatch(version)
	if libraries == nil {
		libraries = []string{"", "of an unknown version"}
	}
	return &client{
		describe: "kcat with librdkafka " + libraries[1] + ", which reads lines from a pipe; its start is in the time",
		command: func(ctx context.Context, addr string, load loadgen.Load, _ int64) *exec.Cmd {
			args := []string{"-P", "-q", "-b", addr, "-t", load.Topic}
			for _, setting := range librdkafkaSettings(load) {
				args = append(args, "-X", setting)
			}
			return exec.CommandContext(ctx, kcat, args...)
		},
		feed: feedLines,
		took: func(_ string, elapsed time.Duration, records int64) (int64, time.Duration, error) {
			return records, elapsed, nil
		},
	}
}

// feedLines writes records as lines: the values of the load, without what would end a line.
func feedLines(w io.Writer, load loadgen.Load, records int64) error {
	values := loadgen.NewPayloads(load.Seed, load.RecordBytes, load.Redundancy)
	const atOnce = 1024
	var lines bytes.Buffer
	for i := range int64(atOnce) {
		lines.Write(bytes.ReplaceAll(values.At(i), []byte{'\n'}, []byte{0}))
		lines.WriteByte('\n')
	}
	line := load.RecordBytes + 1
	for ; records > 0; records -= atOnce {
		if _, err := w.Write(lines.Bytes()[:line*int(min(records, atOnce))]); err != nil {
			return err
		}
	}
	return nil
}

func pythonClient(python, version string) *client {
	return &client{
		describe: "confluent-kafka for Python and librdkafka " + version + "; Python makes the calls, so it is the limit",
		command: func(ctx context.Context, addr string, load loadgen.Load, records int64) *exec.Cmd {
			args := []string{"-c", librdkafkaScript, addr, load.Topic, strconv.FormatInt(records, 10), strconv.Itoa(load.RecordBytes), strconv.FormatUint(load.Seed, 10)}
			return exec.CommandContext(ctx, python, append(args, librdkafkaSettings(load)...)...)
		},
		took: func(output string, _ time.Duration, records int64) (int64, time.Duration, error) {
			seconds, err := strconv.ParseFloat(strings.TrimSpace(output), 64)
			return records, time.Duration(seconds * float64(time.Second)), err
		},
	}
}
