package replica

import (
	"errors"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/storage"
)

// storageErrors is where storage's errors become Kafka's.
var storageErrors = []struct {
	from error
	to   kafkaerr.Code
}{
	{storage.ErrFenced, kafkaerr.NotLeaderOrFollower},
	{storage.ErrOffsetOutOfRange, kafkaerr.OffsetOutOfRange},
	{storage.ErrOutOfOrderSequence, kafkaerr.OutOfOrderSequenceNumber},
	{storage.ErrInvalidProducerEpoch, kafkaerr.InvalidProducerEpoch},
	{storage.ErrRecordListTooLarge, kafkaerr.RecordListTooLarge},
	{storage.ErrClosed, kafkaerr.NotLeaderOrFollower}, // deleted since the replica was looked up, or the node stops
	{storage.ErrOffline, kafkaerr.KafkaStorageError},
	{storage.ErrNoSpace, kafkaerr.KafkaStorageError},
	{storage.ErrCorruptSegment, kafkaerr.CorruptMessage}, // where the log is not offline for it
}

// asKafkaError gives an error that a client can be answered with. An error that carries a code keeps it,
// one of storage's gets its own, and what is left is a disk that did not do as told.
func asKafkaError(err error) error {
	var code kafkaerr.Code
	if err == nil || errors.As(err, &code) {
		return err
	}
	for _, known := range storageErrors {
		if errors.Is(err, known.from) {
			return known.to
		}
	}
	return kafkaerr.KafkaStorageError
}
