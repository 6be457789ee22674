package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
)

// DumpedBatch is what log dump says of a batch.
type DumpedBatch struct {
	File                 string         `json:"file"`
	Position             int64          `json:"position"`
	BaseOffset           int64          `json:"baseOffset"`
	LastOffset           int64          `json:"lastOffset"`
	Count                int32          `json:"count"`
	BaseSequence         int32          `json:"baseSequence"`
	LastSequence         int32          `json:"lastSequence"`
	ProducerID           int64          `json:"producerId"`
	ProducerEpoch        int16          `json:"producerEpoch"`
	PartitionLeaderEpoch int32          `json:"partitionLeaderEpoch"`
	IsTransactional      bool           `json:"isTransactional"`
	IsControl            bool           `json:"isControl"`
	DeleteHorizonMs      *int64         `json:"deleteHorizonMs"`
	TimestampType        string         `json:"timestampType"`
	MaxTimestamp         int64          `json:"maxTimestamp"`
	Size                 int            `json:"size"`
	Magic                int8           `json:"magic"`
	Codec                string         `json:"codec"`
	CRC                  uint32         `json:"crc"`
	IsValid              bool           `json:"isValid"`
	Records              []DumpedRecord `json:"records,omitempty"`
}

// DumpedRecord is what log dump says of a record.
type DumpedRecord struct {
	Offset    int64          `json:"offset"`
	Timestamp int64          `json:"timestamp"`
	KeySize   int            `json:"keySize"` // -1: null
	ValueSize int            `json:"valueSize"`
	Sequence  int32          `json:"sequence"`
	Headers   []RecordHeader `json:"headers,omitempty"`
	Key       any            `json:"key,omitempty"` // Text, or what --decode makes of it
	Value     any            `json:"value,omitempty"`
	Control   *DumpedControl `json:"control,omitempty"`

	keyText, valueText *string // nil: none
}

// DumpedControl is what a control record says.
type DumpedControl struct {
	Type             string `json:"type"`
	CoordinatorEpoch *int32 `json:"coordinatorEpoch,omitempty"` // of ABORT and COMMIT
}

// baseOffset returns the offset in the name of a segment's file.
func baseOffset(name string) (int64, error) {
	digits, _, _ := strings.Cut(filepath.Base(name), ".")
	return strconv.ParseInt(digits, 10, 64)
}

// logFile is an N.log that is read batch by batch.
type logFile struct {
	vfs.File
	name string
	size int64
}

func openLog(fsys vfs.FS, name string) (*logFile, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &logFile{f, name, size}, nil
}

// errTrailing: what stands at a position is not a whole batch.
var errTrailing = errors.New("no whole batch")

// batchAt reads the batch at a position into buf. Memory follows the size of the file, never a length
// that the file cannot hold.
func (l *logFile) batchAt(position int64, buf []byte, headerOnly bool) (record.Batch, []byte, error) {
	var head [record.HeaderSize]byte
	if position < 0 || position > l.size-record.HeaderSize {
		return nil, buf, errTrailing
	}
	if _, err := l.ReadAt(head[:], position); err != nil && !errors.Is(err, io.EOF) {
		return nil, buf, err
	}
	size := record.LogOverhead + int64(int32(binary.BigEndian.Uint32(head[8:])))
	if size < record.HeaderSize || size > l.size-position || head[16] != record.Magic {
		return nil, buf, errTrailing
	}
	if headerOnly {
		return record.Batch(append(buf[:0], head[:]...)), buf, nil
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if _, err := l.ReadAt(buf, position); err != nil && !errors.Is(err, io.EOF) {
		return nil, buf, err
	}
	return record.Batch(buf), buf, nil
}

// log prints an N.log.
func (d *dumper) log(name string) error {
	base, err := baseOffset(name)
	if err != nil {
		return err
	}
	l, err := openLog(d.a.FS, name)
	if err != nil {
		return err
	}
	defer l.Close()
	d.title("Log starting offset: %d\n", base)
	var (
		buf      []byte
		scratch  = record.NewScratch(record.Limits{})
		position int64
	)
	for position < l.size {
		var b record.Batch
		if b, buf, err = l.batchAt(position, buf, false); errors.Is(err, errTrailing) {
			d.title("Found %d invalid bytes at the end of %s\n", l.size-position, filepath.Base(name))
			d.problem("%s: %d bytes from position %d on are no whole batch", name, l.size-position, position)
			return nil
		} else if err != nil {
			return err
		}
		if err := d.batch(name, position, b, scratch); err != nil {
			return err
		}
		position += int64(b.Size())
	}
	return nil
}

func (d *dumper) batch(name string, position int64, b record.Batch, s *record.Scratch) error {
	v := DumpedBatch{
		File: name, Position: position, BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), Count: b.Count(),
		BaseSequence: b.BaseSequence(), LastSequence: b.LastSequence(), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(),
		PartitionLeaderEpoch: b.PartitionLeaderEpoch(), IsTransactional: b.IsTransactional(), IsControl: b.IsControl(),
		TimestampType: b.TimestampType().String(), MaxTimestamp: b.MaxTimestamp(), Size: b.Size(), Magic: b.Magic(),
		Codec: b.Codec().String(), CRC: b.CRC(), IsValid: b.CheckCRC(),
	}
	horizon := "OptionalLong.empty"
	if ms, ok := b.DeleteHorizon(); ok {
		v.DeleteHorizonMs, horizon = &ms, fmt.Sprintf("OptionalLong[%d]", ms)
	}
	if !v.IsValid {
		d.problem("%s: the batch at position %d (offset %d) fails its checksum", name, position, v.BaseOffset)
	}
	if d.records {
		d.walk(name, b, s, &v)
	}
	err := d.emit(v, "baseOffset: %d lastOffset: %d count: %d baseSequence: %d lastSequence: %d producerId: %d producerEpoch: %d"+
		" partitionLeaderEpoch: %d isTransactional: %t isControl: %t deleteHorizonMs: %s position: %d %s: %d size: %d magic: %d"+
		" compresscodec: %s crc: %d isvalid: %t\n",
		v.BaseOffset, v.LastOffset, v.Count, v.BaseSequence, v.LastSequence, v.ProducerID, v.ProducerEpoch,
		v.PartitionLeaderEpoch, v.IsTransactional, v.IsControl, horizon, position, v.TimestampType, v.MaxTimestamp, v.Size, v.Magic,
		v.Codec, v.CRC, v.IsValid)
	if err != nil || !d.text() {
		return err
	}
	for _, r := range v.Records {
		d.recordLine(&v, &r)
	}
	return nil
}

