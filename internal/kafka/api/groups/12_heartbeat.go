package groups

// Heartbeat: v0-4.
//
// Behaviour: keeps a session alive. REBALANCE_IN_PROGRESS says that the member must join again. While the
// coordinator loads the group the answer is good: no session ends meanwhile.
//
// Versions: v3 static members (KIP-345); v4 flexible.

import (
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

type heartbeat struct{ deps Deps }

func (h *heartbeat) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.HeartbeatRequest)
	body := &group.Heartbeat{
		GroupID: string(req.GroupID), MemberID: string(req.MemberID), InstanceID: stringOf(req.GroupInstanceID),
		Generation: req.GenerationID,
	}
	h.deps.submitNamed(body.GroupID, body, func(answer any) {
		resp := r.Response().(*wire.HeartbeatResponse)
		resp.ErrorCode = answer.(*group.HeartbeatResponse).Err
		r.Reply(resp)
	})
	return server.Parked
}
