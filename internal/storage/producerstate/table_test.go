package producerstate_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"testing"

	"github.com/walser-io/walser/internal/storage/producerstate"
	"pgregory.net/rapid"
)

func data(epoch int16, first, last int32, offset int64) producerstate.Batch {
	n := int64(last) - int64(first)
	if n < 0 {
		n += math.MaxInt32 + 1
	}
	return producerstate.Batch{ProducerID: 7, Epoch: epoch, FirstSequence: first, LastSequence: last, FirstOffset: offset, LastOffset: offset + n, MaxTimestamp: offset * 10}
}

func tableOf(batches ...producerstate.Batch) *producerstate.Table {
	t := &producerstate.Table{}
	for _, b := range batches {
		t.Apply(b)
	}
	return t
}

func TestCheck(t *testing.T) {
	transactional := data(3, 10, 19, 100)
	transactional.Transactional = true
	six := []producerstate.Batch{data(3, 0, 9, 0), data(3, 10, 19, 10), data(3, 20, 29, 20), data(3, 30, 39, 30), data(3, 40, 49, 40), data(3, 50, 59, 50)}
	for _, tc := range []struct {
		name   string
		have   []producerstate.Batch
		b      producerstate.Batch
		origin producerstate.Origin
		dup    int64 // first offset of the duplicate, -1 none
		err    error
	}{
		{"no state takes any sequence", nil, data(3, 42, 43, 0), producerstate.Client, -1, nil},
		{"in sequence", six[:1], data(3, 10, 11, 99), producerstate.Client, -1, nil},
		{"gap", six[:1], data(3, 11, 12, 99), producerstate.Client, -1, producerstate.ErrOutOfOrderSequence},
		{"overlap is no duplicate", six[:1], data(3, 0, 8, 99), producerstate.Client, -1, producerstate.ErrOutOfOrderSequence},
		{"the newest again", six, data(3, 50, 59, 99), producerstate.Client, 50, nil},
		{"the fifth last again", six, data(3, 10, 19, 99), producerstate.Client, 10, nil},
		{"the sixth last again", six, data(3, 0, 9, 99), producerstate.Client, -1, producerstate.ErrOutOfOrderSequence},
		{"sequences wrap to zero", []producerstate.Batch{data(3, math.MaxInt32-1, math.MaxInt32, 0)}, data(3, 0, 3, 99), producerstate.Client, -1, nil},
		{"a batch across the wrap again", []producerstate.Batch{data(3, math.MaxInt32, 1, 5)}, data(3, math.MaxInt32, 1, 99), producerstate.Client, 5, nil},
		{"after a batch across the wrap", []producerstate.Batch{data(3, math.MaxInt32, 1, 5)}, data(3, 2, 2, 99), producerstate.Client, -1, nil},
		{"zero after less than the maximum", six[:1], data(3, 0, 0, 99), producerstate.Client, -1, producerstate.ErrOutOfOrderSequence},
		{"older epoch", six[:1], data(2, 10, 10, 99), producerstate.Client, -1, producerstate.ErrInvalidProducerEpoch},
		{"older epoch of a coordinator", six[:1], data(2, -1, -1, 99), producerstate.Coordinator, -1, producerstate.ErrInvalidProducerEpoch},
		{"a coordinator has no sequences", six[:1], data(3, -1, -1, 99), producerstate.Coordinator, -1, nil},
		{"newer epoch from zero", six[:1], data(4, 0, 1, 99), producerstate.Client, -1, nil},
		{"newer epoch from elsewhere", six[:1], data(4, 10, 11, 99), producerstate.Client, -1, producerstate.ErrOutOfOrderSequence},
		{"newer epoch with a known range", six[:1], data(4, 0, 9, 99), producerstate.Client, -1, nil},
		{"plain batch in a transaction", []producerstate.Batch{transactional}, data(3, 20, 20, 99), producerstate.Client, -1, producerstate.ErrInvalidTxnState},
		{"a replica is believed", six[:1], data(2, 77, 77, 99), producerstate.Replica, -1, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dup, err := tableOf(tc.have...).Check(tc.b, tc.origin)
			if !errors.Is(err, tc.err) {
				t.Fatalf("Check = %v, want %v", err, tc.err)
			}
			got := int64(-1)
			if dup != nil {
				got = dup.FirstOffset
			}
			if got != tc.dup {
				t.Fatalf("duplicate of the batch at %d, want %d", got, tc.dup)
			}
		})
	}
}

