package loadgen

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestEncodeProduce(t *testing.T) {
	load := replayLoad()
	load.BatchBytes = 4150 // one more record would fit if a batch had no header
	values := NewPayloads(1, load.RecordBytes, 0.5)
	request, records := EncodeProduce(&load, values, 7, []int32{3, 1})
	if got := binary.BigEndian.Uint32(request); int(got) != len(request)-4 {
		t.Fatalf("the size in front is %d of %d bytes", got, len(request))
	}
	header := 4 + 2 + 2 + 4 + 2 + len("loadgen") + 1
	produce := kmsg.NewPtrProduceRequest()
	produce.Version = int16(binary.BigEndian.Uint16(request[6:]))
	if err := produce.ReadFrom(request[header:]); err != nil {
		t.Fatal(err)
	}
	if produce.Acks != -1 || len(produce.Topics) != 1 || produce.Topics[0].Topic != "load" || len(produce.Topics[0].Partitions) != 2 {
		t.Fatalf("got %+v", produce)
	}
	next := int64(7)
	for i, want := range []int32{3, 1} {
		partition := produce.Topics[0].Partitions[i]
		if partition.Partition != want {
			t.Errorf("partition %d stands where %d was asked for", partition.Partition, want)
		}
		next += checkBatch(t, &load, values, next, partition.Records)
	}
	if next-7 != records {
		t.Errorf("it says that it carries %d records, and has %d", records, next-7)
	}
}

// checkBatch reads a batch with another library, and returns how many records it holds.
func checkBatch(t *testing.T, load *Load, values *Payloads, first int64, raw []byte) int64 {
	t.Helper()
	if len(raw) > load.BatchBytes || len(raw) < load.BatchBytes-2*load.RecordBytes {
		t.Errorf("a batch has %d bytes, want it as near to %d as records go", len(raw), load.BatchBytes)
	}
	var batch kmsg.RecordBatch
	if err := batch.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	if want := crc32.Checksum(raw[21:], castagnoli); uint32(batch.CRC) != want {
		t.Errorf("CRC %08x, want %08x", batch.CRC, want)
	}
	if batch.ProducerID != -1 || batch.FirstSequence != -1 || batch.LastOffsetDelta != batch.NumRecords-1 || int(batch.Length) != len(raw)-12 || batch.Attributes != 0 {
		t.Errorf("got %+v", batch)
	}
	rest := batch.Records
	for i := range batch.NumRecords {
		length, n := binary.Varint(rest)
		var record kmsg.Record
		if err := record.ReadFrom(rest[:n+int(length)]); err != nil {
			t.Fatal(err)
		}
		if record.OffsetDelta != i || !bytes.Equal(record.Value, values.At(first+int64(i))) || record.Key != nil || len(record.Headers) != 0 {
			t.Fatalf("record %d is %+v", i, record)
		}
		rest = rest[n+int(length):]
	}
	if len(rest) > 0 {
		t.Errorf("%d bytes are left", len(rest))
	}
	return int64(batch.NumRecords)
}

// A record that is larger than a batch may be has a batch of its own: the broker says what it thinks of it.
func TestEncodeProduce_OneRecordAtLeast(t *testing.T) {
	load := replayLoad()
	load.RecordBytes = 2 * load.BatchBytes
	if _, records := EncodeProduce(&load, NewPayloads(1, load.RecordBytes, 0), 0, []int32{0}); records != 1 {
		t.Errorf("got %d records", records)
	}
}

func TestEncodeFrames_GiveEveryPartitionAsMuch(t *testing.T) {
	load := replayLoad()
	load.Partitions, load.PerRequest = 5, 2
	batches := map[int32]int{}
	var bytes int
	for _, f := range encodeFrames(&load, NewPayloads(1, load.RecordBytes, 0)) {
		produce := kmsg.NewPtrProduceRequest()
		produce.Version = produceVersion
		if err := produce.ReadFrom(f.bytes[4+10+len("loadgen")+1:]); err != nil {
			t.Fatal(err)
		}
		for _, p := range produce.Topics[0].Partitions {
			batches[p.Partition]++
		}
		bytes += len(f.bytes)
	}
	for p := range int32(5) {
		if batches[p] != batches[0] || batches[p] == 0 {
			t.Errorf("partition %d has %d batches, partition 0 %d", p, batches[p], batches[0])
		}
	}
	if bytes < poolBytes {
		t.Errorf("the frames have %d bytes, want what no cache holds", bytes)
	}
}

func TestReadAnswer_WhatIsNoAnswer(t *testing.T) {
	if _, err := readAnswer(bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff}), nil); err == nil {
		t.Error("took 4 GiB")
	}
	if _, err := readAnswer(bytes.NewReader([]byte{0, 0, 0, 9, 1}), nil); err == nil {
		t.Error("took half an answer")
	}
	for _, answer := range [][]byte{{0, 0, 0, 2, 0}, {0, 0}, {0, 0, 0, 1, 0, 99}} {
		if checkProduced(answer) == nil {
			t.Errorf("took %x", answer)
		}
	}
}

func TestWindow_WatchTellsOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counted atomic.Int64
		var told []Progress
		w := Window{Progress: func(p Progress) { told = append(told, p) }}
		stop := w.watch(func() (records, bytes int64) { return counted.Load(), 10 * counted.Load() })
		counted.Store(3)
		time.Sleep(1500 * time.Millisecond)
		counted.Store(5)
		time.Sleep(time.Second)
		stop()
		time.Sleep(time.Hour)
		want := []Progress{{time.Second, 3, 30}, {2 * time.Second, 5, 50}}
		if len(told) != 2 || told[0] != want[0] || told[1] != want[1] {
			t.Errorf("told of %v, want %v", told, want)
		}
	})
}

// A caller may throw away what its Progress writes to when the run has returned.
func TestWindow_WatchWaitsForItsLastCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bool
		w := Window{Progress: func(Progress) {
			time.Sleep(time.Second)
			told = true
		}}
		stop := w.watch(func() (records, bytes int64) { return 0, 0 })
		time.Sleep(1500 * time.Millisecond)
		stop()
		if !told {
			t.Error("it was stopped, and the last call goes on")
		}
	})
}
