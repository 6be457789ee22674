package record_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/record"
)

// rec is a record as the tests write and compare it.
type rec struct {
	Delta   int32
	TS      int64
	Key     []byte
	Value   []byte
	Headers []record.Header
}

func build(t testing.TB, opts record.BuilderOptions, recs ...rec) record.Batch {
	t.Helper()
	bl := record.NewBuilder(opts)
	for _, r := range recs {
		bl.AppendAt(r.Delta, r.TS, r.Key, r.Value, r.Headers)
	}
	b, err := bl.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func collect(t testing.TB, b record.Batch, s *record.Scratch) []rec {
	t.Helper()
	recs, err := tryCollect(b, s)
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func tryCollect(b record.Batch, s *record.Scratch) ([]rec, error) {
	var recs []rec
	it := b.Records(s)
	for r, ok := it.Next(); ok; r, ok = it.Next() {
		c := rec{Delta: r.OffsetDelta, TS: r.Timestamp, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
		for _, h := range r.Headers {
			c.Headers = append(c.Headers, record.Header{Key: bytes.Clone(h.Key), Value: bytes.Clone(h.Value)})
		}
		recs = append(recs, c)
	}
	return recs, it.Err()
}

// diff is cmp.Diff, which takes its time over long byte slices, for those that differ.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

func genBytes(nullable bool) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		if nullable && rapid.IntRange(0, 4).Draw(t, "null") == 0 {
			return nil
		}
		n := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 200), rapid.IntRange(0, 20_000)).Draw(t, "len")
		unit := rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "unit")
		return append([]byte{}, bytes.Repeat(unit, n/len(unit)+1)[:n]...)
	})
}

func genRecs() *rapid.Generator[[]rec] {
	return rapid.Custom(func(t *rapid.T) []rec {
		var recs []rec
		base := rapid.Int64Range(0, math.MaxInt64/4).Draw(t, "base")
		for i := range rapid.IntRange(1, 30).Draw(t, "n") {
			r := rec{
				Delta: int32(i), TS: base + rapid.Int64Range(-1<<40, 1<<40).Draw(t, "ts"),
				Key: genBytes(true).Draw(t, "key"), Value: genBytes(true).Draw(t, "value"),
			}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				r.Headers = append(r.Headers, record.Header{Key: genBytes(false).Draw(t, "hk"), Value: genBytes(true).Draw(t, "hv")})
			}
			recs = append(recs, r)
		}
		return recs
	})
}

func maxTS(recs []rec) int64 {
	m := record.NoTimestamp
	for _, r := range recs {
		m = max(m, r.TS)
	}
	return m
}

func TestBuilder_HeaderAgreesWithKmsg(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		recs := genRecs().Draw(rt, "recs")
		opts := record.BuilderOptions{
			BaseOffset: rapid.Int64Min(0).Draw(rt, "base"), LeaderEpoch: rapid.Int32().Draw(rt, "epoch"),
			ProducerID: rapid.Int64Min(0).Draw(rt, "pid"), ProducerEpoch: rapid.Int16Min(0).Draw(rt, "pepoch"),
			BaseSequence: rapid.Int32Min(0).Draw(rt, "seq"), Idempotent: true,
			Transactional: rapid.Bool().Draw(rt, "txn"), Control: rapid.Bool().Draw(rt, "ctl"),
		}
		b := build(t, opts, recs...)
		var k kmsg.RecordBatch
		if err := k.ReadFrom(b); err != nil {
			rt.Fatal(err)
		}
		want := kmsg.RecordBatch{
			FirstOffset: opts.BaseOffset, Length: int32(len(b) - 12), PartitionLeaderEpoch: opts.LeaderEpoch, Magic: 2, CRC: int32(b.CRC()),
			Attributes: b.Attributes(), LastOffsetDelta: int32(len(recs) - 1), FirstTimestamp: recs[0].TS, MaxTimestamp: maxTS(recs),
			ProducerID: opts.ProducerID, ProducerEpoch: opts.ProducerEpoch, FirstSequence: opts.BaseSequence,
			NumRecords: int32(len(recs)), Records: b.RecordBytes(),
		}
		if d := diff(want, k); d != "" {
			rt.Fatalf("header as kmsg reads it (-want +got):\n%s", d)
		}
		view := kmsg.RecordBatch{
			FirstOffset: b.BaseOffset(), Length: b.Length(), PartitionLeaderEpoch: b.PartitionLeaderEpoch(), Magic: b.Magic(), CRC: int32(b.CRC()),
			Attributes: b.Attributes(), LastOffsetDelta: b.LastOffsetDelta(), FirstTimestamp: b.BaseTimestamp(), MaxTimestamp: b.MaxTimestamp(),
			ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), FirstSequence: b.BaseSequence(),
			NumRecords: b.Count(), Records: b.RecordBytes(),
		}
		if d := diff(k, view); d != "" {
			rt.Fatalf("header as the view reads it (-kmsg +view):\n%s", d)
		}
		if !b.CheckCRC() || b.IsTransactional() != opts.Transactional || b.IsControl() != opts.Control {
			rt.Fatalf("crc %v, transactional %v, control %v", b.CheckCRC(), b.IsTransactional(), b.IsControl())
		}
		rest := b.RecordBytes()
		for _, r := range recs {
			var kr kmsg.Record
			length, n := readVarint(rest)
			if err := kr.ReadFrom(rest[:n+length]); err != nil {
				rt.Fatal(err)
			}
			rest = rest[n+length:]
			if kr.OffsetDelta != r.Delta || b.BaseTimestamp()+kr.TimestampDelta64 != r.TS || !bytes.Equal(kr.Key, r.Key) || !bytes.Equal(kr.Value, r.Value) || len(kr.Headers) != len(r.Headers) {
				rt.Fatalf("record %+v reads as %+v", r, kr)
			}
		}
		if d := diff(recs, collect(t, b, nil)); d != "" {
			rt.Fatalf("iterator (-want +got):\n%s", d)
		}
	})
}

