package groups

// JoinGroup: v0-9.
//
// Behaviour: the answer comes when the rebalance has gathered its members, and may take as long as the
// longest rebalance timeout among them. The leader's holds everyone's metadata. A peer that hangs up has not
// joined.
//
// Versions: v1 rebalance timeout, which before it is the session timeout (KIP-62); v4 members without an id
// are given one and sent back with MEMBER_ID_REQUIRED (KIP-394); v5 static members (KIP-345); v6 flexible; v7
// protocol type, and a protocol name that is null instead of empty where there is none (KIP-559); v8 reasons
// (KIP-800); v9 skip_assignment (KIP-814).

import (
	"slices"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// joinNullProtocolVersion is the first version in which there may be no protocol name.
const joinNullProtocolVersion = 7

type joinGroup struct{ deps Deps }

func (h *joinGroup) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.JoinGroupRequest)
	body := &group.JoinGroup{
		Version: r.Version(), GroupID: req.GroupID, MemberID: req.MemberID, InstanceID: req.GroupInstanceID,
		ClientID: r.ClientID(), ClientHost: r.ClientHost(),
		SessionTimeoutMs: req.SessionTimeoutMs, RebalanceTimeoutMs: req.RebalanceTimeoutMs,
		ProtocolType: req.ProtocolType, Protocols: make([]group.Protocol, len(req.Protocols)), Reason: orEmpty(req.Reason),
	}
	for i := range req.Protocols {
		body.Protocols[i] = group.Protocol{Name: req.Protocols[i].Name, Metadata: slices.Clone(req.Protocols[i].Metadata)}
	}
	h.deps.submitParked(r, req.GroupID, body, func(answer any) {
		resp := r.Response().(*wire.JoinGroupResponse)
		fillJoined(resp, answer.(*group.JoinGroupResponse), r.Version())
		r.Reply(resp)
	})
	return server.Parked
}

func fillJoined(resp *wire.JoinGroupResponse, answer *group.JoinGroupResponse, version int16) {
	resp.ErrorCode, resp.GenerationID = answer.Err, answer.Generation
	resp.ProtocolType = optional(answer.ProtocolType)
	resp.ProtocolName = optional(answer.ProtocolName)
	if version < joinNullProtocolVersion {
		resp.ProtocolName = &answer.ProtocolName
	}
	resp.Leader, resp.MemberID, resp.SkipAssignment = answer.Leader, answer.MemberID, answer.SkipAssignment
	for i := range answer.Members {
		m := wire.Add(&resp.Members)
		m.MemberID, m.GroupInstanceID = answer.Members[i].MemberID, answer.Members[i].InstanceID
		m.Metadata = answer.Members[i].Metadata
	}
}
