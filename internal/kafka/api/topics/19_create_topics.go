package topics

// CreateTopics: v2-7.
//
// Behaviour: topics are created one by one, those that can be; validateOnly answers as if. The answer
// comes when this broker's metadata holds them.
//
// Versions: v4 defaults by -1 (KIP-464); v5 flexible, answers with numbers and effective configs
// (KIP-525); v6 quotas of mutations (KIP-599); v7 topic ids (KIP-516).
//
// On purpose other than Kafka: none.

import (
	"context"
	"slices"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

type createTopics struct{ deps Deps }

func (h *createTopics) handle(r *server.Request) server.Outcome {
	r.Go(func(ctx context.Context) {
		req := r.Body.(*wire.CreateTopicsRequest)
		ctx, cancel := within(ctx, req.TimeoutMs)
		defer cancel()
		asked := control.CreateTopics{ValidateOnly: req.ValidateOnly}
		for i := range req.Topics {
			asked.Topics = append(asked.Topics, newTopic(&req.Topics[i]))
		}
		results, err := h.deps.Controller.CreateTopics(ctx, asked)
		resp := r.Response().(*wire.CreateTopicsResponse)
		if err != nil {
			for i := range req.Topics {
				t := wire.Add(&resp.Topics)
				t.Name = req.Topics[i].Name
				t.ErrorCode, t.ErrorMessage = answer(err)
			}
		}
		for _, result := range results {
			h.add(resp, result, asked.Topics, r.Version())
		}
		r.Reply(resp)
	})
	return server.Parked
}

func newTopic(t *wire.CreatableTopic) control.NewTopic {
	topic := control.NewTopic{Name: t.Name, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	for i := range t.Assignments {
		a := &t.Assignments[i]
		topic.Assignments = append(topic.Assignments, control.Assignment{Partition: a.PartitionIndex, Brokers: brokers(a.BrokerIDs)})
	}
	for i := range t.Configs {
		topic.Configs = append(topic.Configs, control.ConfigEntry{Name: t.Configs[i].Name, Value: t.Configs[i].Value})
	}
	return topic
}

func brokers(numbers []int32) []model.BrokerID {
	ids := make([]model.BrokerID, len(numbers))
	for i, n := range numbers {
		ids[i] = model.BrokerID(n)
	}
	return ids
}

func (h *createTopics) add(resp *wire.CreateTopicsResponse, result control.TopicResult, asked []control.NewTopic, version int16) {
	t := wire.Add(&resp.Topics)
	t.Name = result.Name
	t.ErrorCode, t.ErrorMessage = answer(result.Err)
	if result.Err != nil || version < 5 {
		return
	}
	t.TopicID, t.NumPartitions, t.ReplicationFactor = result.ID, result.Partitions, result.ReplicationFactor
	overrides := map[string]string{}
	at := slices.IndexFunc(asked, func(topic control.NewTopic) bool { return topic.Name == result.Name })
	for _, config := range asked[at].Configs {
		overrides[config.Name] = *config.Value // the controller refuses null
	}
	for _, entry := range h.deps.Describe(overrides) {
		c := wire.Add(&t.Configs)
		c.Name, c.Value, c.ReadOnly = entry.Name, entry.Value, entry.ReadOnly
		c.ConfigSource, c.IsSensitive = int8(entry.Source), entry.Sensitive
	}
}
