// Package control holds the decisions of the controller: functions from an image and a request to
// records and answers.
//
//	controller: image ──► control ──► records ──► quorum, and the answers once they are published
//
// Guarantees. Nothing is decided on anything but the arguments, so that a decision can be made again
// when its batch was rejected. The records of a decision apply to the image it was made on, all of them.
// Answers are errors of kafkaerr with Kafka's codes; the items of a request fail one by one, in the order
// they were asked for.
//
// The package must never do IO, ask the time or hold state. Topic ids come from the Random it is given.
package control

import (
	"io"
	"iter"

	"github.com/walser-io/walser/internal/metadata"
)

// MaxPartitionsPerRequest bounds the partitions that one request may create.
const MaxPartitionsPerRequest = 10_000

// Env is what decisions need besides the image and the request.
type Env struct {
	Rules  ConfigRules
	Random io.Reader // for topic ids
}

// ConfigRules are the rules about configs, as they hold at the image that is decided on.
type ConfigRules interface {
	// CheckTopic decides whether a topic may be created with those overrides. The error is a kafkaerr.
	CheckTopic(overrides iter.Seq2[string, string]) error
	// Alter decides on changes to one resource, or where replace is set, on its whole new set, all of
	// which are OpSet. It returns what to store: nil values remove, and only what is stored. The error
	// is a kafkaerr.
	Alter(resource metadata.ConfigResource, current metadata.ConfigView, changes []ConfigChange, replace bool) ([]ConfigUpdate, error)
	// DefaultPartitions is num.partitions.
	DefaultPartitions() int32
	// DefaultReplicationFactor is default.replication.factor.
	DefaultReplicationFactor() int16
	// DeleteTopicEnabled is delete.topic.enable.
	DeleteTopicEnabled() bool
}
