package producerstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// ErrCorrupt is wrapped by every error of DecodeSnapshot and DecodeWindows.
var ErrCorrupt = errors.New("corrupt producer snapshot")

// castagnoli is computed once by the hash/crc32 package; it is read only.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sizes of Kafka's snapshot file.
const (
	snapshotVersion    = 1
	snapshotHeaderSize = 2 + 4 + 4
	snapshotEntrySize  = 46
)

// AppendSnapshot appends the table in the form of Kafka's N.snapshot, version 1: the last batch of each
// producer. Producers are sorted by id, so equal tables give equal bytes.
func (t *Table) AppendSnapshot(dst []byte) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, snapshotVersion)
	dst = binary.BigEndian.AppendUint32(dst, 0) // the CRC, below
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(t.producers)))
	for _, id := range slices.Sorted(maps.Keys(t.producers)) {
		p := t.producers[id]
		last := batch{lastSequence: -1, lastOffset: -1}
		if p.n > 0 {
			last = *p.last()
		}
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
		dst = binary.BigEndian.AppendUint16(dst, uint16(p.epoch))
		dst = binary.BigEndian.AppendUint32(dst, uint32(last.lastSequence))
		dst = binary.BigEndian.AppendUint64(dst, uint64(last.lastOffset))
		dst = binary.BigEndian.AppendUint32(dst, uint32(last.delta))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.lastTimestamp))
		dst = binary.BigEndian.AppendUint32(dst, uint32(p.coordinatorEpoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.txnFirst))
	}
	binary.BigEndian.PutUint32(dst[at+2:], crc32.Checksum(dst[at+6:], castagnoli))
	return dst
}

// DecodeSnapshot reads Kafka's N.snapshot: at most one batch per producer comes back.
func DecodeSnapshot(b []byte) (*Table, error) {
	if len(b) < snapshotHeaderSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	if v := binary.BigEndian.Uint16(b); v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrCorrupt, v, snapshotVersion)
	}
	if crc32.Checksum(b[6:], castagnoli) != binary.BigEndian.Uint32(b[2:]) {
		return nil, fmt.Errorf("%w: the checksum does not match", ErrCorrupt)
	}
	count, b := int64(int32(binary.BigEndian.Uint32(b[6:]))), b[snapshotHeaderSize:]
	if count < 0 || count*snapshotEntrySize != int64(len(b)) {
		return nil, fmt.Errorf("%w: %d producers in %d bytes", ErrCorrupt, count, len(b))
	}
	t := &Table{}
	for ; len(b) > 0; b = b[snapshotEntrySize:] {
		p := &producer{
			epoch:            int16(binary.BigEndian.Uint16(b[8:])),
			lastTimestamp:    int64(binary.BigEndian.Uint64(b[26:])),
			coordinatorEpoch: int32(binary.BigEndian.Uint32(b[34:])),
			txnFirst:         int64(binary.BigEndian.Uint64(b[38:])),
		}
		if last := int64(binary.BigEndian.Uint64(b[14:])); last >= 0 {
			p.n = 1
			p.batches[0] = batch{int32(binary.BigEndian.Uint32(b[10:])), int32(binary.BigEndian.Uint32(b[22:])), last, p.lastTimestamp}
		}
		if err := t.restore(int64(binary.BigEndian.Uint64(b)), p); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// The side file N.producers: up to five batches per producer. docs/formats/producer-state.md has the picture.
const (
	windowsMagic      = "WLPS"
	windowsVersion    = 0
	windowsHeaderSize = 4 + 4 + 2 + 8 + 4
	windowsEntrySize  = 8 + 2 + 4 + 8 + 8 + 1
	windowsBatchSize  = 4 + 4 + 8 + 8
)

// AppendWindows appends the table in the form of the side file N.producers. nextOffset is N: the offset
// after the last record that the table has seen.
func (t *Table) AppendWindows(dst []byte, nextOffset int64) []byte {
	at := len(dst)
	dst = append(dst, windowsMagic...)
	dst = binary.BigEndian.AppendUint32(dst, 0) // the CRC, below
	dst = binary.BigEndian.AppendUint16(dst, windowsVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(nextOffset))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(t.producers)))
	for _, id := range slices.Sorted(maps.Keys(t.producers)) {
		p := t.producers[id]
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
		dst = binary.BigEndian.AppendUint16(dst, uint16(p.epoch))
		dst = binary.BigEndian.AppendUint32(dst, uint32(p.coordinatorEpoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.lastTimestamp))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.txnFirst))
		dst = append(dst, byte(p.n))
		for _, b := range p.batches[:p.n] {
			dst = binary.BigEndian.AppendUint32(dst, uint32(b.lastSequence))
			dst = binary.BigEndian.AppendUint32(dst, uint32(b.delta))
			dst = binary.BigEndian.AppendUint64(dst, uint64(b.lastOffset))
			dst = binary.BigEndian.AppendUint64(dst, uint64(b.timestamp))
		}
	}
	binary.BigEndian.PutUint32(dst[at+4:], crc32.Checksum(dst[at+8:], castagnoli))
	return dst
}

