package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
)

// seeds are batches of every kind and codec.
func seeds(t testing.TB) []record.Batch {
	var out []record.Batch
	headers := three()
	headers[2].Headers = []record.Header{{Key: []byte("h"), Value: nil}, {Key: []byte{}, Value: []byte("v")}}
	headers[1].Key, headers[0].Value = nil, nil
	long := []rec{{TS: now, Value: bytes.Repeat([]byte("Seeland "), 20_000)}, {Delta: 1, TS: now}}
	for _, codec := range codecs {
		out = append(out,
			build(t, record.BuilderOptions{Codec: codec}, three()...),
			build(t, record.BuilderOptions{Codec: codec, ProducerID: 9, Transactional: true, TimestampType: record.LogAppendTime, LogAppendMs: now}, headers...))
		if codec != record.None { // the fuzzer minimises, and large inputs stall it
			out = append(out, build(t, record.BuilderOptions{Codec: codec}, long...))
		}
	}
	marker, err := record.AppendEndTxn(nil, record.EndTxnMarker{Type: record.ControlCommit}, 1, 0, now)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, marker)
}

// fuzzLimits are small, so that the fuzzer meets them.
var fuzzLimits = record.Limits{MaxRecordBytes: 1 << 20, MaxBlockBytes: 1 << 20, MaxWindowBytes: 1 << 20}

// FuzzBatch: no bytes make the parser, the view or the iterator panic; what parses covers the input; and what the iterator reads,
// a builder can write and the iterator reads again.
//
//fuzz:decoder record/(batch|iterator|varint)[.]go
func FuzzBatch(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add([]byte(b))
		f.Add(append(bytes.Clone(b), b...))
		f.Add([]byte(b[:len(b)-1]))
	}
	s := record.NewScratch(fuzzLimits)
	f.Fuzz(func(t *testing.T, in []byte) {
		for rest := in; ; {
			b, next, err := record.ParseBatch(rest)
			if err != nil {
				if !errors.Is(err, record.ErrShort) && !errors.Is(err, record.ErrBadMagic) && !errors.Is(err, record.ErrCorrupt) {
					t.Fatalf("unexpected error %v", err)
				}
				return
			}
			if len(b)+len(next) != len(rest) || b.Size() != len(b) {
				t.Fatalf("cut %d + %d out of %d, size %d", len(b), len(next), len(rest), b.Size())
			}
			b = bytes.Clone(b)
			_, _, _ = b.LastOffset(), b.LastSequence(), b.CheckCRC()
			recs, err := tryCollect(b, s)
			if err == nil {
				if len(recs) != int(b.Count()) {
					t.Fatalf("%d records of %d", len(recs), b.Count())
				}
				rebuildAndCompare(t, b, recs, s)
			}
			rest = next
		}
	})
}

func rebuildAndCompare(t *testing.T, b record.Batch, recs []rec, s *record.Scratch) {
	t.Helper()
	bl := record.NewBuilder(record.BuilderOptions{Scratch: s})
	last := int32(-1)
	for _, r := range recs {
		if r.Delta <= last {
			return // no log has such offsets; a Builder refuses them
		}
		last = r.Delta
		bl.AppendAt(r.Delta, r.TS, r.Key, r.Value, r.Headers)
	}
	if len(recs) == 0 {
		return
	}
	again, err := bl.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(recs, collect(t, again, s)); d != "" {
		t.Fatalf("after a rebuild (-want +got):\n%s", d)
	}
}

// FuzzDecompress: bytes that pass for the records of a compressed batch take bounded memory, and the walk of Validate and the
// iterator agree on them. The first argument picks the codec.
//
//fuzz:decoder record/(lz4|snappy)[.]go:.*Reader|record/(stream|xxh32)[.]go
func FuzzDecompress(f *testing.F) {
	for _, b := range seeds(f) {
		if b.Codec() != record.None {
			f.Add(uint8(b.Codec()), b.Count(), b.RecordBytes())
		}
	}
	for _, codec := range codecs[1:] {
		_, plain := plainRecords(f, 3, 300)
		packed, err := kgoCompress(codec, plain)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(codec), int32(3), packed)
	}
	both := newReaders()
	warm := 0
	f.Fuzz(func(t *testing.T, codec uint8, count int32, packed []byte) {
		c := record.Codec(1 + codec%4)
		if count < 0 {
			return
		}
		b := rawBatch(t, c, count, packed)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		both.agree(t, b)
		runtime.ReadMemStats(&after)
		// The limits are 1 MiB each; a cold Scratch takes its decoders once, a record window grows by doubling.
		bound := uint64(16 << 20)
		if warm++; warm <= 16 {
			bound *= 4
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > bound {
			t.Fatalf("%v: %d bytes took %d bytes of memory", c, len(packed), took)
		}
	})
}

