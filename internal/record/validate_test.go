package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
)

const now = int64(1_700_000_000_000)

// rules are those of a topic with Kafka's defaults.
func rules(change ...func(*record.Rules)) record.Rules {
	r := record.Rules{
		MaxMessageBytes: 1 << 20, NowMs: now, AllowTransactional: true,
		TimestampBeforeMaxMs: math.MaxInt64, TimestampAfterMaxMs: 3_600_000,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func three() []rec {
	return []rec{
		{Delta: 0, TS: now - 20, Key: []byte("a"), Value: []byte("1")},
		{Delta: 1, TS: now - 10, Key: []byte("b"), Value: []byte("2")},
		{Delta: 2, TS: now - 30, Key: []byte("c"), Value: []byte("3")},
	}
}

func patch16(b record.Batch, pos int, v uint16) record.Batch {
	binary.BigEndian.PutUint16(b[pos:], v)
	return seal(b)
}

func patch32(b record.Batch, pos int, v uint32) record.Batch {
	binary.BigEndian.PutUint32(b[pos:], v)
	return seal(b)
}

func TestValidate_Rejects(t *testing.T) {
	idempotent := record.BuilderOptions{ProducerID: 7, BaseSequence: 0}
	for _, c := range []struct {
		name   string
		opts   record.BuilderOptions
		recs   []rec
		change func(b record.Batch) record.Batch
		rules  record.Rules
		code   kafkaerr.Code
		failed []int32 // indexes in RecordErrors
	}{
		{name: "good", code: kafkaerr.None},
		{name: "base offset", opts: record.BuilderOptions{BaseOffset: 3}, code: kafkaerr.InvalidRecord},
		{name: "magic", change: func(b record.Batch) record.Batch { b[16] = 1; return b }, code: kafkaerr.InvalidRecord},
		{name: "two batches", change: func(b record.Batch) record.Batch { return append(b, b...) }, code: kafkaerr.InvalidRecord},
		{name: "one byte too large", rules: rules(func(r *record.Rules) { r.MaxMessageBytes = 61 + 3*9 - 1 }), code: kafkaerr.MessageTooLarge},
		{name: "just small enough", rules: rules(func(r *record.Rules) { r.MaxMessageBytes = 61 + 3*9 }), code: kafkaerr.None},
		{
			name: "too large comes before checksum", rules: rules(func(r *record.Rules) { r.MaxMessageBytes = 61 + 3*9 - 1 }),
			change: func(b record.Batch) record.Batch { b[70]++; return b }, code: kafkaerr.MessageTooLarge,
		},
		{name: "base offset comes before size", opts: record.BuilderOptions{BaseOffset: 3}, rules: rules(func(r *record.Rules) { r.MaxMessageBytes = 61 + 3*9 - 1 }), code: kafkaerr.InvalidRecord},
		{name: "checksum of records", change: func(b record.Batch) record.Batch { b[70]++; return b }, code: kafkaerr.CorruptMessage},
		{name: "checksum of header", change: func(b record.Batch) record.Batch { b[50]++; return b }, code: kafkaerr.CorruptMessage},
		{name: "codec 5", change: func(b record.Batch) record.Batch { return patch16(b, 21, 5) }, code: kafkaerr.UnsupportedCompressionType},
		{name: "count zero", change: func(b record.Batch) record.Batch { return patch32(b, 57, 0) }, code: kafkaerr.InvalidRecord},
		{name: "count negative", change: func(b record.Batch) record.Batch { return patch32(b, 57, math.MaxUint32) }, code: kafkaerr.InvalidRecord},
		{name: "count below delta", change: func(b record.Batch) record.Batch { return patch32(b, 57, 2) }, code: kafkaerr.InvalidRecord},
		{name: "count and delta above records", change: func(b record.Batch) record.Batch { return patch32(patch32(b, 57, 4), 23, 3) }, code: kafkaerr.InvalidRecord},
		{name: "count and delta below records", change: func(b record.Batch) record.Batch { return patch32(patch32(b, 57, 2), 23, 1) }, code: kafkaerr.InvalidRecord},
		{name: "delta negative", change: func(b record.Batch) record.Batch { return patch32(b, 23, math.MaxUint32) }, code: kafkaerr.InvalidRecord},
		{name: "delta and count wrap", change: func(b record.Batch) record.Batch { return patch32(patch32(b, 57, 1<<31), 23, math.MaxInt32) }, code: kafkaerr.InvalidRecord},
		{name: "control", opts: record.BuilderOptions{Control: true, BaseSequence: -1}, code: kafkaerr.InvalidRecord},
		{
			name: "control of a coordinator", opts: record.BuilderOptions{Control: true, Transactional: true, BaseSequence: -1},
			rules: rules(func(r *record.Rules) { r.AllowControl = true }), code: kafkaerr.None,
		},
		{name: "transactional", opts: record.BuilderOptions{Transactional: true}, code: kafkaerr.None},
		{
			name: "transactional, not taken", opts: record.BuilderOptions{Transactional: true},
			rules: rules(func(r *record.Rules) { r.AllowTransactional = false }), code: kafkaerr.InvalidRecord,
		},
		{name: "producer", opts: idempotent, code: kafkaerr.None},
		{name: "producer without sequence", opts: record.BuilderOptions{ProducerID: 7, BaseSequence: -1}, code: kafkaerr.InvalidRecord},
		{name: "record ends early", change: func(b record.Batch) record.Batch { b[61] -= 2; return seal(b) }, code: kafkaerr.InvalidRecord},
		{name: "record ends late", change: func(b record.Batch) record.Batch { b[61] += 2; return seal(b) }, code: kafkaerr.InvalidRecord},

		{
			name: "key missing", recs: []rec{{TS: now, Key: []byte{}}, {Delta: 1, TS: now}, {Delta: 2, TS: now, Key: []byte("k")}, {Delta: 3, TS: now}},
			rules: rules(func(r *record.Rules) { r.KeyRequired = true }), code: kafkaerr.InvalidRecord, failed: []int32{1, 3},
		},
		{name: "timestamp at the upper bound", recs: []rec{{TS: now + 3_600_000}}, code: kafkaerr.None},
		{name: "timestamp above", recs: []rec{{TS: now}, {Delta: 1, TS: now + 3_600_001}}, code: kafkaerr.InvalidTimestamp, failed: []int32{1}},
		{name: "timestamp at the lower bound", recs: []rec{{TS: now - 500}}, rules: rules(func(r *record.Rules) { r.TimestampBeforeMaxMs = 500 }), code: kafkaerr.None},
		{name: "timestamp below", recs: []rec{{TS: now - 501}}, rules: rules(func(r *record.Rules) { r.TimestampBeforeMaxMs = 500 }), code: kafkaerr.InvalidTimestamp, failed: []int32{0}},
		{name: "no timestamp", recs: []rec{{TS: -1}}, rules: rules(func(r *record.Rules) { r.TimestampBeforeMaxMs = 500 }), code: kafkaerr.None},
		{
			name: "any timestamp under LogAppendTime", recs: []rec{{TS: now + 1<<50}},
			rules: rules(func(r *record.Rules) { r.TimestampType = record.LogAppendTime }), code: kafkaerr.None,
		},
		{
			name: "key and timestamp: key wins in a record, timestamp in the batch", recs: []rec{{TS: now + 1<<50}, {Delta: 1, TS: now + 1<<50, Key: []byte("k")}},
			rules: rules(func(r *record.Rules) { r.KeyRequired = true }), code: kafkaerr.InvalidTimestamp, failed: []int32{0, 1},
		},
		{
			name: "structure wins over record errors", recs: []rec{{TS: now + 1<<50}, {Delta: 1, TS: now}},
			change: func(b record.Batch) record.Batch { b[len(b)-1] = 1; return seal(b) }, code: kafkaerr.InvalidRecord,
		},

		// The client set the LogAppendTime bit: its records all have the batch's max timestamp.
		{name: "LogAppendTime bit, in range", opts: record.BuilderOptions{TimestampType: record.LogAppendTime, LogAppendMs: now}, code: kafkaerr.None},
		{name: "LogAppendTime bit, out of range", opts: record.BuilderOptions{TimestampType: record.LogAppendTime, LogAppendMs: now + 1<<40}, code: kafkaerr.InvalidTimestamp, failed: []int32{0, 1, 2}},
		{name: "LogAppendTime bit, no timestamp", opts: record.BuilderOptions{TimestampType: record.LogAppendTime, LogAppendMs: -1}, code: kafkaerr.InvalidTimestamp, failed: []int32{0, 1, 2}},
		{
			name: "LogAppendTime bit on such a topic", opts: record.BuilderOptions{TimestampType: record.LogAppendTime, LogAppendMs: now},
			rules: rules(func(r *record.Rules) { r.TimestampType = record.LogAppendTime }), code: kafkaerr.InvalidTimestamp, failed: []int32{0, 1, 2},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.recs == nil {
				c.recs = three()
			}
			if c.rules.NowMs == 0 {
				c.rules = rules()
			}
			b := build(t, c.opts, c.recs...)
			if c.change != nil {
				b = c.change(b)
			}
			before := bytes.Clone(b)
			v, err := record.Validate(b, c.rules, record.NewScratch(record.Limits{}))
			if got := kafkaerr.CodeOf(err); got != c.code {
				t.Fatalf("%v (%v), want %v", got, err, c.code)
			}
			var failed []int32
			for _, e := range v.RecordErrors {
				failed = append(failed, e.Index)
				if e.Message == "" {
					t.Error("record error without a message")
				}
			}
			if d := diff(c.failed, failed); d != "" {
				t.Fatalf("record errors (-want +got):\n%s", d)
			}
			if err != nil && !bytes.Equal(before, b) {
				t.Fatal("a rejected batch was changed")
			}
			if err == nil && !v.Batch.CheckCRC() {
				t.Fatal("accepted batch has no valid checksum")
			}
		})
	}
}

func TestValidate_RecordErrorsAreBounded(t *testing.T) {
	recs := make([]rec, 5000)
	for i := range recs {
		recs[i] = rec{Delta: int32(i), TS: now + 1<<50}
	}
	for _, codec := range codecs {
		b := build(t, record.BuilderOptions{Codec: codec}, recs...)
		v, err := record.Validate(b, rules(), record.NewScratch(record.Limits{}))
		if len(v.RecordErrors) != record.MaxRecordErrors || kafkaerr.CodeOf(err) != kafkaerr.InvalidTimestamp {
			t.Errorf("%v: %d record errors, %v", codec, len(v.RecordErrors), err)
		}
		if !strings.Contains(kafkaerr.MessageOf(err), "5000 of 5000") {
			t.Errorf("message %q", kafkaerr.MessageOf(err))
		}
	}
}

func TestValidate_SetsTimestamps(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			s := record.NewScratch(record.Limits{})
			b := build(t, record.BuilderOptions{Codec: codec, Scratch: s}, three()...)
			crc := b.CRC()
			v, err := record.Validate(b, rules(), s)
			if err != nil || v.Rebuilt || &v.Batch[0] != &b[0] || b.CRC() != crc {
				t.Fatalf("a right batch stays as it is: %v, rebuilt %v", err, v.Rebuilt)
			}
			if v.MaxTimestamp != now-10 || v.OffsetOfMaxTimestampDelta != 1 {
				t.Fatalf("max timestamp %d at %d", v.MaxTimestamp, v.OffsetOfMaxTimestampDelta)
			}

			b.SetMaxTimestamp(now+12345, record.CreateTime) // a client that is wrong about it
			v, err = record.Validate(b, rules(), s)
			if err != nil || v.MaxTimestamp != now-10 || b.MaxTimestamp() != now-10 || !b.CheckCRC() {
				t.Fatalf("wrong max timestamp: %v, %+v", err, v)
			}

			v, err = record.Validate(b, rules(func(r *record.Rules) { r.TimestampType = record.LogAppendTime }), s)
			if err != nil || v.Rebuilt || v.MaxTimestamp != now || v.OffsetOfMaxTimestampDelta != 2 {
				t.Fatalf("LogAppendTime: %v, %+v", err, v)
			}
			if b.TimestampType() != record.LogAppendTime || b.MaxTimestamp() != now || !b.CheckCRC() {
				t.Fatalf("LogAppendTime in the batch: %v %d", b.TimestampType(), b.MaxTimestamp())
			}
			for _, r := range collect(t, b, s) {
				if r.TS != now {
					t.Fatalf("record timestamp %d, want %d", r.TS, now)
				}
			}
			none := build(t, record.BuilderOptions{Codec: codec, Scratch: s}, rec{TS: -1})
			if v, err := record.Validate(none, rules(), s); err != nil || v.MaxTimestamp != -1 {
				t.Fatalf("no timestamps: %v, %+v", err, v)
			}
		})
	}
}

