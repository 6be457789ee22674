package groups

// FindCoordinator: v0-6.
//
// Behaviour: the coordinator of a group is the leader of the partition of __consumer_offsets that the id
// hashes to, named by its endpoint on the listener of the request. Where there is none to name the answer is
// COORDINATOR_NOT_AVAILABLE; where the topic itself is missing, its creation begins.
//
// Versions: v0 groups only; v1 types and a message, "NONE" where all is well as Kafka has it; v3 flexible; v4
// many keys of one type (KIP-699), each with its error; v5 and v6 say what clients understand (KIP-890,
// KIP-932). An error names node -1 at port -1.
//
// On purpose other than Kafka: transaction and share coordinators are not served yet, which is
// INVALID_REQUEST with a message. Messages of errors are our own.

import (
	"context"
	"errors"
	"fmt"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
	"github.com/walser-io/walser/internal/xsync"
)

// findManyVersion is the first version with many keys.
const findManyVersion = 4

// The types of coordinators.
const (
	coordinatorOfGroup       int8 = 0
	coordinatorOfTransaction int8 = 1
	coordinatorOfShare       int8 = 2
)

type findCoordinator struct {
	deps     Deps
	creating struct {
		xsync.Mutex
		underWay bool // the creation of the topic of groups
	}
}

func (h *findCoordinator) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.FindCoordinatorRequest)
	resp := r.Response().(*wire.FindCoordinatorResponse)
	if r.Version() < findManyVersion {
		node, err := h.find(r, req.KeyType, req.CoordinatorKey)
		resp.NodeID, resp.Host, resp.Port = int32(node.id), node.at.Host, node.at.Port
		resp.ErrorCode = kafkaerr.CodeOf(err)
		message := resp.ErrorCode.Error()
		if err != nil {
			message = kafkaerr.MessageOf(err)
		}
		resp.ErrorMessage = &message
		r.Reply(resp)
		return server.Done
	}
	for _, key := range req.CoordinatorKeys {
		node, err := h.find(r, req.KeyType, key)
		c := wire.Add(&resp.Coordinators)
		c.Key, c.NodeID, c.Host, c.Port = key, int32(node.id), node.at.Host, node.at.Port
		message := kafkaerr.MessageOf(err)
		c.ErrorCode, c.ErrorMessage = kafkaerr.CodeOf(err), &message
	}
	r.Reply(resp)
	return server.Done
}

// coordinatorNode is a broker as clients reach it.
type coordinatorNode struct {
	id model.BrokerID
	at model.Endpoint
}

var noNode = coordinatorNode{id: model.NoBroker, at: model.Endpoint{Port: -1}}

// find returns the coordinator for a key, or an error with a message.
func (h *findCoordinator) find(r *server.Request, keyType int8, key string) (coordinatorNode, error) {
	switch keyType {
	case coordinatorOfGroup:
	case coordinatorOfTransaction:
		return noNode, kafkaerr.New(kafkaerr.InvalidRequest, "This broker does not serve transactions yet.")
	case coordinatorOfShare:
		return noNode, kafkaerr.New(kafkaerr.InvalidRequest, "This broker does not serve share groups yet.")
	default:
		return noNode, kafkaerr.New(kafkaerr.InvalidRequest, "There is no coordinator type %d.", keyType)
	}
	topic, ok := h.deps.Image().Topic(model.GroupMetadataTopic)
	if !ok {
		h.create(r)
		return noNode, kafkaerr.New(kafkaerr.CoordinatorNotAvailable, "The topic %s is being created.", model.GroupMetadataTopic)
	}
	partition := shardIn(topic, key)
	node, err := h.reach(topic.Partitions[partition].Leader, r.Listener().Name)
	if err != nil {
		return noNode, kafkaerr.New(kafkaerr.CoordinatorNotAvailable, "Partition %s-%d has no leader to name: %v.", topic.Name, partition, err)
	}
	return node, nil
}

// reach returns a broker as the clients of a listener reach it.
func (h *findCoordinator) reach(id model.BrokerID, listener string) (coordinatorNode, error) {
	broker, ok := h.deps.Image().Broker(id)
	if !ok || broker.Fenced {
		return noNode, errors.New("none is alive")
	}
	at, ok := broker.Endpoint(listener)
	if !ok {
		return noNode, fmt.Errorf("broker %v has no listener %s", broker.ID, listener)
	}
	return coordinatorNode{broker.ID, at}, nil
}

// create starts the creation of the topic of groups unless it is under way. Its outcome shows in the image:
// clients ask again.
func (h *findCoordinator) create(r *server.Request) {
	if !h.beginCreation() {
		return
	}
	r.Go(func(ctx context.Context) {
		defer func() {
			h.creating.Lock()
			h.creating.underWay = false
			h.creating.Unlock()
		}()
		// An error is the controller's to log; the client sees that the topic is still missing.
		_ = h.deps.CreateInternalTopic(ctx, model.GroupMetadataTopic)
	})
}

// beginCreation reports whether the topic is missing, and nobody creates it. It looks at the image again: a
// creation may have ended since the caller did.
func (h *findCoordinator) beginCreation() bool {
	h.creating.Lock()
	defer h.creating.Unlock()
	if _, exists := h.deps.Image().Topic(model.GroupMetadataTopic); exists || h.creating.underWay {
		return false
	}
	h.creating.underWay = true
	return true
}
