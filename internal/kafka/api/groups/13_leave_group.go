package groups

// LeaveGroup: v0-5.
//
// Behaviour: members go, and the others rebalance. An operator removes a static member by its instance id
// alone, with an empty member id.
//
// Versions: v0-2 one member, whose error stands where the group's does; v3 many members, each with its error
// (KIP-345); v4 flexible; v5 reasons (KIP-800).

import (
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

// leaveManyVersion is the first version with many members.
const leaveManyVersion = 3

type leaveGroup struct{ deps Deps }

func (h *leaveGroup) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.LeaveGroupRequest)
	body := &group.LeaveGroup{GroupID: req.GroupID}
	if r.Version() < leaveManyVersion {
		body.Members = []group.LeavingMember{{MemberID: req.MemberID}}
	}
	for i := range req.Members {
		m := &req.Members[i]
		body.Members = append(body.Members, group.LeavingMember{
			MemberID: m.MemberID, InstanceID: m.GroupInstanceID, Reason: orEmpty(m.Reason),
		})
	}
	h.deps.submitNamed(req.GroupID, body, func(answer any) {
		resp := r.Response().(*wire.LeaveGroupResponse)
		fillLeft(resp, body, answer.(*group.LeaveGroupResponse), r.Version())
		r.Reply(resp)
	})
	return server.Parked
}

func fillLeft(resp *wire.LeaveGroupResponse, body *group.LeaveGroup, answer *group.LeaveGroupResponse, version int16) {
	resp.ErrorCode = answer.Err
	switch {
	case answer.Err != kafkaerr.None:
		return
	case version < leaveManyVersion:
		resp.ErrorCode = answer.Members[0]
		return
	}
	for i, code := range answer.Members {
		m := wire.Add(&resp.Members)
		m.MemberID, m.GroupInstanceID, m.ErrorCode = body.Members[i].MemberID, body.Members[i].InstanceID, code
	}
}