func TestValidate_ConvertsToTheTopicsCodec(t *testing.T) {
	s := record.NewScratch(record.Limits{})
	for _, from := range codecs {
		for _, to := range codecs {
			rapid.Check(t, func(rt *rapid.T) {
				recs := genRecs().Draw(rt, "recs")
				opts := record.BuilderOptions{Codec: from, LeaderEpoch: 4, Idempotent: true, ProducerID: rapid.Int64Range(0, 9).Draw(rt, "id"), ProducerEpoch: 2, BaseSequence: 100, Transactional: rapid.Bool().Draw(rt, "txn")}
				b := build(t, opts, recs...)
				typ := record.TimestampType(rapid.IntRange(0, 1).Draw(rt, "type"))
				r := rules(func(r *record.Rules) {
					r.MaxMessageBytes, r.TargetCodec, r.TimestampType = 0, record.TargetOf(to), typ
					r.TimestampBeforeMaxMs, r.TimestampAfterMaxMs = math.MaxInt64, math.MaxInt64
				})
				v, err := record.Validate(b, r, s)
				if err != nil || v.Rebuilt != (from != to) || v.Batch.Codec() != to || !v.Batch.CheckCRC() || v.Batch.TimestampType() != typ {
					rt.Fatalf("%v → %v: %v, rebuilt %v, %v, %v", from, to, err, v.Rebuilt, v.Batch.Codec(), v.Batch.TimestampType())
				}
				n := v.Batch
				if n.ProducerID() != opts.ProducerID || n.ProducerEpoch() != 2 || n.BaseSequence() != 100 || n.IsTransactional() != opts.Transactional ||
					n.PartitionLeaderEpoch() != 4 || n.Count() != int32(len(recs)) || n.LastOffsetDelta() != int32(len(recs)-1) || n.MaxTimestamp() != v.MaxTimestamp {
					rt.Fatalf("header changed: % x", []byte(n[:61]))
				}
				want := recs
				if typ == record.LogAppendTime {
					want = nil
					for _, x := range recs {
						x.TS = now
						want = append(want, x)
					}
				} else if v.MaxTimestamp != maxTS(recs) {
					rt.Fatalf("max timestamp %d, want %d", v.MaxTimestamp, maxTS(recs))
				}
				if d := diff(want, collect(t, n, s)); d != "" {
					rt.Fatalf("%v → %v (-want +got):\n%s", from, to, d)
				}
			})
		}
	}
}

