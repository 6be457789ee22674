package record_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/record"
)

func keepAll(record.Record) bool  { return true }
func keepNone(record.Record) bool { return false }

// TestFilter_AgainstModel compares with a list filtered the simple way, over every codec and timestamp type, twice in a row.
func TestFilter_AgainstModel(t *testing.T) {
	s := record.NewScratch(record.Limits{})
	rapid.Check(t, func(rt *rapid.T) {
		recs := genRecs().Draw(rt, "recs")
		codec := rapid.SampledFrom(codecs).Draw(rt, "codec")
		typ := record.TimestampType(rapid.IntRange(0, 1).Draw(rt, "type"))
		opts := record.BuilderOptions{
			Codec: codec, BaseOffset: 1000, LeaderEpoch: 3, ProducerID: 8, ProducerEpoch: 2, BaseSequence: 50,
			TimestampType: typ, LogAppendMs: now, Transactional: rapid.Bool().Draw(rt, "txn"),
		}
		b := build(t, opts, recs...)
		if typ == record.LogAppendTime {
			for i := range recs {
				recs[i].TS = now
			}
		}
		const horizon = now + 86_400_000
		for round := range 2 {
			hadHorizon := b.HasDeleteHorizon()
			var want []rec
			tombstones := false
			chosen := map[int32]bool{}
			for _, r := range recs {
				if rapid.Bool().Draw(rt, "keep") {
					want = append(want, r)
					chosen[r.Delta] = true
					tombstones = tombstones || r.Value == nil
				}
			}
			f := record.Filter{
				Keep:      func(r record.Record) bool { return chosen[int32(r.Offset-1000)] },
				KeepEmpty: rapid.Bool().Draw(rt, "keep empty"), DeleteHorizonMs: horizon + int64(round),
			}
			before := bytes.Clone(b)
			dst, res, err := b.FilterTo([]byte("prefix"), f, s)
			if err != nil || !bytes.Equal(b, before) || !bytes.HasPrefix(dst, []byte("prefix")) || !bytes.Equal(dst[6:], res.Batch) {
				rt.Fatalf("%v", err)
			}
			if int(res.Read) != len(recs) || int(res.Kept) != len(want) {
				rt.Fatalf("read %d kept %d, want %d and %d", res.Read, res.Kept, len(recs), len(want))
			}
			if len(want) == 0 && !f.KeepEmpty {
				if len(res.Batch) != 0 || res.LastKept != -1 || res.MaxTimestamp != -1 {
					rt.Fatalf("nothing was to be left: %+v", res)
				}
				return
			}
			n, rest, err := record.ParseBatch(res.Batch)
			if err != nil || len(rest) != 0 || !n.CheckCRC() {
				rt.Fatalf("result does not parse: %v", err)
			}
			if n.BaseOffset() != 1000 || n.LastOffset() != b.LastOffset() || n.PartitionLeaderEpoch() != 3 || n.ProducerID() != 8 || n.ProducerEpoch() != 2 ||
				n.BaseSequence() != 50 || n.LastSequence() != b.LastSequence() || n.TimestampType() != typ || n.IsTransactional() != opts.Transactional {
				rt.Fatalf("header changed: % x → % x", []byte(b[:61]), []byte(n[:61]))
			}
			if d := diff(want, collect(t, n, s)); d != "" {
				rt.Fatalf("records (-want +got):\n%s", d)
			}
			if len(want) == 0 {
				if len(n) != record.HeaderSize || n.MaxTimestamp() != b.MaxTimestamp() || n.Codec() != record.None {
					rt.Fatalf("empty batch: % x", []byte(n))
				}
				return
			}
			if res.LastKept != 1000+int64(want[len(want)-1].Delta) {
				rt.Fatalf("last kept %d", res.LastKept)
			}
			if typ == record.CreateTime && res.MaxTimestamp != maxTS(want) && !res.Unchanged {
				rt.Fatalf("max timestamp %d, want %d", res.MaxTimestamp, maxTS(want))
			}
			ms, has := n.DeleteHorizon()
			if has != (tombstones || hadHorizon) {
				rt.Fatalf("horizon %v, tombstones %v, before %v", has, tombstones, hadHorizon)
			}
			if has && !hadHorizon && ms != horizon+int64(round) {
				rt.Fatalf("horizon %d", ms)
			}
			if old, _ := b.DeleteHorizon(); hadHorizon && ms != old {
				rt.Fatalf("horizon moved from %d to %d", old, ms)
			}
			if unchanged := len(want) == len(recs) && has == hadHorizon; res.Unchanged != unchanged || unchanged != bytes.Equal(n, b) {
				rt.Fatalf("unchanged %v, want %v", res.Unchanged, unchanged)
			}
			recs, b = want, bytes.Clone(n)
		}
	})
}

func TestFilter_Markers(t *testing.T) {
	marker, err := record.AppendEndTxn(nil, record.EndTxnMarker{Type: record.ControlAbort, CoordinatorEpoch: 1}, 6, 2, now)
	if err != nil {
		t.Fatal(err)
	}
	_, res, err := marker.FilterTo(nil, record.Filter{Keep: keepAll, DeleteHorizonMs: 99}, nil)
	if err != nil || !res.Unchanged {
		t.Fatalf("marker of a transaction with data: %v, %+v", err, res)
	}
	_, res, err = marker.FilterTo(nil, record.Filter{Keep: keepAll, DeleteHorizonMs: 99, EmptyTxnMarker: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ms, ok := res.Batch.DeleteHorizon(); !ok || ms != 99 {
		t.Fatalf("marker of an empty transaction: horizon %d, %v", ms, ok)
	}
	if !res.Batch.IsControl() || !res.Batch.IsTransactional() || res.Batch.BaseSequence() != -1 || res.Batch.MaxTimestamp() != now {
		t.Fatalf("marker changed: % x", []byte(res.Batch))
	}
	r, _ := res.Batch.Records(nil).Next()
	if m, err := record.ParseEndTxnMarker(r); err != nil || m.Type != record.ControlAbort || r.Timestamp != now {
		t.Fatalf("%+v, %v", m, err)
	}
	_, res, err = marker.FilterTo(nil, record.Filter{Keep: keepNone, KeepEmpty: true}, nil)
	if err != nil || len(res.Batch) != record.HeaderSize || !res.Batch.IsControl() || res.Batch.ProducerID() != 6 {
		t.Fatalf("emptied marker: %v, % x", err, []byte(res.Batch))
	}
	if again, res, err := res.Batch.FilterTo(nil, record.Filter{Keep: keepAll, KeepEmpty: true}, nil); err != nil || len(again) != record.HeaderSize || res.Read != 0 {
		t.Fatalf("an empty batch stays one: %v", err)
	}
}

func TestFilter_DamageIsAnError(t *testing.T) {
	b := rawBatch(t, record.Zstd, 3, []byte("no zstd"))
	dst, _, err := b.FilterTo([]byte("x"), record.Filter{Keep: keepAll}, nil)
	if !errors.Is(err, record.ErrCorrupt) || string(dst) != "x" {
		t.Fatalf("%q, %v", dst, err)
	}
}
