package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/epoch"
	"github.com/walser-io/walser/internal/storage/producerstate"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
)

// DumpedOffset is an entry of N.index.
type DumpedOffset struct {
	File     string `json:"file"`
	Offset   int64  `json:"offset"`
	Position int64  `json:"position"`
}

// DumpedTime is an entry of N.timeindex.
type DumpedTime struct {
	File      string `json:"file"`
	Timestamp int64  `json:"timestamp"`
	Offset    int64  `json:"offset"`
}

// DumpedAbort is an entry of N.txnindex.
type DumpedAbort struct {
	File             string `json:"file"`
	Version          int16  `json:"version"`
	ProducerID       int64  `json:"producerId"`
	FirstOffset      int64  `json:"firstOffset"`
	LastOffset       int64  `json:"lastOffset"`
	LastStableOffset int64  `json:"lastStableOffset"`
}

// DumpedProducer is an entry of N.snapshot. The last five fields are null for a producer that wrote
// nothing but markers.
type DumpedProducer struct {
	File                  string `json:"file"`
	ProducerID            int64  `json:"producerId"`
	ProducerEpoch         int16  `json:"producerEpoch"`
	CoordinatorEpoch      int32  `json:"coordinatorEpoch"`
	CurrentTxnFirstOffset *int64 `json:"currentTxnFirstOffset"`
	LastTimestamp         int64  `json:"lastTimestamp"`
	FirstSequence         *int32 `json:"firstSequence"`
	LastSequence          *int32 `json:"lastSequence"`
	LastOffset            *int64 `json:"lastOffset"`
	OffsetDelta           *int32 `json:"offsetDelta"`
	Timestamp             *int64 `json:"timestamp"`
}

// DumpedEpoch is an entry of leader-epoch-checkpoint.
type DumpedEpoch struct {
	File        string `json:"file"`
	Epoch       int32  `json:"epoch"`
	StartOffset int64  `json:"startOffset"`
}

const (
	offsetEntrySize   = 8
	timeEntrySize     = 12
	abortEntrySize    = 34
	snapshotEntrySize = 46
	snapshotHead      = 10 // version, checksum, count
)

// beside opens the N.log that an index belongs to.
func (d *dumper) beside(name, suffix string) (*logFile, error) {
	l, err := openLog(d.a.FS, strings.TrimSuffix(name, suffix)+segment.LogSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("an index is read beside its log: %w", err)
	}
	return l, err
}

// entries returns the whole entries of an index file. Kafka allocates active indexes ahead: zeros after
// the entries are no entries.
func (d *dumper) entries(name string, size int) ([][]byte, error) {
	raw, err := vfs.ReadFile(d.a.FS, name)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for ; len(raw) >= size; raw = raw[size:] {
		if len(all) > 0 && strings.Trim(string(raw), "\x00") == "" {
			return all, nil
		}
		all = append(all, raw[:size])
	}
	if len(raw) > 0 {
		d.problem("%s: %d bytes at the end are no entry", name, len(raw))
	}
	if len(all) == 1 && strings.Trim(string(all[0]), "\x00") == "" {
		return nil, nil // one entry of zeros says nothing
	}
	return all, nil
}

// index prints an N.index and compares each entry with the batch it points to.
func (d *dumper) index(name string) error {
	base, err := baseOffset(name)
	if err != nil {
		return err
	}
	l, err := d.beside(name, segment.IndexSuffix)
	if err != nil {
		return err
	}
	defer l.Close()
	all, err := d.entries(name, offsetEntrySize)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		d.title("%s is empty.\n", name)
	}
	last := int64(-1)
	for _, raw := range all {
		v := DumpedOffset{name, base + int64(binary.BigEndian.Uint32(raw)), int64(binary.BigEndian.Uint32(raw[4:]))}
		b, _, err := l.batchAt(v.Position, nil, true)
		switch {
		case errors.Is(err, errTrailing):
			d.problem("%s: offset %d points to position %d, where no batch stands", name, v.Offset, v.Position)
		case err != nil:
			return err
		case b.LastOffset() != v.Offset:
			d.problem("%s: index offset: %d, log offset: %d", name, v.Offset, b.LastOffset())
		}
		if v.Offset <= last {
			d.problem("%s: offset %d follows %d", name, v.Offset, last)
		}
		last = v.Offset
		if err := d.emit(v, "offset: %d position: %d\n", v.Offset, v.Position); err != nil {
			return err
		}
	}
	return nil
}