func TestValidate_ConvertedSizeIsCheckedAgain(t *testing.T) {
	s := record.NewScratch(record.Limits{})
	b := build(t, record.BuilderOptions{Codec: record.Zstd}, rec{TS: now, Value: make([]byte, 100_000)})
	limited := func(n int, to record.Codec) record.Rules {
		return rules(func(r *record.Rules) { r.MaxMessageBytes, r.TargetCodec = n, record.TargetOf(to) })
	}
	if _, err := record.Validate(b, limited(100_000, record.None), s); kafkaerr.CodeOf(err) != kafkaerr.MessageTooLarge {
		t.Fatalf("100 kB in 100 000 bytes: %v", err)
	}
	if v, err := record.Validate(b, limited(100_100, record.None), s); err != nil || v.Batch.Codec() != record.None {
		t.Fatalf("100 kB in 100 100 bytes: %v", err)
	}
	rejected := rules(func(r *record.Rules) {
		r.MaxMessageBytes, r.TargetCodec, r.KeyRequired = 100_000, record.TargetOf(record.None), true
	})
	if v, err := record.Validate(b, rejected, s); kafkaerr.CodeOf(err) != kafkaerr.InvalidRecord || len(v.RecordErrors) != 1 {
		t.Fatalf("record errors come before the converted size: %v", err)
	}
}