func TestTransactions_FirstUnstable(t *testing.T) {
	tx := func(id, first int64) producerstate.Batch {
		return producerstate.Batch{ProducerID: id, FirstSequence: 0, LastSequence: 0, FirstOffset: first, LastOffset: first, Transactional: true}
	}
	table := tableOf(tx(1, 10), tx(2, 12))
	want := func(offset int64, unstable bool) {
		t.Helper()
		if got, ok := table.FirstUnstable(); ok != unstable || ok && got != offset {
			t.Fatalf("FirstUnstable = %d, %v; want %d, %v", got, ok, offset, unstable)
		}
	}
	want(10, true)
	done, ok := table.ApplyMarker(producerstate.Marker{ProducerID: 1, Offset: 14, Abort: true})
	if !ok || done.FirstOffset != 10 || done.LastOffset != 14 || !done.Abort || done.LastStableOffset != 12 {
		t.Fatalf("the marker completed %+v, %v", done, ok)
	}
	want(10, true) // its marker is not replicated yet
	table.HighWatermarkMoved(14)
	want(10, true)
	table.HighWatermarkMoved(15)
	want(12, true)
	if done, ok := table.ApplyMarker(producerstate.Marker{ProducerID: 2, Offset: 20}); !ok || done.LastStableOffset != 21 {
		t.Fatalf("the marker completed %+v, %v", done, ok)
	}
	table.HighWatermarkMoved(21)
	want(0, false)
	if _, ok := table.ApplyMarker(producerstate.Marker{ProducerID: 2, Offset: 22}); ok {
		t.Fatal("a marker without a transaction completed one")
	}
}

func TestCheckMarker(t *testing.T) {
	open := data(5, 0, 0, 0)
	open.Transactional = true
	for _, tc := range []struct {
		name string
		have producerstate.Batch
		m    producerstate.Marker
		err  error
	}{
		{"same epoch, version 1", open, producerstate.Marker{ProducerID: 7, Epoch: 5}, nil},
		{"same epoch, version 2, open", open, producerstate.Marker{ProducerID: 7, Epoch: 5, TransactionVersion: 2}, producerstate.ErrInvalidProducerEpoch},
		{"same epoch, version 2, a retry", data(5, 0, 0, 0), producerstate.Marker{ProducerID: 7, Epoch: 5, TransactionVersion: 2}, nil},
		{"next epoch, version 2", open, producerstate.Marker{ProducerID: 7, Epoch: 6, TransactionVersion: 2}, nil},
		{"older epoch", open, producerstate.Marker{ProducerID: 7, Epoch: 4}, producerstate.ErrInvalidProducerEpoch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tableOf(tc.have).CheckMarker(tc.m, producerstate.Coordinator); !errors.Is(err, tc.err) {
				t.Fatalf("CheckMarker = %v, want %v", err, tc.err)
			}
		})
	}
	table := tableOf(open)
	table.ApplyMarker(producerstate.Marker{ProducerID: 7, Epoch: 5, CoordinatorEpoch: 9, Offset: 1})
	if err := table.CheckMarker(producerstate.Marker{ProducerID: 7, Epoch: 6, CoordinatorEpoch: 8}, producerstate.Coordinator); !errors.Is(err, producerstate.ErrCoordinatorFenced) {
		t.Fatalf("a marker of an older coordinator: %v", err)
	}
}

func TestExpire_KeepsOpenTransactions(t *testing.T) {
	old, open, fresh := data(1, 0, 0, 1), data(1, 0, 0, 1), data(1, 0, 0, 50)
	old.ProducerID, open.ProducerID, fresh.ProducerID, open.Transactional = 1, 2, 3, true
	table := tableOf(old, open, fresh)
	if n := table.Expire(600, 200); n != 1 || table.Len() != 2 {
		t.Fatalf("Expire forgot %d, %d are left; want 1 and 2", n, table.Len())
	}
	if dup, _ := table.Check(old, producerstate.Client); dup != nil {
		t.Fatal("the silent producer is still known")
	}
}

