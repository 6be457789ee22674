package storage_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/vfs"
)

// plant writes a partition directory by hand, with a recovery point that believes nothing.
func plant(t testing.TB, files map[string][]byte, recoveryPoint int64) *storage.Manager {
	t.Helper()
	mem := vfs.NewMem(1)
	if err := openManager(t, mem, "/a").Close(); err != nil {
		t.Fatal(err)
	}
	if err := mem.MkdirAll("/a/orders-3", 0o755); err != nil {
		t.Fatal(err)
	}
	files[checkpoint.PartitionMetadataFile] = checkpoint.AppendPartitionMetadata(nil, testTopicID)
	for name, data := range files {
		f, err := mem.OpenFile("/a/orders-3/"+name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkpoint.WriteOffsets(mem, "/a", checkpoint.RecoveryPoints, checkpoint.Offsets{testTP: recoveryPoint}); err != nil {
		t.Fatal(err)
	}
	return openManager(t, mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100}), "/a")
}

func soundImage(t testing.TB) []byte {
	var image []byte
	p := &client{id: 77}
	for i := range 8 {
		b := batchOf(t, p, 1000, "value", "other value")
		b.SetBaseOffset(int64(i * 2))
		b.SetPartitionLeaderEpoch(int32(i / 4))
		image = append(image, b...)
	}
	return image
}

// seal makes the checksums of the batches in image right, which the fuzzer cannot.
func seal(image []byte) []byte {
	image = bytes.Clone(image)
	for rest := image; ; {
		b, next, err := record.ParseBatch(rest)
		if err != nil {
			return image
		}
		timestamp, kind := b.MaxTimestamp(), b.TimestampType()
		b.SetMaxTimestamp(timestamp^1, kind)
		b.SetMaxTimestamp(timestamp, kind)
		rest = next
	}
}

// Whatever N.log holds, the log opens, and what it then serves is sound: a prefix of the file. Where records
// below a recovery point are damaged it may be offline, or not all of it readable, but nothing of them is gone.
//
//fuzz:decoder storage/(segment/)?recover[.]go
func FuzzLogRecover(f *testing.F) {
	image := soundImage(f)
	f.Add(image, int64(0), false)
	f.Add(image[:len(image)-5], int64(4), false)
	f.Add(append(bytes.Clone(image), make([]byte, 300)...), int64(16), false)
	torn := bytes.Clone(image)
	copy(torn[200:], make([]byte, 90))
	f.Add(torn, int64(1), false)
	f.Add(torn, int64(1), true)
	back := bytes.Clone(image)
	copy(back[len(back)/2:], image[:8]) // a base offset that was before
	f.Add(back, int64(0), true)
	f.Fuzz(func(t *testing.T, image []byte, recoveryPoint int64, sealed bool) {
		if sealed {
			image = seal(image)
		}
		point := max(0, recoveryPoint%64)
		m := plant(t, map[string][]byte{"00000000000000000000.log": image}, point)
		l, err := m.Recover(testTP, smallConfig())
		if point > 0 && errors.Is(err, storage.ErrCorruptSegment) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if point == 0 {
			var got []byte
			for _, b := range readAll(t, l, 400) {
				got = append(got, b...)
			}
			if !bytes.HasPrefix(image, got) {
				t.Fatalf("the log serves %d bytes that are not a prefix of the file's %d", len(got), len(image))
			}
		}
		for at := l.StartOffset(); at < min(l.EndOffset(), point); at++ {
			s, err := l.Read(at, 400, true, l.EndOffset())
			if err != nil && !errors.Is(err, storage.ErrCorruptSegment) {
				t.Fatal(err)
			}
			s.Release()
		}
		if err := l.Lead(max(l.LatestEpoch(), 0) + 1); err != nil {
			t.Skip() // the image carried the last leader epoch there is
		}
		end := l.EndOffset()
		if end > 1<<60 {
			t.Skip()
		}
		if a := appendOne(t, l, batchOf(t, nil, 1, "next")); a.FirstOffset != end {
			t.Fatalf("the next append got offset %d, want %d", a.FirstOffset, end)
		}
	})
}

// Whatever the index files hold, every record is found, by offset and by time.
//
//fuzz:decoder segment/index[.]go|segment/recover[.]go:.*(trust|cutIndexes|readIndex)[(]
func FuzzIndexLoad(f *testing.F) {
	f.Add([]byte{0, 0, 0, 3, 0, 0, 0, 90}, []byte{0, 0, 0, 0, 0, 0, 3, 233, 0, 0, 0, 3}, []byte{}, int64(0))
	f.Add(bytes.Repeat([]byte{0}, 64), bytes.Repeat([]byte{0xff}, 36), bytes.Repeat([]byte{0}, 68), int64(16))
	f.Add([]byte{0, 0, 0, 1, 0, 0}, []byte{1}, []byte{2}, int64(9))
	image := soundImage(f)
	f.Fuzz(func(t *testing.T, index, times, txns []byte, recoveryPoint int64) {
		m := plant(t, map[string][]byte{
			"00000000000000000000.log": image, "00000000000000000000.index": index,
			"00000000000000000000.timeindex": times, "00000000000000000000.txnindex": txns,
			// A second segment, so that the first is a sealed one whose files are trusted.
			"00000000000000000016.log": {},
		}, max(0, recoveryPoint%20))
		l := recoverLog(t, m, smallConfig())
		if l.EndOffset() != 16 {
			t.Fatalf("the log ends at %d, want 16", l.EndOffset())
		}
		for offset := range int64(16) {
			s, err := l.Read(offset, 1, true, 16)
			if err != nil || s.FirstOffset != offset/2*2 {
				t.Fatalf("Read(%d) begins at %d, %v", offset, s.FirstOffset, err)
			}
			head := make([]byte, record.HeaderSize)
			if _, err := s.ReadAt(head, 0); err != nil || record.Batch(head).BaseOffset() != offset/2*2 {
				t.Fatalf("Read(%d) points to offset %d, %v", offset, record.Batch(head).BaseOffset(), err)
			}
			s.Release()
		}
		if found, ok, err := l.OffsetForTimestamp(1001, 16); err != nil || !ok || found.Offset != 1 {
			t.Fatalf("OffsetForTimestamp = %+v, %v, %v; want offset 1", found, ok, err)
		}
		l.AbortedTransactions(0, 16)
	})
}
