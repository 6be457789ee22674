package record_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/walser-io/walser/internal/record"
)

// TestAllocs_SteadyState: a warm Scratch validates and iterates without allocating, whatever the codec.
func TestAllocs_SteadyState(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			recs := three()
			recs[1].Headers = []record.Header{{Key: []byte("h"), Value: []byte("v")}}
			s := record.NewScratch(record.Limits{})
			small := build(t, record.BuilderOptions{Codec: codec}, recs...)
			large := benchBatch(t, codec, 100)
			create := rules(func(r *record.Rules) { r.MaxMessageBytes, r.KeyRequired = 0, false })
			logAppend := create
			logAppend.TimestampType = record.LogAppendTime
			n := testing.AllocsPerRun(10, func() {
				for _, b := range []record.Batch{small, large} {
					b.SetMaxTimestamp(b.MaxTimestamp(), record.CreateTime)
					if _, err := record.Validate(b, create, s); err != nil {
						t.Error(err)
					}
					if _, err := record.Validate(b, logAppend, s); err != nil {
						t.Error(err)
					}
					b.SetMaxTimestamp(b.MaxTimestamp(), record.CreateTime)
					it := b.Records(s)
					for _, ok := it.Next(); ok; _, ok = it.Next() {
					}
					if it.Err() != nil {
						t.Error(it.Err())
					}
				}
			})
			if n != 0 {
				t.Errorf("%v allocations per run", n)
			}
		})
	}
}

// TestValidate_LargestWindow inflates 256 MiB through the largest zstd window that is taken.
func TestValidate_LargestWindow(t *testing.T) {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, zstd.WithWindowSize(32<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte("Der Gehülfe "), 300_000)
	n := int32((256 << 20) / len(value))
	for i := range n {
		_, _ = w.Write(build(t, record.BuilderOptions{}, rec{Delta: i, TS: now, Value: value}).RecordBytes())
	}
	_ = w.Close()
	b := rawBatch(t, record.Zstd, n, buf.Bytes())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v, err := record.Validate(b, rules(), record.NewScratch(record.Limits{}))
	runtime.ReadMemStats(&after)
	if err != nil || v.Rebuilt || v.InflatedBytes < 250<<20 {
		t.Fatalf("%v, inflated %d", err, v.InflatedBytes)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 128<<20 {
		t.Errorf("took %d bytes of memory", took)
	} else {
		t.Logf("memory %d", took)
	}
}
