package metadata

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/walser-io/walser/internal/model"
)

// Records returns records that make this image out of the empty one, in a fixed order. Their epochs
// are those of the records they stand for, so that only FromRecords accepts them, not Apply.
func (i *Image) Records() []Record {
	var records []Record
	for r := range i.records {
		records = append(records, r)
	}
	return records
}

func (i *Image) records(yield func(Record) bool) {
	if i.controllerEpoch != 0 && !yield(&ActivateControllerRecord{Epoch: i.controllerEpoch}) {
		return
	}
	if i.clusterID != "" && !yield(&ClusterRecord{ID: i.clusterID}) {
		return
	}
	for f := range i.Features() {
		if !yield(&FeatureLevelRecord{Name: f.Name, Level: f.Level, Epoch: i.featuresEpoch}) {
			return
		}
	}
	if i.features.len() == 0 && i.featuresEpoch >= 0 &&
		!yield(&FeatureLevelRecord{Name: removedFeature, Epoch: i.featuresEpoch}) {
		return
	}
	for b := range i.Brokers() {
		if !yield(&RegisterBrokerRecord{
			ID: b.ID, Epoch: b.Epoch, Incarnation: b.Incarnation, Endpoints: b.Endpoints, Rack: b.Rack,
			DirectoryIDs: b.DirectoryIDs, Fenced: b.Fenced, ShuttingDown: b.ShuttingDown,
		}) {
			return
		}
	}
	if i.nextProducerID > 0 &&
		!yield(&ProducerIDsRecord{BrokerID: model.NoBroker, BrokerEpoch: -1, NextID: i.nextProducerID}) {
		return
	}
	for t := range i.Topics() {
		if !yield(&TopicRecord{Name: t.Name, ID: t.ID}) {
			return
		}
		for n, p := range t.Partitions {
			if !yield(&PartitionRecord{TopicID: t.ID, Partition: int32(n), State: p}) {
				return
			}
		}
	}
	for resource, view := range i.Configs() {
		for key, value := range view.All() {
			if !yield(&ConfigRecord{ResourceType: resource.Type, ResourceName: resource.Name, Key: key, Value: &value}) {
				return
			}
		}
	}
}

// removedFeature carries the epoch of the features when none is left.
const removedFeature = "removed"

// FromRecords makes the image at an offset out of what Records returned.
func FromRecords(offset int64, records []Record) (*Image, error) {
	b := newRestore(offset)
	for _, r := range records {
		if err := b.apply(r); err != nil {
			return nil, fmt.Errorf("snapshot at offset %d, %T: %w: %w", offset, r, ErrImpossible, err)
		}
	}
	image, _ := b.finish(offset)
	return image, nil
}

func newRestore(offset int64) *builder {
	b := newBuilder(Empty())
	b.offset, b.restoring = offset, true
	return b
}

const (
	snapshotMagic   = "WSRM"
	snapshotVersion = 1
	// snapshotChunkRecords is how many records are encoded at a time; it bounds what a reader allocates.
	snapshotChunkRecords = 1024
	maxSnapshotChunk     = MaxBatchBytes
)

// WriteSnapshot writes the image as a snapshot: magic, version, offset, chunks of records each behind
// its length, and a zero length as the end. It holds one chunk in memory. Checksums are the store's.
func (i *Image) WriteSnapshot(w io.Writer) error {
	e := encoder{buf: append([]byte(snapshotMagic), snapshotVersion)}
	e.int64(i.offset)
	if _, err := w.Write(e.buf); err != nil {
		return err
	}
	chunk := make([]Record, 0, snapshotChunkRecords)
	flush := func() error {
		body := encoder{buf: e.buf[:0]}
		body.records(chunk)
		e.buf, chunk = body.buf, chunk[:0]
		if _, err := w.Write(binary.AppendUvarint(nil, uint64(len(body.buf)))); err != nil {
			return err
		}
		_, err := w.Write(body.buf)
		return err
	}
	for r := range i.records {
		if chunk = append(chunk, r); len(chunk) == cap(chunk) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(chunk) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	_, err := w.Write([]byte{0})
	return err
}

// ReadSnapshot reads what WriteSnapshot wrote. It allocates in step with what it has read.
func ReadSnapshot(r io.Reader) (*Image, error) {
	in := bufio.NewReader(r)
	head := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, snapshotError("read its head", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic || head[len(snapshotMagic)] != snapshotVersion {
		return nil, fmt.Errorf("%w: snapshot begins with %s", ErrMalformed, strconv.QuoteToASCII(string(head)))
	}
	offset, err := binary.ReadVarint(in)
	if err != nil {
		return nil, snapshotError("read its offset", err)
	}
	if offset < -1 || offset == math.MaxInt64 {
		return nil, fmt.Errorf("%w: snapshot at offset %d", ErrMalformed, offset)
	}
	b := newRestore(offset)
	for {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, snapshotError("read the length of a chunk", err)
		}
		if n == 0 {
			break
		}
		if n > maxSnapshotChunk {
			return nil, fmt.Errorf("%w: snapshot chunk of %d bytes", ErrMalformed, n)
		}
		if err := b.restoreChunk(in, int64(n)); err != nil {
			return nil, err
		}
	}
	image, _ := b.finish(offset)
	return image, nil
}

func (b *builder) restoreChunk(in io.Reader, n int64) error {
	chunk, err := io.ReadAll(io.LimitReader(in, n)) // grows as bytes arrive, not by what is announced
	if err != nil {
		return fmt.Errorf("read a snapshot chunk: %w", err)
	}
	if int64(len(chunk)) < n {
		return snapshotError("read a chunk", io.ErrUnexpectedEOF)
	}
	d := decoder{buf: chunk}
	records := d.records()
	if d.err == nil && len(d.buf) > 0 {
		d.fail("%d bytes after the last record of a snapshot chunk", len(d.buf))
	}
	if d.err != nil {
		return d.err
	}
	for _, r := range records {
		if err := b.apply(r); err != nil {
			return fmt.Errorf("snapshot at offset %d, %T: %w: %w", b.offset, r, ErrImpossible, err)
		}
	}
	return nil
}

// snapshotError tells a snapshot that ends early from one that could not be read.
func snapshotError(doing string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: snapshot ends early (%s)", ErrMalformed, doing)
	}
	return fmt.Errorf("%s of a snapshot: %w", doing, err)
}
