package coordinator_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
)

func TestErrorCode(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want kafkaerr.Code
	}{
		{kafkaerr.UnknownTopicOrPartition, kafkaerr.CoordinatorNotAvailable},
		{kafkaerr.NotEnoughReplicas, kafkaerr.CoordinatorNotAvailable},
		{kafkaerr.NotEnoughReplicasAfterAppend, kafkaerr.CoordinatorNotAvailable},
		{kafkaerr.RequestTimedOut, kafkaerr.CoordinatorNotAvailable},
		{kafkaerr.NotLeaderOrFollower, kafkaerr.NotCoordinator},
		{kafkaerr.KafkaStorageError, kafkaerr.NotCoordinator},
		{kafkaerr.New(kafkaerr.MessageTooLarge, "of an internal topic"), kafkaerr.UnknownServerError},
		{kafkaerr.RecordListTooLarge, kafkaerr.UnknownServerError},
		{kafkaerr.NotCoordinator, kafkaerr.NotCoordinator},
		{fmt.Errorf("append: %w", kafkaerr.NotLeaderOrFollower), kafkaerr.NotCoordinator},
		{errors.New("no code"), kafkaerr.UnknownServerError},
		{nil, kafkaerr.None},
	} {
		if got := coordinator.ErrorCode(tc.err); got != tc.want {
			t.Errorf("ErrorCode(%v) = %v, want %v", tc.err, got, tc.want)
		}
	}
}
