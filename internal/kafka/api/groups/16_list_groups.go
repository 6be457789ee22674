package groups

// ListGroups: v0-5.
//
// Behaviour: the groups that this broker coordinates, by id; clients ask every broker. One shard that cannot
// answer fails the list, except one that has just moved away.
//
// Versions: v3 flexible; v4 states and a filter by them (KIP-518); v5 types and a filter by them (KIP-848).
// Filters do not regard case.
//
// On purpose other than Kafka: the order; Kafka's is that of a hash table.

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

type listGroups struct{ deps Deps }

func (h *listGroups) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.ListGroupsRequest)
	if h.isRecovering() {
		resp := r.Response().(*wire.ListGroupsResponse)
		resp.ErrorCode = kafkaerr.CoordinatorLoadInProgress
		r.Reply(resp)
		return server.Done
	}
	body := &group.ListGroups{States: slices.Clone(req.StatesFilter), Types: slices.Clone(req.TypesFilter)}
	h.deps.Coordinators.Gather(model.GroupMetadataTopic, body, func(answers []any) {
		count := 0
		for _, answer := range answers {
			count += len(answer.(*group.ListGroupsResponse).Groups)
		}
		if !r.Reserve(count * listedBytes) {
			r.CloseConnection(fmt.Errorf("list %d groups: %w", count, server.ErrNoMemory))
			return
		}
		resp := r.Response().(*wire.ListGroupsResponse)
		fillListed(resp, answers)
		r.Reply(resp)
	})
	return server.Parked
}

// listedBytes is about what a group takes in the answers of its shard and of this API, and in the encoding.
const listedBytes = 256

// isRecovering reports whether groups of this broker cannot be seen yet, because the log of their shard is
// not recovered.
func (h *listGroups) isRecovering() bool {
	topic, ok := h.deps.Image().Topic(model.GroupMetadataTopic)
	if !ok {
		return false
	}
	for i := range topic.Partitions {
		if h.deps.Recovering(topic.ID, int32(i)) {
			return true
		}
	}
	return false
}

func fillListed(resp *wire.ListGroupsResponse, answers []any) {
	var listed []group.ListedGroup
	for _, answer := range answers {
		shard := answer.(*group.ListGroupsResponse)
		switch shard.Err {
		case kafkaerr.None, kafkaerr.NotCoordinator:
			listed = append(listed, shard.Groups...)
		default:
			resp.ErrorCode = shard.Err
			return
		}
	}
	slices.SortFunc(listed, func(a, b group.ListedGroup) int { return cmp.Compare(a.GroupID, b.GroupID) })
	for _, g := range listed {
		l := wire.Add(&resp.Groups)
		l.GroupID, l.ProtocolType, l.GroupState, l.GroupType = g.GroupID, g.ProtocolType, g.State, g.Type
	}
}
