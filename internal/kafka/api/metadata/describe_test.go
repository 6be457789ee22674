package metadata_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// A page begins at the cursor, wherever that stands.
func TestDescribeTopicPartitions_Pages(t *testing.T) {
	records := []metadata.Record{&metadata.RegisterBrokerRecord{ID: 1, Incarnation: model.UUID{9}}}
	for n, name := range []string{"t", "u"} {
		id := model.UUID{byte(n + 1)}
		records = append(records, &metadata.TopicRecord{Name: name, ID: id})
		for i := range int32(3) {
			records = append(records, &metadata.PartitionRecord{TopicID: id, Partition: i, State: metadata.Partition{
				Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1,
			}})
		}
	}
	img, _, err := metadata.Empty().Apply(metadata.Empty().Offset()+1, records)
	if err != nil {
		t.Fatal(err)
	}
	send := serve(t, server.Config{}, img, nil)
	for _, tc := range []struct {
		cursor, limit int32
		want          string
	}{
		{0, 2, "t [0 1], next t-2"},
		{1, 2, "t [1 2], next u-0"},
		{1, 3, "t [1 2], u [0], next u-1"},
		{1, math.MaxInt32, "t [1 2], u [0 1 2]"},
		{3, 2, "t [], u [0 1], next u-2"},
		{math.MaxInt32, 1, "t [], u [0], next u-1"},
		{math.MaxInt32 - 1, math.MaxInt32, "t [], u [0 1 2]"},
	} {
		answer := send(0, &wire.DescribeTopicPartitionsRequest{
			ResponsePartitionLimit: tc.limit,
			Cursor:                 &wire.DescribeTopicPartitionsRequestCursor{TopicName: "t", PartitionIndex: tc.cursor},
		})
		var r wire.Reader
		r.Reset(answer)
		wire.DecodeResponseHeader(&r, wire.KeyDescribeTopicPartitions, 0)
		resp := &wire.DescribeTopicPartitionsResponse{}
		resp.Reset()
		if resp.Decode(&r, 0); r.Err() != nil {
			t.Fatal(r.Err())
		}
		var page []string
		for _, topic := range resp.Topics {
			indexes := []int32{}
			for i := range topic.Partitions {
				indexes = append(indexes, topic.Partitions[i].PartitionIndex)
			}
			page = append(page, fmt.Sprintf("%s %v", *topic.Name, indexes))
		}
		if next := resp.NextCursor; next != nil {
			page = append(page, fmt.Sprintf("next %s-%d", next.TopicName, next.PartitionIndex))
		}
		if got := strings.Join(page, ", "); got != tc.want {
			t.Errorf("%d from %d on: %s, want %s", tc.limit, tc.cursor, got, tc.want)
		}
	}
}

// An answer for which there is no memory is not made, whether the topic is named or all are asked for.
func TestMetadata_IsPaidFor(t *testing.T) {
	records := []metadata.Record{&metadata.TopicRecord{Name: "t", ID: model.UUID{1}}}
	for i := range int32(5000) {
		records = append(records, &metadata.PartitionRecord{TopicID: model.UUID{1}, Partition: i, State: metadata.Partition{
			Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1,
		}})
	}
	img, _, err := metadata.Empty().Apply(metadata.Empty().Offset()+1, records)
	if err != nil {
		t.Fatal(err)
	}
	named, byID := wire.MetadataRequestTopic{Name: []byte("t")}, wire.MetadataRequestTopic{TopicID: model.UUID{1}}
	for name, topics := range map[string][]wire.MetadataRequestTopic{"all": nil, "by name": {named}, "by id": {byID}} {
		t.Run(name, func(t *testing.T) {
			for _, tc := range []struct {
				budget   int64
				answered bool
			}{{1 << 20, false}, {16 << 20, true}} {
				send := serve(t, server.Config{QueuedMaxRequestBytes: tc.budget}, img, nil)
				req := &wire.MetadataRequest{}
				req.Reset()
				req.Topics = topics
				if got := send(12, req); (got != nil) != tc.answered {
					t.Errorf("with a budget of %d bytes the answer has %d", tc.budget, len(got))
				}
			}
		})
	}
}