// gapped is a batch whose header is right and whose offset deltas are 0, 2, 4 and so on.
func gapped(t *testing.T, codec record.Codec) record.Batch {
	recs := three()
	for i := range recs {
		recs[i].Delta = int32(2 * i)
	}
	b := build(t, record.BuilderOptions{Codec: codec, ProducerID: 5, BaseSequence: 9}, recs...)
	return patch32(b, 23, 2)
}

func TestValidate_RenumbersGaps(t *testing.T) {
	s := record.NewScratch(record.Limits{})
	for _, codec := range codecs {
		v, err := record.Validate(gapped(t, codec), rules(), s)
		if err != nil || !v.Rebuilt || v.Batch.Codec() != codec || v.Batch.ProducerID() != 5 || v.Batch.BaseSequence() != 9 {
			t.Fatalf("%v: %v, %+v", codec, err, v)
		}
		if d := diff(three(), collect(t, v.Batch, s)); d != "" {
			t.Errorf("%v (-want +got):\n%s", codec, d)
		}
	}
}

func TestValidate_ControlBatchesAreNotCompressed(t *testing.T) {
	b, err := record.AppendEndTxn(nil, record.EndTxnMarker{Type: record.ControlCommit}, 3, 1, now)
	if err != nil {
		t.Fatal(err)
	}
	r := rules(func(r *record.Rules) { r.AllowControl, r.TargetCodec = true, record.TargetOf(record.Zstd) })
	v, err := record.Validate(b, r, record.NewScratch(record.Limits{}))
	if err != nil || v.Rebuilt || v.Batch.Codec() != record.None {
		t.Fatalf("%v, %+v", err, v)
	}
}

