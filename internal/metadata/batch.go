package metadata

import "fmt"

// batchVersion is the version of the frame around a batch's records.
const batchVersion = 1

// MaxBatchBytes bounds an encoded batch. A batch is atomic, so the largest one is what restarts a
// broker: one PartitionChangeRecord, some 25 bytes, for each partition that it led.
const MaxBatchBytes = 16 << 20

// Fence is what a batch was decided on. The batch has an effect only where both still hold.
type Fence struct {
	ControllerEpoch int32 // of the controller that decided
	Offset          int64 // of the (speculative) image that it looked at
}

// EncodeBatch returns records, to be committed as one, behind their fence.
func EncodeBatch(records []Record, fence Fence) ([]byte, error) {
	e := encoder{buf: make([]byte, 0, 32+48*len(records))}
	e.buf = append(e.buf, batchVersion)
	e.int32(fence.ControllerEpoch)
	e.int64(fence.Offset)
	e.records(records)
	if len(e.buf) > MaxBatchBytes {
		return nil, fmt.Errorf("metadata batch of %d records takes %d bytes, more than %d", len(records), len(e.buf), MaxBatchBytes)
	}
	return e.buf, nil
}

// DecodeBatch reads what EncodeBatch wrote. What it returns does not alias b. The error is
// ErrMalformed; a record kind or version of a later release is one too.
func DecodeBatch(b []byte) ([]Record, Fence, error) {
	d := decoder{buf: b}
	if v := d.take(1); len(v) == 1 && v[0] != batchVersion {
		d.fail("batch version %d, this release reads %d", v[0], batchVersion)
	}
	fence := Fence{ControllerEpoch: d.int32(), Offset: d.int64()}
	records := d.records()
	if d.err == nil && len(d.buf) > 0 {
		d.fail("%d bytes after the last record", len(d.buf))
	}
	if d.err != nil {
		return nil, Fence{}, d.err
	}
	return records, fence, nil
}

// records writes a count, then each record as length, kind, version, fields.
func (e *encoder) records(records []Record) {
	e.count(len(records))
	body := encoder{buf: make([]byte, 0, 256)}
	for _, r := range records {
		body.buf = append(body.buf[:0], byte(r.kind()), 0)
		r.encode(&body)
		e.count(len(body.buf))
		e.buf = append(e.buf, body.buf...)
	}
}

func (d *decoder) records() []Record {
	const minRecordBytes = 4 // length, kind, version, and every record has a field
	n := d.count(minRecordBytes)
	records := make([]Record, 0, n)
	for i := range n {
		body := decoder{buf: d.take(d.count(1))}
		head := body.take(2)
		if d.err != nil || body.err != nil {
			d.fail("record %d is cut short", i)
			return nil
		}
		r := newRecord(recordKind(head[0]))
		if r == nil || head[1] != 0 {
			d.fail("record %d is of kind %d version %d, which this release does not know", i, head[0], head[1])
			return nil
		}
		r.decode(&body)
		if body.err == nil && len(body.buf) > 0 {
			body.fail("%d bytes after its last field", len(body.buf))
		}
		if body.err != nil {
			d.err = fmt.Errorf("record %d, %T: %w", i, r, body.err)
			return nil
		}
		records = append(records, r)
	}
	return records
}
