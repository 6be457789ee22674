package groups

// DeleteGroups: v0-3.
//
// Behaviour: groups without members go, with their offsets: NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND. A group
// that is named twice is answered once.
//
// Versions: v2 flexible; v3 room for a message (KIP-1331), which Kafka fills where a plug-in refuses the
// deletion: there is none here.
//
// On purpose other than Kafka: the answer is in the order of the request; Kafka's is that of a hash table.

import (
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

type deleteGroups struct{ deps Deps }

func (h *deleteGroups) handle(r *server.Request) server.Outcome {
	ids := distinct(r.Body.(*wire.DeleteGroupsRequest).GroupsNames)
	codes := make([]kafkaerr.Code, len(ids))
	h.deps.submitAll(ids, func(ids []string) any {
		return &group.DeleteGroups{GroupIDs: ids}
	}, func(shards []groupsOfShard, answers []any) {
		for i, answer := range answers {
			for j, code := range answer.(*group.DeleteGroupsResponse).Groups {
				codes[shards[i].places[j]] = code
			}
		}
		resp := r.Response().(*wire.DeleteGroupsResponse)
		for i, id := range ids {
			result := wire.Add(&resp.Results)
			result.GroupID, result.ErrorCode = id, codes[i]
		}
		r.Reply(resp)
	})
	return server.Parked
}

// distinct returns the ids, each where it stands first.
func distinct(ids []string) []string {
	seen := make(map[string]struct{}, len(ids))
	once := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, again := seen[id]; !again {
			seen[id] = struct{}{}
			once = append(once, id)
		}
	}
	return once
}
