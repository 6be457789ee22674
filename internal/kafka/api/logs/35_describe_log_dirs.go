package logs

// DescribeLogDirs: v1-5.
//
// Behaviour: one result a log directory, with the size of every replica asked for (null topics are all);
// a directory that is offline has KAFKA_STORAGE_ERROR and no topics.
//
// Versions: v2 flexible; v3 an error of the whole answer; v4 total and usable bytes (KIP-827); v5 cordoned
// directories (KIP-1066), of which there are none.

import (
	"context"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

type describeLogDirs struct{ deps Deps }

func (h *describeLogDirs) handle(r *server.Request) server.Outcome {
	// It asks the file system for space and walks every log: not on the connection's reader.
	r.Go(func(context.Context) {
		wanted := wantedReplicas(r.Body.(*wire.DescribeLogDirsRequest))
		resp := r.Response().(*wire.DescribeLogDirsResponse)
		for _, dir := range h.deps.Replicas.LogDirs() {
			result := wire.Add(&resp.Results)
			result.LogDir = dir.Path
			if dir.Offline != nil {
				result.ErrorCode = kafkaerr.KafkaStorageError
				continue
			}
			result.TotalBytes, result.UsableBytes = dir.TotalBytes, dir.FreeBytes
			var topic *wire.DescribeLogDirsTopic
			for _, replica := range dir.Replicas {
				if wanted != nil && !wanted[replica.TopicPartition] {
					continue
				}
				if topic == nil || topic.Name != replica.TopicPartition.Topic {
					topic = wire.Add(&result.Topics)
					topic.Name = replica.TopicPartition.Topic
				}
				p := wire.Add(&topic.Partitions)
				p.PartitionIndex, p.PartitionSize = replica.TopicPartition.Partition, replica.Size
			}
		}
		r.Reply(resp)
	})
	return server.Parked
}

// wantedReplicas returns the partitions asked for, nil for all.
func wantedReplicas(req *wire.DescribeLogDirsRequest) map[model.TopicPartition]bool {
	if req.Topics == nil {
		return nil
	}
	wanted := map[model.TopicPartition]bool{}
	for i := range req.Topics {
		for _, partition := range req.Topics[i].Partitions {
			wanted[model.TopicPartition{Topic: req.Topics[i].Topic, Partition: partition}] = true
		}
	}
	return wanted
}
