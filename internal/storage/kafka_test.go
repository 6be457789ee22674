package storage_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// transactionalBatch builds a batch of one record inside a transaction.
func transactionalBatch(t testing.TB, p *client, value string) record.Batch {
	t.Helper()
	b := record.NewBuilder(record.BuilderOptions{
		ProducerID: p.id, ProducerEpoch: p.epoch, BaseSequence: p.seq, LeaderEpoch: -1, Transactional: true,
	})
	b.Append(2000, nil, []byte(value), nil)
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.seq++
	return batch
}

func appendMarker(t testing.TB, l *storage.Log, p *client, kind record.ControlType) storage.Appended {
	t.Helper()
	b, err := record.AppendEndTxn(nil, record.EndTxnMarker{Type: kind, CoordinatorEpoch: 1}, p.id, p.epoch, 2000)
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.AppendAsLeader([]record.Batch{b}, storage.LeaderAppend{LeaderEpoch: l.LatestEpoch(), NowMs: wallMs, Origin: storage.Coordinator})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Kafka's own reader must find nothing to complain of in any of our files. It needs Java and the jars of
// kafka_2.13 and kafka-tools in one directory, named by KAFKA_LIBS.
func TestKafkaDumpLog(t *testing.T) {
	libs := os.Getenv("KAFKA_LIBS")
	if libs == "" {
		t.Skip("KAFKA_LIBS is not set")
	}
	dir := t.TempDir()
	m := openManager(t, vfs.OS(), dir)
	cfg := smallConfig()
	cfg.SegmentBytes = 5000
	l := createLog(t, m, cfg)
	for i := range 200 {
		if i%40 == 0 {
			if err := l.Lead(int32(1 + i/40)); err != nil {
				t.Fatal(err)
			}
		}
		if i%30 == 7 {
			p := &client{id: 900, epoch: int16(i / 30)}
			appendOne(t, l, transactionalBatch(t, p, "aborted"))
			appendMarker(t, l, p, record.ControlAbort)
		}
		appendOne(t, l, batchOf(t, []*client{nil, {id: int64(100 + i)}}[i%2], int64(1000+i*3), "a value", fmt.Sprint(i)))
	}
	end := l.EndOffset()
	checkpointAll(t, m)
	if err := m.CleanShutdown(5); err != nil {
		t.Fatal(err)
	}
	var files []string
	kinds := map[string]int{}
	entries, err := os.ReadDir(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch ext := filepath.Ext(e.Name()); ext {
		case ".log", ".index", ".timeindex", ".txnindex", ".snapshot":
			files = append(files, filepath.Join(l.Path(), e.Name()))
			kinds[ext]++
		}
	}
	if kinds[".log"] < 3 || kinds[".txnindex"] == 0 || kinds[".snapshot"] < kinds[".log"] || kinds[".index"] != kinds[".log"] {
		t.Fatalf("the directory has %v", kinds)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "java", "-cp", filepath.Join(libs, "*"), "org.apache.kafka.tools.DumpLogSegments",
		"--files", strings.Join(files, ","), "--deep-iteration", "--verify-index-only")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("DumpLogSegments --verify-index-only: %v\n%s", err, out.String())
	}
	verified := out.String()
	out.Reset()
	cmd = exec.CommandContext(t.Context(), "java", "-cp", filepath.Join(libs, "*"), "org.apache.kafka.tools.DumpLogSegments",
		"--files", strings.Join(files, ","), "--deep-iteration", "--print-data-log")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("DumpLogSegments: %v\n%s", err, out.String())
	}
	for _, text := range []string{verified, out.String()} {
		for _, complaint := range []string{"Mismatch", "isvalid: false", "Found timestamp mismatch", "Found out of order", "corrupt", "Exception", "is followed by", "problem"} {
			// Of every segment but the first the tool says that -1 is followed by its first offset.
			if strings.Contains(strings.ReplaceAll(text, "  -1 is followed by", ""), complaint) {
				t.Errorf("DumpLogSegments says %q:\n%s", complaint, text)
			}
		}
	}
	if n := strings.Count(out.String(), "| offset:"); int64(n) != end {
		t.Errorf("DumpLogSegments read %d records, the log has %d", n, end)
	}
	if os.Getenv("KAFKA_DUMP") != "" {
		t.Log(out.String())
	}
}
