package cli_test

import (
	"testing"
	"time"

	"github.com/walser-io/walser/internal/cli"
	"github.com/walser-io/walser/internal/record"
)

// TestRange places what people write in a partition of the offsets 100 to 200. Times are found at
// their seconds, so that @1700000000 is offset 1700000000.
func TestRange(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for text, want := range map[string]string{
		"start": "100:", "earliest": "100:", "beginning": "100:", "end": "200:", "latest": "200:",
		"150": "150:", "50": "100:", "250": "250:", "+10": "110:", "+500": "200:", "-10": "190:", "-500": "100:",
		"120:130": "120:130", "120:": "120:", ":130": "100:130", ":": "100:", ":end": "100:200", "start:end": "100:200",
		"+5:-5": "105:195", "-20:end": "180:200",
		"@1700000000000": "1700000000:", "@1700000000": "1700000000:", "s@1700000000000": "1700000000:",
		"@2023-11-14":                                "1699920000:",
		"@2023-11-14T22:13:20Z":                      "1700000000:",
		"@2023-11-14T22:13:20Z:1h":                   "1700000000:1700003600",
		"@2023-11-14:@2023-11-15":                    "1699920000:1700006400",
		"@2023-11-14T22:13:20Z:2023-11-14T23:00:00Z": "1700000000:1700002800",
		"@-1h":                         "1699996400:",
		"@-1h:end":                     "1699996400:200",
		"@-1h:30m":                     "1699996400:1699998200",
		"@1700000000000:1700000060000": "1700000000:1700000060",
		"@1h30m":                       "1700005400:",
		"100:@1700000000":              "100:1700000000",
		"e@1700000000":                 "1700000000:",
	} {
		if got, err := cli.PlaceRange(text, now, 100, 200); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "nonsense", "1x", "--1", "@", "@12345", "1:2:3", "@2023-99-99", "99999999999999999999", "end:nonsense", "@5"} {
		if got, err := cli.PlaceRange(text, now, 100, 200); err == nil {
			t.Errorf("%q: %s, want an error", text, got)
		}
	}
}

//fuzz:decoder cli/offsets[.]go
func FuzzRange(f *testing.F) {
	for _, s := range []string{"start", "@-1h:end", "1:2", "@2023-11-14T22:13:20Z:1h", "+9223372036854775807", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = cli.PlaceRange(text, time.UnixMilli(1_700_000_000_000), 100, 200) // must not panic
	})
}

// batch builds a batch that holds the given offsets.
func batch(t *testing.T, base int64, last int32, deltas ...int32) []byte {
	t.Helper()
	b := record.NewBuilder(record.BuilderOptions{BaseOffset: base, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1})
	for d := range last + 1 {
		b.AppendAt(d, 1000, nil, []byte("v"), nil)
	}
	full, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	keep := map[int64]bool{}
	for _, d := range deltas {
		keep[base+int64(d)] = true
	}
	out, _, err := full.FilterTo(nil, record.Filter{Keep: func(r record.Record) bool { return keep[r.Offset] }, KeepEmpty: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestLookFor: whether a bounded read is over is decided by what compaction left, not by offsets alone.
func TestLookFor(t *testing.T) {
	for _, tc := range []struct {
		name      string
		batches   []byte
		from, end int64
		hw        int64
		empty     bool
		done      bool
		next      int64
	}{
		{"record in the range", batch(t, 10, 9, 5), 10, 20, 20, false, true, 10},
		{"record before the range", batch(t, 10, 9, 2), 15, 18, 20, true, true, 20},
		{"record after the range", batch(t, 10, 9, 9), 10, 15, 20, true, true, 10},
		{"batch after the range", batch(t, 30, 1, 0, 1), 10, 20, 40, true, true, 10},
		{"all removed up to the end", batch(t, 10, 9), 10, 20, 20, true, true, 20},
		{"all removed, more to come", batch(t, 10, 4), 10, 20, 20, false, false, 15},
		{"removed, then one in the range", append(batch(t, 10, 4), batch(t, 15, 4, 2)...), 10, 20, 20, false, true, 15},
		{"nothing, and committed past the end", nil, 10, 20, 20, true, true, 10},
		{"nothing yet", nil, 10, 20, 10, false, true, 10},
		{"first batch cut off", batch(t, 10, 9, 5)[:70], 10, 20, 20, false, true, 10},
	} {
		next, empty, done, err := cli.LookFor(tc.batches, tc.from, tc.end, tc.hw)
		if next != tc.next || empty != tc.empty || done != tc.done || err != nil {
			t.Errorf("%s: next %d, empty %t, done %t, %v; want %d, %t, %t", tc.name, next, empty, done, err, tc.next, tc.empty, tc.done)
		}
	}
}