// timeIndex prints an N.timeindex and compares each entry with the batch that ends at its offset.
func (d *dumper) timeIndex(name string) error {
	base, err := baseOffset(name)
	if err != nil {
		return err
	}
	l, err := d.beside(name, segment.TimeIndexSuffix)
	if err != nil {
		return err
	}
	defer l.Close()
	all, err := d.entries(name, timeEntrySize)
	if err != nil {
		return err
	}
	var (
		lastTime = int64(-1)
		position int64 // entries and batches both ascend: one walk serves them all
	)
	for _, raw := range all {
		v := DumpedTime{name, int64(binary.BigEndian.Uint64(raw)), base + int64(binary.BigEndian.Uint32(raw[8:]))}
		var b record.Batch
		if b, position, err = l.seek(position, v.Offset); err != nil {
			return err
		}
		switch {
		case b == nil:
			d.problem("%s: indexed offset: %d, no batch in the log ends there or later", name, v.Offset)
		case b.LastOffset() != v.Offset:
			d.problem("%s: indexed offset: %d, found log offset: %d", name, v.Offset, b.LastOffset())
		case b.MaxTimestamp() != v.Timestamp:
			d.problem("%s: index timestamp: %d, log timestamp: %d", name, v.Timestamp, b.MaxTimestamp())
		}
		if v.Timestamp <= lastTime {
			d.problem("%s: index timestamp: %d, previously indexed timestamp: %d", name, v.Timestamp, lastTime)
		}
		lastTime = v.Timestamp
		if err := d.emit(v, "timestamp: %d offset: %d\n", v.Timestamp, v.Offset); err != nil {
			return err
		}
	}
	return nil
}

// seek walks from a position on to the first batch that ends at or after offset; nil if there is none.
func (l *logFile) seek(position, offset int64) (record.Batch, int64, error) {
	for {
		b, _, err := l.batchAt(position, nil, true)
		if errors.Is(err, errTrailing) {
			return nil, position, nil
		}
		if err != nil || b.LastOffset() >= offset {
			return b, position, err
		}
		position += int64(b.Size())
	}
}

// txnIndex prints an N.txnindex.
func (d *dumper) txnIndex(name string) error {
	all, err := d.entries(name, abortEntrySize)
	if err != nil {
		return err
	}
	for _, raw := range all {
		field := func(i int) int64 { return int64(binary.BigEndian.Uint64(raw[2+8*i:])) }
		v := DumpedAbort{name, int16(binary.BigEndian.Uint16(raw)), field(0), field(1), field(2), field(3)}
		if v.Version != 0 {
			d.problem("%s: the transaction of producer %d has version %d, which nobody knows", name, v.ProducerID, v.Version)
		}
		err := d.emit(v, "version: %d producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d\n",
			v.Version, v.ProducerID, v.FirstOffset, v.LastOffset, v.LastStableOffset)
		if err != nil {
			return err
		}
	}
	return nil
}

// producers prints an N.snapshot, in the order of the file.
func (d *dumper) producers(name string) error {
	raw, err := vfs.ReadFile(d.a.FS, name)
	if err != nil {
		return err
	}
	if _, err := producerstate.DecodeSnapshot(raw); err != nil {
		d.problem("%s: %v", name, err)
		return nil
	}
	for raw = raw[snapshotHead:]; len(raw) > 0; raw = raw[snapshotEntrySize:] {
		v := producerOf(name, raw)
		txn := "OptionalLong.empty"
		if v.CurrentTxnFirstOffset != nil {
			txn = fmt.Sprintf("OptionalLong[%d]", *v.CurrentTxnFirstOffset)
		}
		last := ""
		if v.LastOffset != nil {
			last = fmt.Sprintf(" firstSequence: %d lastSequence: %d lastOffset: %d offsetDelta: %d timestamp: %d",
				*v.FirstSequence, *v.LastSequence, *v.LastOffset, *v.OffsetDelta, *v.Timestamp)
		}
		err := d.emit(v, "producerId: %d producerEpoch: %d coordinatorEpoch: %d currentTxnFirstOffset: %s lastTimestamp: %d%s\n",
			v.ProducerID, v.ProducerEpoch, v.CoordinatorEpoch, txn, v.LastTimestamp, last)
		if err != nil {
			return err
		}
	}
	return nil
}

// producerOf reads an entry: producer id, epoch, last sequence, last offset, offset delta, timestamp,
// coordinator epoch, first offset of the open transaction.
func producerOf(name string, raw []byte) DumpedProducer {
	i32 := func(at int) int32 { return int32(binary.BigEndian.Uint32(raw[at:])) }
	i64 := func(at int) int64 { return int64(binary.BigEndian.Uint64(raw[at:])) }
	v := DumpedProducer{
		File: name, ProducerID: i64(0), ProducerEpoch: int16(binary.BigEndian.Uint16(raw[8:])),
		LastTimestamp: i64(26), CoordinatorEpoch: i32(34),
	}
	if first := i64(38); first >= 0 {
		v.CurrentTxnFirstOffset = &first
	}
	if last := i64(14); last >= 0 {
		sequence, delta := i32(10), i32(22)
		first := sequence - delta
		if first < 0 && sequence >= 0 {
			first += -1 << 31 // sequences wrap from 2147483647 to 0
		}
		v.FirstSequence, v.LastSequence, v.LastOffset, v.OffsetDelta, v.Timestamp = &first, &sequence, &last, &delta, &v.LastTimestamp
	}
	return v
}

// epochs prints a leader-epoch-checkpoint.
func (d *dumper) epochs(name string) error {
	raw, err := vfs.ReadFile(d.a.FS, name)
	if err != nil {
		return err
	}
	cache, err := epoch.Decode(raw)
	if err != nil {
		d.problem("%s: %v", name, err)
		return nil
	}
	for _, e := range cache.Entries() {
		if err := d.emit(DumpedEpoch{name, e.Epoch, e.Start}, "epoch: %d startOffset: %d\n", e.Epoch, e.Start); err != nil {
			return err
		}
	}
	return nil
}