func readVarint(b []byte) (v, n int) {
	var u uint32
	for shift := 0; ; shift += 7 {
		u |= uint32(b[n]&0x7f) << shift
		n++
		if b[n-1] < 0x80 {
			return int(int32(u>>1) ^ -int32(u&1)), n
		}
	}
}

func TestParseBatch(t *testing.T) {
	good := build(t, record.BuilderOptions{}, rec{TS: 1, Value: []byte("v")})
	with := func(change func(b []byte) []byte) []byte { return change(bytes.Clone(good)) }
	for _, c := range []struct {
		name string
		in   []byte
		err  error
		rest int
	}{
		{"whole", good, nil, 0},
		{"two", append(bytes.Clone(good), good...), nil, len(good)},
		{"nothing", nil, record.ErrShort, 0},
		{"before magic", good[:16], record.ErrShort, 16},
		{"header cut", good[:60], record.ErrShort, 60},
		{"one byte missing", good[:len(good)-1], record.ErrShort, len(good) - 1},
		{"magic 1", with(func(b []byte) []byte { b[16] = 1; return b }), record.ErrBadMagic, len(good)},
		{"magic 3", with(func(b []byte) []byte { b[16] = 3; return b }), record.ErrCorrupt, len(good)},
		{"magic -1", with(func(b []byte) []byte { b[16] = 0xff; return b }), record.ErrCorrupt, len(good)},
		{"length negative", with(func(b []byte) []byte { b[8] = 0xff; return b }), record.ErrCorrupt, len(good)},
		{"length below header", with(func(b []byte) []byte { b[8], b[9], b[10], b[11] = 0, 0, 0, 48; return b }), record.ErrCorrupt, len(good)},
		{"length 2^31-1", with(func(b []byte) []byte { b[8], b[9], b[10], b[11] = 0x7f, 0xff, 0xff, 0xff; return b }), record.ErrShort, len(good)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, rest, err := record.ParseBatch(c.in)
			if !errors.Is(err, c.err) || len(rest) != c.rest {
				t.Fatalf("rest %d, err %v; want %d, %v", len(rest), err, c.rest, c.err)
			}
			if err == nil && (len(b) != b.Size() || cap(b) != len(b)) {
				t.Fatalf("batch has len %d, cap %d, size %d", len(b), cap(b), b.Size())
			}
		})
	}
}

