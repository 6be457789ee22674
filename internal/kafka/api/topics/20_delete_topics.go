package topics

// DeleteTopics: v1-6.
//
// Behaviour: a deleted topic is gone from metadata at once, its files follow; its id is never used again.
//
// Versions: v4 flexible; v5 messages; v6 by name or by id (an item with both or neither is
// INVALID_REQUEST; an unknown id UNKNOWN_TOPIC_ID).

import (
	"context"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

type deleteTopics struct{ deps Deps }

func (h *deleteTopics) handle(r *server.Request) server.Outcome {
	r.Go(func(ctx context.Context) {
		req := r.Body.(*wire.DeleteTopicsRequest)
		ctx, cancel := within(ctx, req.TimeoutMs)
		defer cancel()
		resp := r.Response().(*wire.DeleteTopicsResponse)
		var asked []control.DeleteTopic
		for i := range req.TopicNames {
			if name := &req.TopicNames[i]; *name == "" {
				refuse(resp, name, model.TopicID{}, errNoName)
			} else {
				asked = append(asked, control.DeleteTopic{Name: *name})
			}
		}
		for i := range req.Topics {
			switch t := &req.Topics[i]; {
			case (t.Name == nil) == t.TopicID.IsZero():
				refuse(resp, t.Name, t.TopicID, errNameOrID)
			case t.Name == nil:
				asked = append(asked, control.DeleteTopic{ID: t.TopicID})
			case *t.Name == "":
				refuse(resp, t.Name, t.TopicID, errNoName)
			default:
				asked = append(asked, control.DeleteTopic{Name: *t.Name})
			}
		}
		if len(asked) > 0 {
			results, err := h.deps.Controller.DeleteTopics(ctx, asked)
			if err != nil {
				for _, item := range asked {
					addDeleted(resp, control.DeleteTopicResult{Name: item.Name, ID: item.ID, Err: err})
				}
			}
			for _, result := range results {
				addDeleted(resp, result)
			}
		}
		r.Reply(resp)
	})
	return server.Parked
}

var (
	errNameOrID = kafkaerr.New(kafkaerr.InvalidRequest, "a topic to delete is named by its name or by its id")
	errNoName   = kafkaerr.New(kafkaerr.UnknownTopicOrPartition, "no topic has an empty name")
)

// refuse answers for a topic that the controller is not asked about.
func refuse(resp *wire.DeleteTopicsResponse, name *string, id model.TopicID, err error) {
	t := wire.Add(&resp.Responses)
	t.Name, t.TopicID = name, id
	t.ErrorCode, t.ErrorMessage = answer(err)
}

func addDeleted(resp *wire.DeleteTopicsResponse, result control.DeleteTopicResult) {
	t := wire.Add(&resp.Responses)
	if result.Name != "" {
		t.Name = &result.Name
	}
	t.TopicID = result.ID
	t.ErrorCode, t.ErrorMessage = answer(result.Err)
}