// The bytes are those Kafka's ProducerStateManager.writeSnapshot writes for the same producer.
func TestSnapshot_IsKafkas(t *testing.T) {
	table := tableOf(producerstate.Batch{ProducerID: 4242, Epoch: 3, FirstSequence: 5, LastSequence: 9, FirstOffset: 100, LastOffset: 104, MaxTimestamp: 1700000000000})
	const want = "0001" + "bc7a2b64" + "00000001" +
		"0000000000001092" + "0003" + "00000009" + "0000000000000068" + "00000004" + "0000018bcfe56800" + "ffffffff" + "ffffffffffffffff"
	got := hex.EncodeToString(table.AppendSnapshot(nil))
	if got[:4] != want[:4] || got[12:] != want[12:] {
		t.Fatalf("snapshot\n%s, want\n%s", got, want)
	}
	if _, err := producerstate.DecodeSnapshot(table.AppendSnapshot(nil)); err != nil {
		t.Fatal(err)
	}
}

func randomTable(t *rapid.T) *producerstate.Table {
	table := &producerstate.Table{}
	offset := int64(0)
	for range rapid.IntRange(0, 40).Draw(t, "batches") {
		id := rapid.Int64Range(1, 4).Draw(t, "producer")
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			table.ApplyMarker(producerstate.Marker{ProducerID: id, Epoch: int16(offset / 30), CoordinatorEpoch: 2, Offset: offset, Timestamp: offset, Abort: offset%2 == 0})
			offset++
			continue
		}
		n := rapid.Int32Range(1, 5).Draw(t, "records")
		first := rapid.Int32Range(0, 100).Draw(t, "sequence")
		table.Apply(producerstate.Batch{
			ProducerID: id, Epoch: int16(offset / 30), FirstSequence: first, LastSequence: first + n - 1,
			FirstOffset: offset, LastOffset: offset + int64(n) - 1, MaxTimestamp: 1000 + offset, Transactional: rapid.Bool().Draw(t, "transactional"),
		})
		offset += int64(n)
	}
	return table
}

func TestWindows_RestoreTheWholeTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := randomTable(t)
		raw := table.AppendWindows(nil, 99)
		back, err := producerstate.DecodeWindows(raw, 99)
		if err != nil {
			t.Fatal(err)
		}
		// Kafka's form says less, but must say the same of both; the side file says all there is.
		if string(back.AppendWindows(nil, 99)) != string(raw) || string(back.AppendSnapshot(nil)) != string(table.AppendSnapshot(nil)) {
			t.Fatal("the restored table differs")
		}
		if _, err := producerstate.DecodeWindows(raw, 98); !errors.Is(err, producerstate.ErrCorrupt) {
			t.Fatalf("a file of another offset: %v", err)
		}
		if len(raw) > 0 {
			raw[rapid.IntRange(0, len(raw)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			if _, err := producerstate.DecodeWindows(raw, 99); !errors.Is(err, producerstate.ErrCorrupt) {
				t.Fatalf("a flipped bit: %v", err)
			}
		}
	})
}

//fuzz:decoder producerstate/snapshot[.]go
func FuzzProducerSnapshot(f *testing.F) {
	table := tableOf(data(3, 0, 9, 0), data(3, 10, 19, 10))
	f.Add(table.AppendSnapshot(nil))
	f.Add(table.AppendWindows(nil, 20))
	f.Add((&producerstate.Table{}).AppendSnapshot(nil))
	sealed := func(raw []byte, crc int) []byte { // with the checksum that its bytes have, which the fuzzer cannot find
		if len(raw) < crc+4 {
			return raw
		}
		raw = bytes.Clone(raw)
		binary.BigEndian.PutUint32(raw[crc:], crc32.Checksum(raw[crc+4:], crc32.MakeTable(crc32.Castagnoli)))
		return raw
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, raw := range [][]byte{raw, sealed(raw, 2)} {
			if table, err := producerstate.DecodeSnapshot(raw); err == nil {
				if _, err := producerstate.DecodeSnapshot(table.AppendSnapshot(nil)); err != nil {
					t.Fatalf("%x decodes, its encoding does not: %v", raw, err)
				}
				table.Check(data(1, 0, 0, 0), producerstate.Client)
			}
		}
		for _, raw := range [][]byte{raw, sealed(raw, 4)} {
			if table, err := producerstate.DecodeWindows(raw, 20); err == nil {
				if _, err := producerstate.DecodeWindows(table.AppendWindows(nil, 20), 20); err != nil {
					t.Fatalf("%x decodes, its encoding does not: %v", raw, err)
				}
				table.Check(data(1, 0, 0, 0), producerstate.Client)
			}
		}
	})
}
