package logs

import (
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
)

// Deps is what the handlers ask.
type Deps struct {
	Replicas Replicas
}

// Replicas finds replicas and the directories they lie in. *replica.Manager is one.
type Replicas interface {
	ReplicaNamed(topic string, partition int32) (*replica.Replica, error)
	LogDirs() []replica.LogDir
}

// APIs returns the rows of the table that this package serves.
func APIs(d Deps) []server.API {
	return []server.API{
		{
			Key: wire.KeyDeleteRecords, Min: 0, Max: 2,
			ACL: server.ACL{Operation: server.Delete, Resource: server.Topic}, Handle: (&deleteRecords{d}).handle,
		},
		{
			Key: wire.KeyDescribeLogDirs, Min: 1, Max: 5,
			ACL: server.ACL{Operation: server.Describe, Resource: server.Cluster}, Handle: (&describeLogDirs{d}).handle,
		},
	}
}