// DecodeWindows reads what AppendWindows wrote; it refuses a file that was written for another offset.
func DecodeWindows(b []byte, nextOffset int64) (*Table, error) {
	if len(b) < windowsHeaderSize || string(b[:4]) != windowsMagic {
		return nil, fmt.Errorf("%w: no %q at the start of %d bytes", ErrCorrupt, windowsMagic, len(b))
	}
	if crc32.Checksum(b[8:], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return nil, fmt.Errorf("%w: the checksum does not match", ErrCorrupt)
	}
	if v := binary.BigEndian.Uint16(b[8:]); v != windowsVersion {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrCorrupt, v, windowsVersion)
	}
	if n := int64(binary.BigEndian.Uint64(b[10:])); n != nextOffset {
		return nil, fmt.Errorf("%w: it was taken at offset %d, want %d", ErrCorrupt, n, nextOffset)
	}
	count, b := binary.BigEndian.Uint32(b[18:]), b[windowsHeaderSize:]
	t := &Table{}
	for range count {
		if len(b) < windowsEntrySize || int(b[30]) > Window || len(b) < windowsEntrySize+int(b[30])*windowsBatchSize {
			return nil, fmt.Errorf("%w: %d producers announced, cut after %d", ErrCorrupt, count, len(t.producers))
		}
		id := int64(binary.BigEndian.Uint64(b))
		p := &producer{
			epoch:            int16(binary.BigEndian.Uint16(b[8:])),
			coordinatorEpoch: int32(binary.BigEndian.Uint32(b[10:])),
			lastTimestamp:    int64(binary.BigEndian.Uint64(b[14:])),
			txnFirst:         int64(binary.BigEndian.Uint64(b[22:])),
			n:                int8(b[30]),
		}
		b = b[windowsEntrySize:]
		for i := range p.n {
			p.batches[i] = batch{
				int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:])),
				int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:])),
			}
			b = b[windowsBatchSize:]
		}
		if err := t.restore(id, p); err != nil {
			return nil, err
		}
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the last producer", ErrCorrupt, len(b))
	}
	return t, nil
}

func (t *Table) restore(id int64, p *producer) error {
	if id < 0 || t.producers[id] != nil {
		return fmt.Errorf("%w: producer id %d is negative or listed twice", ErrCorrupt, id)
	}
	if t.producers == nil {
		t.producers = make(map[int64]*producer)
	}
	p.txnFirst = max(p.txnFirst, -1)
	t.producers[id] = p
	if p.txnFirst >= 0 {
		t.ongoing = insert(t.ongoing, txn{producerID: id, first: p.txnFirst})
	}
	return nil
}
