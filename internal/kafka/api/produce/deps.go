package produce

import (
	"context"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
)

// Deps is what the handlers ask.
type Deps struct {
	Replicas  Replicas
	Endpoints Endpoints
	// NextProducerID returns a producer id that nobody has had.
	NextProducerID func(ctx context.Context) (int64, error)
}

// Replicas takes batches. *replica.Manager is one.
type Replicas interface {
	Replica(topic []byte, partition int32) (*replica.Replica, error)
	ReplicaByID(id model.TopicID, partition int32) (*replica.Replica, error)
	Append(a *replica.Append)
	CancelAppend(a *replica.Append, err error)
}

// Endpoints says where clients of a listener reach a broker, for the leader hints of KIP-951.
type Endpoints interface {
	Endpoint(broker model.BrokerID, listener string) (e model.Endpoint, ok bool)
}

// APIs returns the rows of the table that this package serves.
func APIs(d Deps) []server.API {
	p := newProduce(d)
	return []server.API{
		{
			Key: wire.KeyProduce, Min: 3, Max: 13, AdvertiseFromZero: true,
			ACL: server.ACL{Operation: server.Write, Resource: server.Topic}, Quota: server.QuotaProduce,
			Order: server.Pipelined, Handle: p.handle, Stream: p.stream,
		},
		{
			Key: wire.KeyInitProducerID, Min: 0, Max: 5,
			ACL: server.ACL{Operation: server.IdempotentWrite, Resource: server.Cluster}, Quota: server.QuotaRequest,
			Handle: (&initProducerID{d}).handle,
		},
	}
}
