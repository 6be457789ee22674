package differential

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/walser-io/walser/internal/record"
)

// buildBatch makes the bytes of batch{...}: a sound batch of records, and then the header fields that the
// script sets to something else. The checksum is right unless crc is set, so that each fault is tested alone.
func buildBatch(o object, resolve func(any) (any, error)) ([]byte, error) {
	opts := record.BuilderOptions{BaseSequence: record.NoSequence}
	ts := int64(1_700_000_000_000)
	values := []any{}
	var key []byte
	patch := func([]byte) {}
	var appended []byte
	sound := true
	for _, f := range o {
		v, err := resolve(f.value)
		if err != nil {
			return nil, err
		}
		n, _ := v.(int64)
		set := func(put func(b []byte)) {
			before := patch
			patch = func(b []byte) { before(b); put(b) }
		}
		switch f.name {
		case "records":
			values, _ = v.([]any)
		case "key":
			key = bytesOf(v)
		case "codec":
			if opts.Codec, err = record.ParseCodec(v.(string)); err != nil {
				return nil, err
			}
		case "ts":
			ts = n
		case "pid":
			opts.Idempotent, opts.ProducerID, opts.BaseSequence = true, n, max(opts.BaseSequence, 0)
		case "epoch":
			opts.ProducerEpoch = int16(n)
		case "seq":
			if opts.BaseSequence = int32(n); n < 0 {
				set(func(b []byte) { binary.BigEndian.PutUint32(b[53:], uint32(n)) })
			}
		case "base":
			set(func(b []byte) { binary.BigEndian.PutUint64(b, uint64(n)) })
		case "length":
			set(func(b []byte) { binary.BigEndian.PutUint32(b[8:], uint32(n)) })
		case "leaderEpoch":
			set(func(b []byte) { binary.BigEndian.PutUint32(b[12:], uint32(n)) })
		case "magic":
			set(func(b []byte) { b[16] = byte(n) })
		case "attributes":
			set(func(b []byte) { binary.BigEndian.PutUint16(b[21:], uint16(n)) })
		case "lastDelta":
			set(func(b []byte) { binary.BigEndian.PutUint32(b[23:], uint32(n)) })
		case "maxTs":
			set(func(b []byte) { binary.BigEndian.PutUint64(b[35:], uint64(n)) })
		case "count":
			set(func(b []byte) { binary.BigEndian.PutUint32(b[57:], uint32(n)) })
		case "body": // the records as bytes
			set(func(b []byte) { copy(b[record.HeaderSize:], bytesOf(v)) })
		case "append": // more bytes inside the batch
			appended = bytesOf(v)
		case "crc":
			sound = false
		default:
			return nil, fmt.Errorf("batch has no field %q", f.name)
		}
	}
	builder := record.NewBuilder(opts)
	for _, v := range values {
		v, err := resolve(v)
		if err != nil {
			return nil, err
		}
		recordTs, recordKey := ts, key
		if o, ok := v.(object); ok { // {ts: 5, key: "k", value: "v"}
			v = nil
			for _, f := range o {
				switch f.name {
				case "ts":
					recordTs = f.value.(int64)
				case "key":
					recordKey = bytesOf(f.value)
				case "value":
					v = f.value
				}
			}
		}
		builder.Append(recordTs, recordKey, bytesOf(v), nil)
	}
	var b []byte
	if len(values) == 0 {
		b = make([]byte, record.HeaderSize)
		b[16] = 2
		binary.BigEndian.PutUint32(b[23:], ^uint32(0))
		copy(b[43:], []byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	} else {
		built, err := builder.Build(nil)
		if err != nil {
			return nil, err
		}
		b = built
	}
	b = append(b, appended...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	patch(b)
	crc := crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli))
	if !sound {
		crc ^= 1
	}
	binary.BigEndian.PutUint32(b[17:], crc)
	return b, nil
}

func bytesOf(v any) []byte {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	return nil
}

// renderRecords shows stored batches as the script writes them, with what the broker set.
func renderRecords(b []byte) string {
	var out []string
	for len(b) > 0 {
		batch, rest, err := record.ParseBatch(b)
		if err != nil {
			out = append(out, fmt.Sprintf("a part of %d bytes", len(b)))
			break
		}
		b = rest
		var s strings.Builder
		fmt.Fprintf(&s, "batch{base: %d, leaderEpoch: %d, attributes: %d", batch.BaseOffset(), batch.PartitionLeaderEpoch(), batch.Attributes())
		if batch.HasProducer() {
			fmt.Fprintf(&s, ", epoch: %d, seq: %d", batch.ProducerEpoch(), batch.BaseSequence())
		}
		fmt.Fprintf(&s, ", lastDelta: %d, maxTs: %s, crc: %t, records: [", batch.LastOffsetDelta(), timeText(batch.MaxTimestamp()), batch.CheckCRC())
		it := batch.Records(record.NewScratch(record.Limits{}))
		for first := true; ; first = false {
			r, ok := it.Next()
			if !ok {
				break
			}
			if !first {
				s.WriteString(", ")
			}
			fmt.Fprintf(&s, "%d: %.40q", r.Offset, r.Value)
		}
		if it.Err() != nil {
			s.WriteString(", malformed")
		}
		out = append(out, s.String()+"]}")
	}
	return "[" + strings.Join(out, ", ") + "]"
}
