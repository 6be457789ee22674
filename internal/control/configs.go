package control

import (
	"slices"
	"strconv"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// ConfigOp is what a change does to a config, numbered as in IncrementalAlterConfigs (KIP-339).
type ConfigOp int8

// The operations. Append and Subtract are for lists.
const (
	OpSet      ConfigOp = 0
	OpDelete   ConfigOp = 1
	OpAppend   ConfigOp = 2
	OpSubtract ConfigOp = 3
)

// ConfigChange is one change that a client asks for.
type ConfigChange struct {
	Op    ConfigOp
	Name  string
	Value *string // may be nil for OpDelete only
}

// ConfigUpdate is one change to store: a new text, or nil to remove the key.
type ConfigUpdate struct {
	Name  string
	Value *string
}

// AlterConfigs asks for changes of configs. Replace is the legacy request: what is not among a resource's
// changes, all of which are OpSet, is removed.
type AlterConfigs struct {
	Resources    []AlterResource
	Replace      bool
	ValidateOnly bool
}

// AlterResource is the changes to one resource.
type AlterResource struct {
	Resource metadata.ConfigResource
	Changes  []ConfigChange
}

// ConfigResult is the answer about one resource.
type ConfigResult struct {
	Resource metadata.ConfigResource
	Err      error // a kafkaerr
}

// minInSyncReplicas decides who is an eligible leader: with a new value what was noted does not hold.
const minInSyncReplicas = "min.insync.replicas"

// DecideAlterConfigs returns the records of the changes that can be made, and one result for each
// resource in the order of the request. A resource that stands twice has two, both InvalidRequest.
func DecideAlterConfigs(image *metadata.Image, req AlterConfigs, env Env) ([]metadata.Record, []ConfigResult) {
	counts := map[metadata.ConfigResource]int{}
	for _, r := range req.Resources {
		counts[r.Resource]++
	}
	var records []metadata.Record
	var results []ConfigResult
	clearELR := map[string]bool{} // by topic, "" for all
	for _, r := range req.Resources {
		result := ConfigResult{Resource: r.Resource}
		if n := counts[r.Resource]; n > 1 {
			result.Err = kafkaerr.New(kafkaerr.InvalidRequest, "the resource %q stands %d times in the request", r.Resource.Name, n)
		} else {
			updates, err := alterResource(image, r, req.Replace, env.Rules)
			result.Err = err
			for _, u := range updates {
				records = append(records, &metadata.ConfigRecord{
					ResourceType: r.Resource.Type, ResourceName: r.Resource.Name, Key: u.Name, Value: u.Value,
				})
				if u.Name == minInSyncReplicas && r.Resource.Type == metadata.TopicResource {
					clearELR[r.Resource.Name] = true
				} else if u.Name == minInSyncReplicas {
					clearELR[""] = true
				}
			}
		}
		results = append(results, result)
	}
	if req.ValidateOnly {
		return nil, results
	}
	return append(records, clearedELRs(image, clearELR)...), results
}

func alterResource(image *metadata.Image, r AlterResource, replace bool, rules ConfigRules) ([]ConfigUpdate, error) {
	name := r.Resource.Name
	switch r.Resource.Type {
	case metadata.TopicResource:
		if _, ok := image.Topic(name); !ok {
			return nil, kafkaerr.New(kafkaerr.UnknownTopicOrPartition, "the topic %q does not exist", name)
		}
	case metadata.BrokerResource:
		if err := checkBrokerResource(image, name); err != nil {
			return nil, err
		}
	case metadata.GroupResource, metadata.ClientMetricsResource:
		if name == "" {
			return nil, kafkaerr.New(kafkaerr.InvalidRequest, "the resource has no name")
		}
	default:
		return nil, kafkaerr.New(kafkaerr.InvalidRequest, "configs of resource type %d are not kept by the controller", r.Resource.Type)
	}
	if replace && slices.ContainsFunc(r.Changes, func(c ConfigChange) bool { return c.Op != OpSet }) {
		return nil, kafkaerr.New(kafkaerr.InvalidRequest, "a whole set of configs can only be set")
	}
	return rules.Alter(r.Resource, image.Config(r.Resource.Type, name), r.Changes, replace)
}

// checkBrokerResource takes the id of a registered broker, or "" for the defaults of all.
func checkBrokerResource(image *metadata.Image, name string) error {
	if name == "" {
		return nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || id < 0 {
		return kafkaerr.New(kafkaerr.InvalidRequest, "the broker resource %q is no broker id", name)
	}
	if _, ok := image.Broker(model.BrokerID(id)); !ok {
		return kafkaerr.New(kafkaerr.InvalidRequest, "broker %d is not registered", id)
	}
	return nil
}

// clearedELRs empties the eligible leaders of the topics named, or with "" of all.
func clearedELRs(image *metadata.Image, topics map[string]bool) []metadata.Record {
	if len(topics) == 0 {
		return nil
	}
	var records []metadata.Record
	for topic := range image.Topics() {
		if !topics[""] && !topics[topic.Name] {
			continue
		}
		for i, p := range topic.Partitions {
			if len(p.ELR)+len(p.LastKnownELR) == 0 {
				continue
			}
			change := metadata.NewPartitionChange(topic.ID, int32(i))
			change.ELR, change.LastKnownELR = []model.BrokerID{}, []model.BrokerID{}
			records = append(records, change)
		}
	}
	return records
}
