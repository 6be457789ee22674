package metadata

// DescribeCluster: v0-2.
//
// Behaviour: the brokers with their endpoints on the listener asked, the cluster id, and a broker that
// takes requests for the controller.
//
// Versions: v1 endpoint types (KIP-919): this is a broker listener, so a request for controllers gets
// MISMATCHED_ENDPOINT_TYPE, and an unknown type UNSUPPORTED_ENDPOINT_TYPE; v2 fenced brokers (KIP-1073).

import (
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

// The kinds of endpoints of KIP-919.
const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

type describeCluster struct{ deps Deps }

func (h *describeCluster) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.DescribeClusterRequest)
	resp := r.Response().(*wire.DescribeClusterResponse)
	if err := checkEndpointType(req.EndpointType); err != nil {
		message := err.Message
		resp.ErrorCode, resp.ErrorMessage = err.Code, &message
		r.Reply(resp)
		return server.Done
	}
	resp.EndpointType = req.EndpointType
	v := view{h.deps.Image(), r.Listener().Name, h.deps.Recovering}
	resp.ClusterID = v.ClusterID()
	resp.ControllerID = int32(v.controller(v.nodes(false)))
	for _, n := range v.nodes(req.IncludeFencedBrokers) {
		b := wire.Add(&resp.Brokers)
		b.BrokerID, b.Host, b.Port, b.IsFenced = int32(n.ID), n.at.Host, n.at.Port, n.Fenced
		if n.Rack != "" {
			b.Rack = &n.Rack
		}
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = allClusterOperations
	}
	r.Reply(resp)
	return server.Done
}

func checkEndpointType(kind int8) *kafkaerr.Error {
	switch kind {
	case brokerEndpoints:
		return nil
	case controllerEndpoints:
		return kafkaerr.New(kafkaerr.MismatchedEndpointType, "the request was sent to a broker, but asks for controllers")
	}
	return kafkaerr.New(kafkaerr.UnsupportedEndpointType, "unsupported endpoint type %d", kind)
}