// walk reads the records of a batch into v.
func (d *dumper) walk(name string, b record.Batch, s *record.Scratch, v *DumpedBatch) {
	it := b.Records(s)
	for r, ok := it.Next(); ok; r, ok = it.Next() {
		out := DumpedRecord{Offset: r.Offset, Timestamp: r.Timestamp, KeySize: sizeOf(r.Key), ValueSize: sizeOf(r.Value), Sequence: record.NoSequence}
		if v.BaseSequence != record.NoSequence {
			out.Sequence = record.AddSequence(v.BaseSequence, r.OffsetDelta)
		}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, RecordHeader{string(h.Key), slices.Clone(Text(h.Value))}) // an empty one stays empty, none stays none
		}
		if v.IsControl {
			out.Control = controlOf(r)
		} else {
			d.decode(&out, r)
		}
		v.Records = append(v.Records, out)
	}
	if err := it.Err(); err != nil {
		d.problem("%s: the records of the batch at position %d (offset %d): %v", name, v.Position, v.BaseOffset, err)
	}
}

func controlOf(r record.Record) *DumpedControl {
	t, err := record.ParseControlKey(r.Key)
	if err != nil {
		return &DumpedControl{Type: "UNKNOWN"}
	}
	c := &DumpedControl{Type: t.String()}
	if m, err := record.ParseEndTxnMarker(r); err == nil {
		c.CoordinatorEpoch = &m.CoordinatorEpoch
	}
	return c
}

// sizeOf returns the size of a nullable field, -1 for null.
func sizeOf(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

// recordLine prints a record as kafka-dump-log does.
func (d *dumper) recordLine(b *DumpedBatch, r *DumpedRecord) {
	keys := make([]string, len(r.Headers))
	for i, h := range r.Headers {
		keys[i] = h.Key
	}
	fmt.Fprintf(d.out, "| offset: %d %s: %d keySize: %d valueSize: %d sequence: %d headerKeys: [%s]",
		r.Offset, b.TimestampType, r.Timestamp, r.KeySize, r.ValueSize, r.Sequence, strings.Join(keys, ","))
	if c := r.Control; c != nil {
		if c.CoordinatorEpoch != nil {
			fmt.Fprintf(d.out, " endTxnMarker: %s coordinatorEpoch: %d", c.Type, *c.CoordinatorEpoch)
		} else {
			fmt.Fprintf(d.out, " controlType: %s", c.Type)
		}
	}
	if r.keyText != nil {
		fmt.Fprintf(d.out, " key: %s", *r.keyText)
	}
	if r.valueText != nil {
		fmt.Fprintf(d.out, " payload: %s", *r.valueText)
	}
	fmt.Fprintln(d.out)
}
