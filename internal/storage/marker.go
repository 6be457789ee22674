package storage

import (
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/producerstate"
)

// marker reads the end of a transaction from a control batch; false if it holds none.
func marker(b record.Batch, transactionVersion int16) (producerstate.Marker, bool) {
	if b.Count() == 0 {
		return producerstate.Marker{}, false
	}
	it := b.Records(nil) // control batches are never compressed
	r, ok := it.Next()
	if !ok {
		return producerstate.Marker{}, false
	}
	end, err := record.ParseEndTxnMarker(r)
	if err != nil {
		return producerstate.Marker{}, false
	}
	return producerstate.Marker{
		ProducerID: b.ProducerID(), Epoch: b.ProducerEpoch(), CoordinatorEpoch: end.CoordinatorEpoch,
		Offset: b.LastOffset(), Timestamp: b.BaseTimestamp() + r.TimestampDelta,
		Abort: end.Type == record.ControlAbort, TransactionVersion: transactionVersion,
	}, true
}
