package record_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/record"
)

// docBatch is the batch that docs/formats/record-batch.md takes apart.
func docBatch(t testing.TB) record.Batch {
	return build(t, record.BuilderOptions{BaseOffset: 42, LeaderEpoch: 5, ProducerID: 4000, ProducerEpoch: 2, BaseSequence: 10},
		rec{TS: 1_700_000_000_000, Key: []byte("k"), Value: []byte("Walser")},
		rec{Delta: 1, TS: 1_700_000_000_100, Value: nil, Headers: []record.Header{{Key: []byte("h"), Value: []byte("x")}}})
}

// TestDoc_ExampleIsTrue decodes the example of the format's page: its bytes, where each line says they lie, and what it says of them.
func TestDoc_ExampleIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/record-batch.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(page), "```hex\n")
	if !ok {
		t.Fatal("no example")
	}
	example, _, _ = strings.Cut(example, "```")
	line := regexp.MustCompile(`^ *(\d+)  ((?:[0-9a-f]{2} ?)+?) {2,}(.*)$`)
	var dump []byte
	said := map[string]string{}
	for l := range strings.Lines(example) {
		m := line.FindStringSubmatch(strings.TrimRight(l, "\n"))
		if m == nil {
			t.Fatalf("line %q", l)
		}
		if at, _ := strconv.Atoi(m[1]); at != len(dump) {
			t.Fatalf("line says byte %s, it is byte %d: %q", m[1], len(dump), l)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		dump = append(dump, b...)
		if name, value, ok := strings.Cut(m[3], " = "); ok {
			value, _, _ = strings.Cut(value, ";")
			said[name] = value
		}
	}
	b, rest, err := record.ParseBatch(dump)
	if err != nil || len(rest) != 0 || !b.CheckCRC() {
		t.Fatalf("%v, rest %d", err, len(rest))
	}
	if want := docBatch(t); !bytes.Equal(dump, want) {
		t.Fatalf("the builder writes\n%s", hex.Dump(want))
	}
	for name, value := range map[string]int64{
		"base offset": b.BaseOffset(), "batch length": int64(b.Length()), "partition leader epoch": int64(b.PartitionLeaderEpoch()), "magic": int64(b.Magic()),
		"attributes": int64(b.Attributes()), "last offset delta": int64(b.LastOffsetDelta()), "base timestamp": b.BaseTimestamp(),
		"max timestamp": b.MaxTimestamp(), "producer id": b.ProducerID(), "producer epoch": int64(b.ProducerEpoch()),
		"base sequence": int64(b.BaseSequence()), "record count": int64(b.Count()),
	} {
		if said[name] != strconv.FormatInt(value, 10) {
			t.Errorf("%s: the page says %q, it is %d", name, said[name], value)
		}
	}
}
