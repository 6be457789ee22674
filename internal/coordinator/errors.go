package coordinator

import "github.com/walser-io/walser/internal/kafkaerr"

// ErrorCode returns what a client of a coordinator is answered when the coordinator's own append or
// commit ended with err: it must look for its coordinator again (NOT_COORDINATOR), or try again
// (COORDINATOR_NOT_AVAILABLE), and never sees the errors of a partition that it did not name.
func ErrorCode(err error) kafkaerr.Code {
	switch code := kafkaerr.CodeOf(err); code {
	case kafkaerr.UnknownTopicOrPartition, kafkaerr.NotEnoughReplicas, kafkaerr.NotEnoughReplicasAfterAppend,
		kafkaerr.RequestTimedOut:
		return kafkaerr.CoordinatorNotAvailable
	case kafkaerr.NotLeaderOrFollower, kafkaerr.KafkaStorageError:
		return kafkaerr.NotCoordinator
	case kafkaerr.MessageTooLarge, kafkaerr.RecordListTooLarge, kafkaerr.InvalidFetchSize:
		return kafkaerr.UnknownServerError
	case kafkaerr.NetworkException:
		return kafkaerr.CoordinatorLoadInProgress
	default:
		return code
	}
}