func TestParseTargetCodec(t *testing.T) {
	for name, want := range map[string]record.TargetCodec{
		"producer": record.KeepCodec, "uncompressed": record.TargetOf(record.None), "gzip": record.TargetOf(record.Gzip),
		"snappy": record.TargetOf(record.Snappy), "lz4": record.TargetOf(record.LZ4), "zstd": record.TargetOf(record.Zstd),
	} {
		if got, err := record.ParseTargetCodec(name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"none", "", "ZSTD"} {
		if _, err := record.ParseTargetCodec(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if got := record.KeepCodec.Resolve(record.LZ4); got != record.LZ4 {
		t.Errorf("producer resolves to %v", got)
	}
}

// TestValidate_RecordsLargerThanTheWindow drives the walk of records that never lie whole in the window, over all field boundaries.
func TestValidate_RecordsLargerThanTheWindow(t *testing.T) {
	// An iterator would grow the window of a Scratch, so each walk has its own.
	fresh := func() *record.Scratch { return record.NewScratch(record.Limits{}) }
	big := func(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }
	for _, c := range []struct {
		name string
		rec  rec
	}{
		{"key", rec{Key: big(300_000), Value: []byte("v")}},
		{"value", rec{Value: big(1_000_003)}},
		{"just above", rec{Value: big(128<<10 - 5)}},
		{"header key", rec{Headers: []record.Header{{Key: big(200_000), Value: []byte("x")}, {Key: []byte{}, Value: nil}}}},
		{"header value", rec{Headers: []record.Header{{Key: []byte("h"), Value: big(500_000)}}}},
		{"all", rec{Key: big(150_000), Value: big(150_000), Headers: []record.Header{{Key: big(150_000), Value: big(150_000)}}}},
	} {
		for _, codec := range codecs {
			first, last := rec{TS: now, Value: []byte("before")}, rec{Delta: 2, TS: now + 1, Value: []byte("after")}
			c.rec.Delta, c.rec.TS = 1, now+7
			b := build(t, record.BuilderOptions{Codec: codec}, first, c.rec, last)
			v, err := record.Validate(b, rules(func(r *record.Rules) { r.MaxMessageBytes = 0 }), fresh())
			if err != nil || v.Rebuilt || v.MaxTimestamp != now+7 || v.OffsetOfMaxTimestampDelta != 1 {
				t.Errorf("%s, %v: %v, %+v", c.name, codec, err, v.MaxTimestamp)
			}
			if d := diff([]rec{first, c.rec, last}, collect(t, b, nil)); d != "" {
				t.Errorf("%s, %v: records differ", c.name, codec)
			}
		}
	}
	// The same records with lengths that lie. The key error shows that large records are seen as the others.
	plain := build(t, record.BuilderOptions{}, rec{TS: now, Value: big(300_000)})
	recs := bytes.Clone(plain.RecordBytes())
	pack := func(recs []byte, codec record.Codec) record.Batch {
		w, err := kgoCompress(codec, recs)
		if err != nil {
			t.Fatal(err)
		}
		return rawBatch(t, codec, 1, w)
	}
	for _, codec := range codecs[1:] {
		_, err := record.Validate(pack(recs, codec), rules(func(r *record.Rules) { r.KeyRequired = true }), fresh())
		if !errors.Is(err, kafkaerr.InvalidRecord) || !strings.Contains(err.Error(), "key") {
			t.Errorf("%v: key missing in a large record: %v", codec, err)
		}
		for name, damaged := range map[string][]byte{
			"length one less": append(append([]byte{}, recs[0]-2), recs[1:]...),
			"length one more": append(append(append([]byte{}, recs[0]+2), recs[1:]...), 0),
			"cut":             recs[:len(recs)-1],
			"trailing":        append(bytes.Clone(recs), 0),
			"headers claimed": append(bytes.Clone(recs[:len(recs)-1]), 2),
			"headers below 0": append(bytes.Clone(recs[:len(recs)-1]), 1),
			"two in one":      append(append([]byte{}, recs[0]+14), append(bytes.Clone(recs[1:]), 12, 0, 0, 2, 1, 1, 0)...),
		} {
			b := pack(damaged, codec)
			if name == "two in one" {
				b = patch32(patch32(b, 57, 2), 23, 1)
			}
			if _, err := record.Validate(b, rules(), fresh()); kafkaerr.CodeOf(err) != kafkaerr.InvalidRecord {
				t.Errorf("%v, %s: %v", codec, name, err)
			}
		}
	}
}
