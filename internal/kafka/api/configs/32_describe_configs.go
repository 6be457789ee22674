package configs

// DescribeConfigs: v1-4.
//
// Behaviour: every key of the resource with the value in force, its source and the layers below it
// (synonyms, the one that holds first). Resources: topics; this broker (another one's id is
// INVALID_REQUEST: clients ask that broker); "" for the defaults of all brokers; groups.
//
// Versions: v1 synonyms (KIP-226); v3 types and documentation (KIP-569); v4 flexible.
//
// On purpose other than Kafka: broker loggers and client metrics are not there, and asking for them is
// INVALID_REQUEST.

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metaconfig"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

type describeConfigs struct{ deps Deps }

func (h *describeConfigs) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.DescribeConfigsRequest)
	resp := r.Response().(*wire.DescribeConfigsResponse)
	image := h.deps.Image()
	for i := range req.Resources {
		asked := &req.Resources[i]
		result := wire.Add(&resp.Results)
		result.ResourceType, result.ResourceName = asked.ResourceType, asked.ResourceName
		entries, err := h.describe(image, asked)
		result.ErrorCode, result.ErrorMessage = answer(err)
		if !r.Reserve(len(entries) * entryBytes) { // a resource is named in a few bytes, and may be named again and again
			r.CloseConnection(fmt.Errorf("describe %d configs: %w", len(req.Resources), server.ErrNoMemory))
			return server.Done
		}
		for j := range entries {
			if len(asked.ConfigurationKeys) == 0 || slices.Contains(asked.ConfigurationKeys, entries[j].Name) {
				addEntry(result, &entries[j], req)
			}
		}
	}
	r.Reply(resp)
	return server.Done
}

// entryBytes is about what one key of a resource takes in the answer and in its encoding.
const entryBytes = 512

func (h *describeConfigs) describe(image *metadata.Image, asked *wire.DescribeConfigsResource) ([]metaconfig.Entry, error) {
	resolver, name := h.deps.Resolver(image), asked.ResourceName
	overrides := image.Config(asked.ResourceType, name).All()
	switch asked.ResourceType {
	case metadata.TopicResource:
		if err := model.ValidateTopicName(name); err != nil {
			return nil, kafkaerr.New(kafkaerr.InvalidTopicException, "%v", err)
		}
		if _, ok := image.Topic(name); !ok {
			return nil, kafkaerr.UnknownTopicOrPartition
		}
		return resolver.DescribeTopic(overrides), nil
	case metadata.GroupResource:
		if name == "" {
			return nil, kafkaerr.New(kafkaerr.InvalidRequest, "the group's name must not be empty")
		}
		return resolver.DescribeGroup(overrides), nil
	case metadata.BrokerResource:
		if name == "" {
			return resolver.DescribeBrokerDefaults(), nil
		}
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return nil, kafkaerr.New(kafkaerr.InvalidRequest, "the broker id must be an integer, but it is %q", name)
		}
		if model.BrokerID(id) != h.deps.Self {
			return nil, kafkaerr.New(kafkaerr.InvalidRequest, "unexpected broker id: this is broker %d, asked for %d", h.deps.Self, id)
		}
		return resolver.DescribeBroker(), nil
	}
	return nil, kafkaerr.New(kafkaerr.InvalidRequest, "configs of resource type %d are not served", asked.ResourceType)
}

func addEntry(result *wire.DescribeConfigsResult, entry *metaconfig.Entry, req *wire.DescribeConfigsRequest) {
	c := wire.Add(&result.Configs)
	c.Name, c.Value, c.ReadOnly = entry.Name, entry.Value, entry.ReadOnly
	c.ConfigSource, c.IsSensitive, c.ConfigType = int8(entry.Source), entry.Sensitive, int8(entry.Type)
	if req.IncludeDocumentation {
		c.Documentation = &entry.Doc
	}
	if !req.IncludeSynonyms {
		return
	}
	for _, synonym := range entry.Synonyms {
		s := wire.Add(&c.Synonyms)
		s.Name, s.Value, s.Source = synonym.Name, synonym.Value, int8(synonym.Source)
	}
}
