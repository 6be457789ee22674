package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/e2e/rig"
)

// TestKafkaDumpLog lets Kafka's own kafka-dump-log read every file of a node that served clients of all
// kinds and was killed and stopped. It has nothing to complain of, `walser log dump` says the same line for
// line, and its JSON has the records that a consumer read. There is no .txnindex while transactions are not
// served; package storage lets the tool read one of its own.
func TestKafkaDumpLog(t *testing.T) {
	rig.Needs(t, "jars/kafka_2.13-4.3.1.jar")
	n := startNode(t, "--set", "log.segment.bytes=1048576", "--set", "group.initial.rebalance.delay.ms=0")
	for _, c := range clients() {
		t.Run(c.name(), func(t *testing.T) {
			c := installed(t, c)
			topic := "dump-" + c.name()
			c.create(t, n.addr, topic, 2)
			for _, codec := range c.codecs() {
				c.produce(t, n.addr, topic, codec, 0, 2000)
			}
			m := c.join(t, n.addr, topic, "group-"+c.name())
			for got := map[string]int{}; len(got) < 2000*len(c.codecs()); {
				expect(t, m, got, func(e event) bool { return e.Event == "records" })
			}
			m.leave(t)
		})
	}
	produceOddRecords(t, n.addr)
	produceSegments(t, n.addr, 3)
	n.kill()
	n.start()
	produceSegments(t, n.addr, 2) // behind what was recovered
	want := readAll(t, n.addr)
	n.stop()

	data := filepath.Join(n.dataDir, "walser")
	for _, part := range []struct {
		what          string
		files         []string
		tool, ourDump []string
	}{
		{"the clients' partitions", partitionFiles(t, data, "dump-*", "odd-*", "segments-*"), []string{"--deep-iteration", "--print-data-log"}, []string{"--records"}},
		{"__consumer_offsets", partitionFiles(t, data, "__consumer_offsets-*"), []string{"--offsets-decoder"}, []string{"--decode", "offsets"}},
	} {
		theirs, complaints := kafkaDumpLog(t, part.files, part.tool...)
		for _, c := range complaints {
			t.Errorf("kafka-dump-log on %s: %s", part.what, c)
		}
		ours := walserDump(t, append(part.ourDump, part.files...)...)
		compareLines(t, part.what, ours, theirs)
		t.Logf("%s: %d files, %d records", part.what, len(part.files), strings.Count(theirs, "\n| offset: "))
		_, complaints = kafkaDumpLog(t, part.files, "--index-sanity-check")
		for _, c := range complaints {
			t.Errorf("kafka-dump-log --index-sanity-check on %s: %s", part.what, c)
		}
	}
	var logs []string
	for _, name := range partitionFiles(t, data, "dump-*", "odd-*", "segments-*") {
		if filepath.Ext(name) == ".log" {
			logs = append(logs, name)
		}
	}
	compareRecords(t, walserDump(t, append([]string{"--records", "-o", "jsonl"}, logs...)...), want)
}

