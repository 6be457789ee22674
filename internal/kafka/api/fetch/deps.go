package fetch

import (
	"time"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
)

// Deps is what the handlers ask.
type Deps struct {
	Replicas  Replicas
	Endpoints Endpoints
	// Image returns the metadata that names and ids are resolved by.
	Image func() *metadata.Image
	// Random draws session ids.
	Random func() uint32
	// Now is the clock of session eviction.
	Now    func() time.Time
	Config Config
}

// Config is what an operator may set.
type Config struct {
	FetchMaxBytes int32 // fetch.max.bytes: of one answer; the first batch may exceed it
	MaxSessions   int   // max.incremental.fetch.session.cache.slots; 0 refuses sessions
}

// Replicas finds and reads partitions. *replica.Manager is one.
type Replicas interface {
	ReplicaNamed(topic string, partition int32) (*replica.Replica, error)
	ReplicaByID(id model.TopicID, partition int32) (*replica.Replica, error)
	Fetch(f *replica.Fetch)
	Collect(f *replica.Fetch)
	CancelFetch(f *replica.Fetch) bool
}

// Endpoints says where clients of a listener reach a broker, for the leader hints of KIP-951.
type Endpoints interface {
	Endpoint(broker model.BrokerID, listener string) (e model.Endpoint, ok bool)
}

// APIs returns the rows of the table that this package serves.
func APIs(d Deps) []server.API {
	return []server.API{
		{
			Key: wire.KeyFetch, Min: 4, Max: 18,
			ACL: server.ACL{Operation: server.Read, Resource: server.Topic}, Quota: server.QuotaFetch,
			Handle: newFetch(d).handle,
		},
		{
			Key: wire.KeyListOffsets, Min: 1, Max: 11,
			ACL:    server.ACL{Operation: server.Describe, Resource: server.Topic},
			Handle: (&listOffsets{d}).handle,
		},
		{
			Key: wire.KeyOffsetForLeaderEpoch, Min: 2, Max: 4,
			ACL:    server.ACL{Operation: server.Describe, Resource: server.Topic},
			Handle: (&offsetForLeaderEpoch{d}).handle,
		},
	}
}