// FuzzLargeRecord: of compressed records that do not fit the window through which they are inflated, and which Validate so walks
// field by field, Validate and the iterator say the same. The records are head, a number of zeros, and tail.
//
//fuzz:decoder record/(walk[.]go:.*(walk|large|fault|ahead|varint|varlong|number|skip)[(]|stream[.]go)
func FuzzLargeRecord(f *testing.F) {
	zeros := make([]byte, 200_000)
	for _, large := range []rec{
		{Key: zeros, Value: []byte("v")},
		{Key: []byte("k"), Value: zeros},
		{Value: []byte("v"), Headers: []record.Header{{Key: zeros}, {Key: []byte("h"), Value: []byte("v")}}},
		{Headers: []record.Header{{Key: []byte("h"), Value: zeros}, {Key: []byte("i")}}},
	} {
		large.TS = now
		plain := build(f, record.BuilderOptions{}, large, rec{Delta: 1, TS: now, Value: []byte("next")}).RecordBytes()
		at := bytes.Index(plain, zeros)
		f.Add(int32(2), plain[:at], uint(len(zeros)), plain[at+len(zeros):])
		f.Add(int32(1), plain[:at], uint(len(zeros)), plain[at+len(zeros):])
		f.Add(int32(2), plain[:at], uint(len(zeros)-1), plain[at+len(zeros):])
		f.Add(int32(2), plain[:at], uint(len(zeros)), plain[at+len(zeros):len(plain)-1])
		size, n := binary.Varint(plain)
		for _, wrong := range []int64{size - 2, size + 2} {
			f.Add(int32(2), append(binary.AppendVarint(nil, wrong), plain[n:at]...), uint(len(zeros)), plain[at+len(zeros):])
		}
	}
	pack, err := kgo.DefaultCompressor(kgo.Lz4Compression())
	if err != nil {
		f.Fatal(err)
	}
	both := newReaders()
	var plain []byte
	var packed bytes.Buffer
	f.Fuzz(func(t *testing.T, count int32, head []byte, n uint, tail []byte) {
		if count < 0 {
			return
		}
		plain = append(append(append(plain[:0], head...), zeros[:n%uint(len(zeros)+1)]...), tail...)
		packed.Reset()
		records, _ := pack.Compress(&packed, plain)
		both.agree(t, rawBatch(t, record.LZ4, count, records))
	})
}

// readers are the two that read the records of a batch. Each has a Scratch of its own: an iterator's window grows.
type readers struct{ iterate, validate *record.Scratch }

func newReaders() readers {
	return readers{record.NewScratch(fuzzLimits), record.NewScratch(fuzzLimits)}
}

// agree fails the test unless the iterator and Validate both take the records of b, or neither does.
func (r readers) agree(t *testing.T, b record.Batch) {
	t.Helper()
	recs := 0
	it := b.Records(r.iterate)
	for _, ok := it.Next(); ok; _, ok = it.Next() {
		recs++
	}
	_, err := record.Validate(b, record.Rules{TimestampType: record.LogAppendTime}, r.validate)
	switch code := kafkaerr.CodeOf(err); {
	case b.Count() == 0:
	case it.Err() == nil && code == kafkaerr.None:
	case errors.Is(it.Err(), record.ErrTooLarge): // a limit on whole records, which Validate does not have
	case it.Err() == nil:
		t.Fatalf("the iterator read %d records, Validate says %v", recs, err)
	case code == kafkaerr.None:
		t.Fatalf("Validate takes what the iterator refuses: %v", it.Err())
	}
}

// FuzzValidate: an accepted batch has a valid checksum, offset deltas from 0 on, the max timestamp of the verdict, and can be read; a
// rejected one is unchanged; uncompressed or not, Validate and iterator agree. bits choose the rules.
//
//fuzz:decoder record/(validate|walk)[.]go
func FuzzValidate(f *testing.F) {
	for i, b := range seeds(f) {
		f.Add([]byte(b), uint16(i))
		f.Add([]byte(b), uint16(i)<<4|3)
	}
	for _, codec := range []record.Codec{record.None, record.LZ4} {
		recs := three()
		recs[2].Delta = 7
		f.Add([]byte(patch32(build(f, record.BuilderOptions{Codec: codec}, recs...), 23, 2)), uint16(0))
	}
	read, check := record.NewScratch(fuzzLimits), record.NewScratch(fuzzLimits) // an iterator's window grows
	f.Fuzz(func(t *testing.T, in []byte, bits uint16) {
		if len(in) < record.HeaderSize {
			return
		}
		b := record.Batch(bytes.Clone(in))
		seal(b) // else the checksum rejects all that the fuzzer makes
		r := rules(func(r *record.Rules) {
			r.KeyRequired = bits&1 != 0
			r.TimestampType = record.TimestampType(bits >> 1 & 1)
			r.AllowControl = bits&4 != 0
			r.TargetCodec = record.TargetCodec((bits >> 4) % 6)
			r.MaxMessageBytes = 4 << 20
		})
		before := bytes.Clone(b)
		readable, readErr := tryCollect(b, read)
		v, err := record.Validate(b, r, check)
		if err != nil {
			if !bytes.Equal(before, b) {
				t.Fatal("a rejected batch was changed")
			}
			if kafkaerr.CodeOf(err) == kafkaerr.UnknownServerError {
				t.Fatalf("no code for %v", err)
			}
			return
		}
		if readErr != nil && !errors.Is(readErr, record.ErrTooLarge) {
			t.Fatalf("accepted, but %v", readErr)
		}
		n := v.Batch
		if !n.CheckCRC() || n.MaxTimestamp() != v.MaxTimestamp || n.TimestampType() != r.TimestampType || n.Count() != n.LastOffsetDelta()+1 {
			t.Fatalf("verdict %+v", v)
		}
		want := r.TargetCodec.Resolve(record.Batch(before).Codec())
		if n.IsControl() && record.Batch(before).Codec() == record.None {
			want = record.None
		}
		if n.Codec() != want {
			t.Fatalf("codec %v, want %v", n.Codec(), want)
		}
		recs, err := tryCollect(n, read)
		if err != nil {
			if errors.Is(err, record.ErrTooLarge) {
				return
			}
			t.Fatal(err)
		}
		if len(recs) != len(readable) {
			t.Fatalf("%d records of %d", len(recs), len(readable))
		}
		for i := range recs {
			if recs[i].Delta != int32(i) {
				t.Fatalf("record %d has offset delta %d", i, recs[i].Delta)
			}
			if !bytes.Equal(recs[i].Key, readable[i].Key) || !bytes.Equal(recs[i].Value, readable[i].Value) {
				t.Fatalf("record %d changed", i)
			}
		}
	})
}
