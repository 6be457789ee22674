package node

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/walser-io/walser/internal/kafka/api/configs"
	"github.com/walser-io/walser/internal/kafka/api/fetch"
	"github.com/walser-io/walser/internal/kafka/api/groups"
	"github.com/walser-io/walser/internal/kafka/api/logs"
	apimetadata "github.com/walser-io/walser/internal/kafka/api/metadata"
	"github.com/walser-io/walser/internal/kafka/api/produce"
	"github.com/walser-io/walser/internal/kafka/api/topics"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metaconfig"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// apis is the table of what this node serves. What is not in it is not served, and not advertised.
func (n *Node) apis() []server.API {
	return slices.Concat(
		produce.APIs(produce.Deps{Replicas: n.replicas, Endpoints: n, NextProducerID: n.producerIDs.Next}),
		fetch.APIs(fetch.Deps{
			Replicas: n.replicas, Endpoints: n, Random: rand.Uint32, Now: time.Now,
			Config: fetch.Config{FetchMaxBytes: n.cfg.Limits.FetchMaxBytes, MaxSessions: int(n.cfg.Limits.FetchSessionSlots)},
		}),
		apimetadata.APIs(apimetadata.Deps{
			Image: n.publisher.Current, Recovering: n.recovering, CreateTopics: n.autoCreateTopics, Settings: n.metadataSettings,
		}),
		topics.APIs(topics.Deps{Controller: n.controller, Describe: n.describeTopic}),
		configs.APIs(configs.Deps{
			Self: n.cfg.NodeID, Image: n.publisher.Current, Resolver: n.settings.resolver, Controller: n.controller,
		}),
		logs.APIs(logs.Deps{Replicas: n.replicas}),
		groups.APIs(groups.Deps{
			Coordinators: n.coordinators, Image: n.publisher.Current, Recovering: n.recovering,
			CreateInternalTopic: n.createInternalTopic,
		}),
	)
}

// metadataVersion is the level of metadata.version that this node finalises: that of Apache Kafka 4.3,
// whose behaviour it has. Clients read from it what they may ask for.
const metadataVersion = 30

// finalised are the features of a new cluster. transaction.version, group.version, share.version and
// streams.version are missing until the whole feature works: clients switch paths on them.
var finalised = []metadata.Feature{{Name: "metadata.version", Level: metadataVersion}}

// features is what ApiVersions says.
func (n *Node) features() server.Features {
	img := n.publisher.Current()
	f := server.Features{
		Supported: []server.SupportedFeature{{Name: "metadata.version", Min: 7, Max: metadataVersion}},
		Epoch:     img.FinalizedFeaturesEpoch(),
	}
	for feature := range img.Features() {
		f.Finalized = append(f.Finalized, server.FinalizedFeature{Name: feature.Name, Level: feature.Level})
	}
	return f
}

// Endpoint returns where clients of a listener reach a broker.
func (n *Node) Endpoint(broker model.BrokerID, listener string) (model.Endpoint, bool) {
	b, ok := n.publisher.Current().Broker(broker)
	if !ok {
		return model.Endpoint{}, false
	}
	return b.Endpoint(listener)
}

func (n *Node) recovering(id model.TopicID, partition int32) bool {
	r, err := n.replicas.ReplicaByID(id, partition)
	return err == nil && r.Recovering()
}

func (n *Node) metadataSettings() apimetadata.Settings {
	return apimetadata.Settings{
		AutoCreateTopics: n.cfg.Topics.AutoCreate, PartitionSizeLimit: n.cfg.Limits.DescribePartitions,
	}
}

func (n *Node) describeTopic(overrides map[string]string) []metaconfig.Entry {
	return n.settings.resolver(n.publisher.Current()).DescribeTopic(func(yield func(string, string) bool) {
		for k, v := range overrides {
			if !yield(k, v) {
				return
			}
		}
	})
}
