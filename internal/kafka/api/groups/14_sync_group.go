package groups

// SyncGroup: v0-5.
//
// Behaviour: the leader brings everyone's assignment; every member's answer is its own, and comes when the
// assignment is committed. A peer that hangs up waits no longer.
//
// Versions: v3 static members (KIP-345); v4 flexible; v5 protocol type and name, both required
// (INCONSISTENT_GROUP_PROTOCOL) and compared with the group's (KIP-559).

import (
	"slices"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

// syncProtocolVersion is the first version that names the protocol.
const syncProtocolVersion = 5

type syncGroup struct{ deps Deps }

func (h *syncGroup) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.SyncGroupRequest)
	if r.Version() >= syncProtocolVersion && (req.ProtocolType == nil || req.ProtocolName == nil) {
		resp := r.Response().(*wire.SyncGroupResponse)
		resp.ErrorCode = kafkaerr.InconsistentGroupProtocol
		r.Reply(resp)
		return server.Done
	}
	body := &group.SyncGroup{
		GroupID: req.GroupID, MemberID: req.MemberID, InstanceID: req.GroupInstanceID, Generation: req.GenerationID,
		ProtocolType: req.ProtocolType, ProtocolName: req.ProtocolName,
		Assignments: make([]group.Assignment, len(req.Assignments)),
	}
	for i := range req.Assignments {
		a := &req.Assignments[i]
		body.Assignments[i] = group.Assignment{MemberID: a.MemberID, Assignment: slices.Clone(a.Assignment)}
	}
	h.deps.submitParked(r, req.GroupID, body, func(answer any) {
		resp := r.Response().(*wire.SyncGroupResponse)
		synced := answer.(*group.SyncGroupResponse)
		resp.ErrorCode, resp.Assignment = synced.Err, synced.Assignment
		resp.ProtocolType, resp.ProtocolName = optional(synced.ProtocolType), optional(synced.ProtocolName)
		r.Reply(resp)
	})
	return server.Parked
}