func TestBatch_PatchesInPlace(t *testing.T) {
	b := build(t, record.BuilderOptions{}, rec{TS: 100, Value: []byte("a")}, rec{Delta: 1, TS: 300, Value: []byte("b")})
	crc := b.CRC()
	b.SetBaseOffset(77)
	b.SetPartitionLeaderEpoch(5)
	b.SetMaxTimestamp(300, record.CreateTime)
	if b.CRC() != crc || !b.CheckCRC() {
		t.Fatal("offset, epoch and an unchanged timestamp must leave the checksum alone")
	}
	if b.BaseOffset() != 77 || b.LastOffset() != 78 || b.PartitionLeaderEpoch() != 5 {
		t.Fatalf("offsets %d..%d, epoch %d", b.BaseOffset(), b.LastOffset(), b.PartitionLeaderEpoch())
	}
	b.SetMaxTimestamp(900, record.LogAppendTime)
	if b.CRC() == crc || !b.CheckCRC() || b.TimestampType() != record.LogAppendTime {
		t.Fatalf("crc %x (before %x), type %v", b.CRC(), crc, b.TimestampType())
	}
	if got := collect(t, b, nil); got[0].TS != 900 || got[1].TS != 900 {
		t.Fatalf("records of a LogAppendTime batch have its max timestamp, got %v", got)
	}
	b.SetMaxTimestamp(300, record.CreateTime)
	if b.CRC() != crc || collect(t, b, nil)[0].TS != 100 {
		t.Fatal("back to CreateTime restores bytes and times")
	}
	b[len(b)-1] ^= 1
	if b.CheckCRC() {
		t.Fatal("a flipped bit must break the checksum")
	}
}

func TestBatch_LastSequenceWraps(t *testing.T) {
	for _, c := range []struct{ base, n, last int32 }{
		{0, 3, 2},
		{math.MaxInt32 - 1, 2, math.MaxInt32},
		{math.MaxInt32 - 1, 3, 0},
		{math.MaxInt32, 4, 2},
		{record.NoSequence, 4, record.NoSequence},
	} {
		recs := make([]rec, c.n)
		for i := range recs {
			recs[i].Delta = int32(i)
		}
		b := build(t, record.BuilderOptions{Idempotent: true, BaseSequence: c.base}, recs...)
		if b.LastSequence() != c.last {
			t.Errorf("base %d, %d records: last %d, want %d", c.base, c.n, b.LastSequence(), c.last)
		}
	}
}

