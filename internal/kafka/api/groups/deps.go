package groups

import (
	"context"

	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// Deps is what the handlers ask.
type Deps struct {
	Coordinators Coordinators
	// Image returns the metadata that topics and coordinators are looked up in.
	Image func() *metadata.Image
	// Recovering reports whether this broker leads the partition but has not recovered its log yet.
	Recovering func(id model.TopicID, partition int32) bool
	// CreateInternalTopic creates a topic that this broker keeps for itself, with the partitions and configs
	// that its settings give it. It blocks until this broker's image holds the topic.
	CreateInternalTopic func(ctx context.Context, name string) error
}

// Coordinators hands requests to the shards of this broker. *runtime.Runtime is one.
type Coordinators interface {
	// Submit has done called exactly once with the shard's answer, or with the one that says why there is
	// none: from any goroutine, maybe before Submit returns.
	Submit(tp model.TopicPartition, body any, done func(response any)) *runtime.Call
	// Gather asks every shard of the topic that this broker has.
	Gather(topic string, body any, done func(responses []any))
}

// APIs returns the rows of the table that this package serves.
func APIs(d Deps) []server.API {
	read := server.ACL{Operation: server.Read, Resource: server.Group}
	describe := server.ACL{Operation: server.Describe, Resource: server.Group}
	remove := server.ACL{Operation: server.Delete, Resource: server.Group}
	return []server.API{
		{Key: wire.KeyOffsetCommit, Min: 2, Max: 10, ACL: read, Handle: (&offsetCommit{d}).handle},
		{Key: wire.KeyOffsetFetch, Min: 1, Max: 10, ACL: describe, Handle: (&offsetFetch{d}).handle},
		{Key: wire.KeyFindCoordinator, Min: 0, Max: 6, ACL: describe, Handle: (&findCoordinator{deps: d}).handle},
		{Key: wire.KeyJoinGroup, Min: 0, Max: 9, ACL: read, Handle: (&joinGroup{d}).handle},
		{Key: wire.KeyHeartbeat, Min: 0, Max: 4, ACL: read, Handle: (&heartbeat{d}).handle},
		{Key: wire.KeyLeaveGroup, Min: 0, Max: 5, ACL: read, Handle: (&leaveGroup{d}).handle},
		{Key: wire.KeySyncGroup, Min: 0, Max: 5, ACL: read, Handle: (&syncGroup{d}).handle},
		{Key: wire.KeyDescribeGroups, Min: 0, Max: 6, ACL: describe, Handle: (&describeGroups{d}).handle},
		{Key: wire.KeyListGroups, Min: 0, Max: 5, ACL: describe, Handle: (&listGroups{d}).handle},
		{Key: wire.KeyDeleteGroups, Min: 0, Max: 3, ACL: remove, Handle: (&deleteGroups{d}).handle},
		{Key: wire.KeyOffsetDelete, Min: 0, Max: 0, ACL: remove, Handle: (&offsetDelete{d}).handle},
	}
}