// TestKafkaDumpLog_Kafka shows that the one line of kafka-dump-log which TestKafkaDumpLog takes for none of
// a complaint is said of Apache Kafka's own segments, too.
func TestKafkaDumpLog_Kafka(t *testing.T) {
	if os.Getenv("E2E_PEER") == "" {
		t.Skip("set E2E_PEER=1 to let kafka-dump-log read what Apache Kafka wrote")
	}
	addr := rig.StartKafka(t)
	produceSegments(t, addr, 2)
	dirs, err := kadm.NewClient(newClient(t, addr)).DescribeAllLogDirs(deadline(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	dirs.Each(func(dir kadm.DescribedLogDir) {
		for _, name := range partitionFiles(t, dir.Dir, "segments-*") {
			if filepath.Ext(name) == ".log" {
				files = append(files, name)
			}
		}
	})
	if len(files) < 2 {
		t.Fatalf("Apache Kafka has the segments %v, want several", files)
	}
	_, stderr := runDumpLog(t, files, "--deep-iteration")
	if !strings.Contains(stderr, "-1 is followed by") {
		t.Errorf("kafka-dump-log no longer takes the first record of a segment for a gap; drop the exemption:\n%s", stderr)
	}
	if _, complaints := kafkaDumpLog(t, files, "--deep-iteration"); len(complaints) > 0 {
		t.Errorf("kafka-dump-log on Apache Kafka's segments: %q", complaints)
	}
}

// produceOddRecords writes keys, values and headers of every kind, in both timestamp types.
func produceOddRecords(t *testing.T, addr string) {
	t.Helper()
	client := newClient(t, addr)
	admin := kadm.NewClient(client)
	logAppendTime := "LogAppendTime"
	if _, err := admin.CreateTopic(deadline(t), 1, 1, nil, "odd-create"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateTopic(deadline(t), 1, 1, map[string]*string{"message.timestamp.type": &logAppendTime}, "odd-append"); err != nil {
		t.Fatal(err)
	}
	texts := [][]byte{
		nil,
		{},
		[]byte("plain"),
		[]byte("zwölf Boxkämpfer, 日本語, 🎼"),
		[]byte("two\nlines payload: key: x"),
		[]byte("no UTF-8: \xff\xfe\x00 a\xe6\x97 b\xed\xa0\x80 c\xc0\x80 d\xe0\x80\x80 e\xf0\x80\x80\x80 f\xf4\x90\x80\x80 g\xf0\x9f\x8e h\xed\xa0 \xf0\x9f"),
	}
	now := time.Now()
	for _, topic := range []string{"odd-create", "odd-append"} {
		for i, key := range texts {
			var records []*kgo.Record // one batch
			for j, value := range texts {
				r := &kgo.Record{Topic: topic, Key: key, Value: value, Timestamp: now.Add(time.Duration(i-3*j) * time.Second)}
				for _, h := range texts[1:][:j%len(texts)] {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: fmt.Sprintf("h%d", len(r.Headers)), Value: h})
				}
				if j > 0 {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: "null"})
				}
				records = append(records, r)
			}
			if err := client.ProduceSync(deadline(t), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// produceSegments fills some more segments of 1 MiB, uncompressed.
func produceSegments(t *testing.T, addr string, segments int) {
	t.Helper()
	client := newClient(t, addr, kgo.ProducerBatchMaxBytes(16<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
	size := "1048576"
	const topic = "segments-topic"
	configs := map[string]*string{"segment.bytes": &size}
	if _, err := kadm.NewClient(client).CreateTopic(deadline(t), 1, 1, configs, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}
	records := make([]*kgo.Record, segments<<20/1000)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, "%01000d", i)}
	}
	if err := client.ProduceSync(deadline(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// position is a place in a log.
type position struct {
	partition string // topic-partition
	offset    int64
}

// readAll consumes every topic that this test wrote, from the start to the end.
func readAll(t *testing.T, addr string) map[position]*kgo.Record {
	t.Helper()
	client := newClient(t, addr, kgo.ConsumeRegex(), kgo.ConsumeTopics("^(dump|odd|segments)-.*"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(client).ListEndOffsets(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	ends.Each(func(o kadm.ListedOffset) {
		if regexp.MustCompile("^(dump|odd|segments)-").MatchString(o.Topic) {
			total += o.Offset
		}
	})
	records := map[position]*kgo.Record{}
	for int64(len(records)) < total {
		fetches := client.PollFetches(deadline(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %d of %d records: %v", len(records), total, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records[position{fmt.Sprintf("%s-%d", r.Topic, r.Partition), r.Offset}] = r
		})
	}
	return records
}

// partitionFiles returns the files that kafka-dump-log reads, of the partitions that the patterns match. All
// kinds are there.
func partitionFiles(t *testing.T, data string, partitions ...string) []string {
	t.Helper()
	var files []string
	for _, partition := range partitions {
		names, err := filepath.Glob(filepath.Join(data, partition, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			switch filepath.Ext(name) {
			case ".log", ".index", ".timeindex", ".txnindex", ".snapshot":
				files = append(files, name)
			}
		}
	}
	for _, suffix := range []string{".log", ".index", ".timeindex", ".snapshot"} {
		if !slices.ContainsFunc(files, func(name string) bool { return filepath.Ext(name) == suffix }) {
			t.Fatalf("there is no %s in %s of %v", suffix, data, partitions)
		}
	}
	return files
}

func runDumpLog(t *testing.T, files []string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := rig.Java(t, "org.apache.kafka.tools.DumpLogSegments", append(args, "--files", strings.Join(files, ","))...)
	cmd.Args = slices.Insert(cmd.Args, 1, "-Dstdout.encoding=UTF-8")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("kafka-dump-log %v: %v\n%s", args, err, &errs)
	}
	return out.String(), errs.String()
}

// kafkaDumpLog runs Kafka's tool and returns what it printed, and what it complains of: all that it says on
// standard error, stack traces included, a batch whose checksum is wrong, and bytes that are no batch.
func kafkaDumpLog(t *testing.T, files []string, args ...string) (dump string, complaints []string) {
	t.Helper()
	dump, stderr := runDumpLog(t, files, args...)
	file := ""
	var gaps []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSuffix(line, "\n")
		// Since it was rewritten in Java the tool compares the first record of a file with -1, too, and so
		// takes the start of every segment but the one at offset 0 for a gap.
		if name, ok := strings.CutPrefix(line, "Non-consecutive offsets in "); ok {
			file = name
			gaps = append(gaps, line)
			continue
		}
		base, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".log"), 10, 64)
		if base > 0 && line == fmt.Sprintf("  -1 is followed by %d", base) {
			gaps = gaps[:max(len(gaps)-1, 0)]
			continue
		}
		complaints = append(append(complaints, gaps...), line)
		gaps = nil
	}
	complaints = append(complaints, gaps...)
	for line := range strings.Lines(dump) {
		if strings.HasSuffix(line, "isvalid: false\n") || strings.HasPrefix(line, "Found ") && strings.Contains(line, " invalid bytes at the end of ") {
			complaints = append(complaints, strings.TrimSpace(line))
		}
	}
	return dump, complaints
}

// walserDump runs `walser log dump`, which fails when it finds anything wrong.
func walserDump(t *testing.T, args ...string) string {
	t.Helper()
	path := rig.Walser(t)
	cmd := exec.Command(path, append([]string{"log", "dump"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("walser log dump: %v\n%s", err, &errs)
	}
	return out.String()
}

// compareLines says where two dumps begin to differ.
func compareLines(t *testing.T, what, ours, theirs string) {
	t.Helper()
	a, b := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
	differ := 0
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			if differ++; differ <= 5 {
				t.Errorf("%s, line %d:\nwalser log dump:  %s\nkafka-dump-log:   %s", what, i+1, x, y)
			}
		}
	}
	if differ > 0 {
		t.Errorf("%s: the dumps differ in %d lines", what, differ)
	}
}

// dumpedText is a key or value in JSON: a string, null, or an object that holds Base64.
type dumpedText []byte

func (d *dumpedText) UnmarshalJSON(b []byte) error {
	var text *string
	if json.Unmarshal(b, &text) == nil {
		if *d = nil; text != nil {
			*d = dumpedText(*text)
		}
		return nil
	}
	var encoded struct{ Base64 []byte }
	err := json.Unmarshal(b, &encoded)
	*d = encoded.Base64
	return err
}

// compareRecords compares the records of a dump in JSON with those that a consumer read.
func compareRecords(t *testing.T, dump string, want map[position]*kgo.Record) {
	t.Helper()
	found, differ := 0, 0
	lines := bufio.NewScanner(strings.NewReader(dump))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var batch struct {
			File    string
			Records []struct {
				Offset, Timestamp  int64
				KeySize, ValueSize int
				Key, Value         dumpedText
				Headers            []struct {
					Key   string
					Value dumpedText
				}
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &batch); err != nil {
			t.Fatalf("%v in: %.200s", err, lines.Text())
		}
		for _, got := range batch.Records {
			at := position{filepath.Base(filepath.Dir(batch.File)), got.Offset}
			r := want[at]
			if r == nil {
				t.Fatalf("%v is dumped, and was not read by the consumer", at)
			}
			found++
			same := got.Timestamp == r.Timestamp.UnixMilli() && len(got.Headers) == len(r.Headers) &&
				sameText(got.Key, got.KeySize, r.Key) && sameText(got.Value, got.ValueSize, r.Value)
			for i := 0; same && i < len(r.Headers); i++ {
				h := got.Headers[i]
				same = h.Key == r.Headers[i].Key && bytes.Equal(h.Value, r.Headers[i].Value) && (h.Value == nil) == (r.Headers[i].Value == nil)
			}
			if !same {
				if differ++; differ <= 5 {
					t.Errorf("%v is dumped as %+v, the consumer read %+v", at, got, *r)
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if differ > 0 {
		t.Errorf("%d records differ", differ)
	}
	if found != len(want) {
		t.Errorf("%d records are dumped, the consumer read %d", found, len(want))
	}
	t.Logf("%d records dumped as JSON are those that a consumer read", found)
}

// sameText compares a dumped text with a nullable field; size is -1 for null.
func sameText(dumped dumpedText, size int, field []byte) bool {
	if field == nil {
		return dumped == nil && size == -1
	}
	return bytes.Equal(dumped, field) && size == len(field)
}