func TestBuilder_ZeroOptionsHaveNoProducer(t *testing.T) {
	b := build(t, record.BuilderOptions{}, rec{})
	if b.HasProducer() || b.ProducerID() != -1 || b.ProducerEpoch() != -1 || b.BaseSequence() != -1 {
		t.Fatalf("producer %d/%d/%d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	}
	if _, err := record.NewBuilder(record.BuilderOptions{BaseSequence: 3}).Build(nil); err == nil {
		t.Fatal("a sequence without a producer must not vanish")
	}
	if _, err := record.NewBuilder(record.BuilderOptions{}).Build(nil); !errors.Is(err, record.ErrEmpty) {
		t.Fatalf("empty batch: %v", err)
	}
}

func TestBuilder_RefusesOffsetsThatGoBack(t *testing.T) {
	bl := record.NewBuilder(record.BuilderOptions{})
	bl.AppendAt(4, 0, nil, nil, nil)
	bl.AppendAt(4, 0, nil, nil, nil)
	if _, err := bl.Build(nil); err == nil {
		t.Fatal("two records with one offset")
	}
}

func TestAppendEndTxn(t *testing.T) {
	for _, typ := range []record.ControlType{record.ControlAbort, record.ControlCommit} {
		b, err := record.AppendEndTxn(nil, record.EndTxnMarker{Type: typ, CoordinatorEpoch: 9}, 4000, 3, 1234)
		if err != nil {
			t.Fatal(err)
		}
		if !b.IsControl() || !b.IsTransactional() || b.ProducerID() != 4000 || b.ProducerEpoch() != 3 || b.BaseSequence() != -1 || b.Count() != 1 || b.MaxTimestamp() != 1234 {
			t.Fatalf("marker header % x", []byte(b))
		}
		it := b.Records(nil)
		r, _ := it.Next()
		m, err := record.ParseEndTxnMarker(r)
		if err != nil || m.Type != typ || m.CoordinatorEpoch != 9 {
			t.Fatalf("%+v, %v", m, err)
		}
		if want := []byte{0, 0, 0, byte(typ)}; !bytes.Equal(r.Key, want) {
			t.Fatalf("key % x, want % x", r.Key, want)
		}
		if want := []byte{0, 0, 0, 0, 0, 9}; !bytes.Equal(r.Value, want) {
			t.Fatalf("value % x, want % x", r.Value, want)
		}
	}
	if _, err := record.AppendEndTxn(nil, record.EndTxnMarker{Type: record.ControlLeaderChange}, 1, 1, 1); err == nil {
		t.Fatal("a leader change ends no transaction")
	}
}

func TestParseControl(t *testing.T) {
	for _, c := range []struct {
		name string
		key  []byte
		typ  record.ControlType
		ok   bool
	}{
		{"commit", []byte{0, 0, 0, 1}, record.ControlCommit, true},
		{"later version, longer key", []byte{0, 9, 0, 1, 7, 7}, record.ControlCommit, true},
		{"unknown type", []byte{0, 0, 0, 99}, 99, true},
		{"short", []byte{0, 0, 0}, 0, false},
		{"negative version", []byte{0xff, 0xff, 0, 1}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			typ, err := record.ParseControlKey(c.key)
			if typ != c.typ || (err == nil) != c.ok {
				t.Fatalf("%v, %v", typ, err)
			}
		})
	}
	for _, r := range []record.Record{
		{Key: []byte{0, 0, 0, 2}, Value: make([]byte, 6)},
		{Key: []byte{0, 0, 0, 1}, Value: make([]byte, 5)},
		{Key: []byte{0, 0, 0, 1}, Value: []byte{0xff, 0, 0, 0, 0, 0}},
	} {
		if _, err := record.ParseEndTxnMarker(r); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func TestIterator_RefusesLies(t *testing.T) {
	body := func(b ...byte) []byte { return append([]byte{byte(len(b)) << 1}, b...) }
	for _, c := range []struct {
		name    string
		count   int32
		records []byte
	}{
		{"no bytes for a record", 1, nil},
		{"bytes in an empty batch", 0, body(0, 0, 0, 1, 1, 0)},
		{"negative count", -1, body(0, 0, 0, 1, 1, 0)},
		{"fewer records than said", 2, body(0, 0, 0, 1, 1, 0)},
		{"more records than said", 1, append(body(0, 0, 0, 1, 1, 0), body(0, 0, 2, 1, 1, 0)...)},
		{"length beyond end", 1, []byte{14, 0, 0, 0, 1, 1, 0}},
		{"length negative", 1, []byte{1, 0, 0, 0, 1, 1, 0}},
		{"length overlong", 1, []byte{0x8c, 0x80, 0x80, 0x80, 0x80, 0, 0, 0, 0, 1, 1, 0}},
		{"length of zero", 1, []byte{0}},
		{"byte after headers", 1, body(0, 0, 0, 1, 1, 0, 0)},
		{"key beyond record", 1, body(0, 0, 0, 8, 1, 0)},
		{"value beyond record", 1, body(0, 0, 0, 1, 8, 0)},
		{"headers missing", 1, body(0, 0, 0, 1, 1)},
		{"header count negative", 1, body(0, 0, 0, 1, 1, 1)},
		{"header count 2^30", 1, body(0, 0, 0, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x08)},
		{"header key null", 1, body(0, 0, 0, 1, 1, 2, 1, 1)},
		{"header value beyond record", 1, body(0, 0, 0, 1, 1, 2, 0, 4)},
		{"timestamp overlong", 1, body(0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0, 1, 1, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := rawBatch(t, 0, c.count, c.records)
			if recs, err := tryCollect(b, nil); !errors.Is(err, record.ErrCorrupt) {
				t.Fatalf("read %d records, err %v", len(recs), err)
			}
		})
	}
}

// rawBatch is a batch with a valid checksum around any records.
func rawBatch(t testing.TB, codec record.Codec, count int32, records []byte) record.Batch {
	t.Helper()
	k := kmsg.RecordBatch{
		Magic: 2, Length: int32(49 + len(records)), PartitionLeaderEpoch: -1, Attributes: int16(codec), LastOffsetDelta: count - 1,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: count, Records: records,
	}
	return seal(record.Batch(k.AppendTo(nil)))
}

// seal recomputes the checksum after a test has changed bytes it covers.
func seal(b record.Batch) record.Batch {
	ts, typ := b.MaxTimestamp(), b.TimestampType()
	b.SetMaxTimestamp(ts^1, typ)
	b.SetMaxTimestamp(ts, typ)
	return b
}
