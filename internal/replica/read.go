package replica

import "fmt"

// ReadLocal copies whole batches from offset on into buf, up to the end of the log, committed or not:
// what a coordinator loads. It returns none at the end. A first batch larger than buf is returned in
// memory of its own.
func (r *Replica) ReadLocal(offset int64, buf []byte) ([]byte, error) {
	slice, err := r.log.Read(offset, len(buf), true, r.log.EndOffset())
	if err != nil {
		return nil, asKafkaError(err)
	}
	defer slice.Release()
	if slice.Size > len(buf) {
		buf = make([]byte, slice.Size)
	}
	n, err := slice.CopyTo(buf[:slice.Size])
	if err != nil {
		return nil, fmt.Errorf("read %s at offset %d: %w", r.tp, offset, err)
	}
	return buf[:n], nil
}
