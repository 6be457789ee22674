package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// CreateTopics asks for new topics.
type CreateTopics struct {
	Topics       []NewTopic
	ValidateOnly bool // answer as if, create nothing
}

// NewTopic describes a topic to create. Either Assignments is set, or the numbers are; -1 in both says
// the default.
type NewTopic struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Assignments       []Assignment
	Configs           []ConfigEntry
	// CapReplication lowers the replication factor to the number of brokers: internal topics are created
	// on whatever nodes there are.
	CapReplication bool
}

// Assignment places one partition on brokers, the preferred leader first.
type Assignment struct {
	Partition int32
	Brokers   []model.BrokerID
}

// ConfigEntry is a config as a request carries it.
type ConfigEntry struct {
	Name  string
	Value *string // nil is refused, with the code that Kafka has for it
}

// TopicResult is the answer about one topic.
type TopicResult struct {
	Name              string
	ID                model.TopicID
	Partitions        int32
	ReplicationFactor int16
	Err               error // a kafkaerr; the fields above but Name are unset then
}

// DecideCreateTopics returns the records that create what can be created, and one result for each name in
// the order of the request. A name that stands twice has one result, InvalidRequest.
func DecideCreateTopics(image *metadata.Image, req CreateTopics, env Env) ([]metadata.Record, []TopicResult) {
	creation := creation{image: image, env: env, clashes: map[string]string{}}
	counts := map[string]int{}
	for _, t := range req.Topics {
		counts[t.Name]++
	}
	tooMany := checkPartitionTotal(req.Topics, env.Rules)
	var results []TopicResult
	for _, t := range req.Topics {
		result := TopicResult{Name: t.Name}
		switch n := counts[t.Name]; {
		case n == 0: // answered before
			continue
		case n > 1:
			counts[t.Name] = 0
			result.Err = kafkaerr.New(kafkaerr.InvalidRequest, "the topic %q stands %d times in the request", t.Name, n)
		case tooMany != nil:
			result.Err = tooMany
		default:
			result = creation.add(t)
		}
		results = append(results, result)
	}
	if req.ValidateOnly {
		return nil, results
	}
	return creation.records, results
}

// checkPartitionTotal bounds a request by what it asks for, before anything is allocated for it.
func checkPartitionTotal(topics []NewTopic, rules ConfigRules) error {
	total := int64(0)
	for _, t := range topics {
		switch {
		case len(t.Assignments) > 0:
			total += int64(len(t.Assignments))
		case t.Partitions == -1:
			total += int64(rules.DefaultPartitions())
		case t.Partitions > 0:
			total += int64(t.Partitions)
		}
	}
	return partitionTotalError(total)
}

func partitionTotalError(total int64) error {
	if total <= MaxPartitionsPerRequest {
		return nil
	}
	return kafkaerr.New(kafkaerr.PolicyViolation, "the request asks for %d partitions, one request may create %d: split it", total, MaxPartitionsPerRequest)
}

// creation gathers the topics of one request.
type creation struct {
	image   *metadata.Image
	env     Env
	records []metadata.Record
	placed  int               // partitions so far, so that the next topic begins on another broker
	clashes map[string]string // names so far by model.TopicCollisionKey
}

func (c *creation) add(t NewTopic) TopicResult {
	result := TopicResult{Name: t.Name}
	if result.Err = c.checkName(t.Name); result.Err != nil {
		return result
	}
	overrides, err := c.checkConfigs(t.Configs)
	if err != nil {
		result.Err = err
		return result
	}
	partitions, err := c.place(t)
	if err != nil {
		result.Err = err
		return result
	}
	id, err := model.NewUUID(c.env.Random)
	if err != nil {
		result.Err = fmt.Errorf("create topic %s: %w", t.Name, err)
		return result
	}
	c.clashes[model.TopicCollisionKey(t.Name)] = t.Name
	c.placed += len(partitions)
	c.records = append(c.records, &metadata.TopicRecord{Name: t.Name, ID: id})
	for _, e := range overrides {
		c.records = append(c.records, &metadata.ConfigRecord{
			ResourceType: metadata.TopicResource, ResourceName: t.Name, Key: e.Name, Value: e.Value,
		})
	}
	for i, p := range partitions {
		c.records = append(c.records, &metadata.PartitionRecord{TopicID: id, Partition: int32(i), State: p})
	}
	result.ID = id
	result.Partitions = int32(len(partitions))
	result.ReplicationFactor = int16(len(partitions[0].Replicas))
	return result
}

func (c *creation) checkName(name string) error {
	if err := model.ValidateTopicName(name); err != nil {
		return kafkaerr.New(kafkaerr.InvalidTopicException, "%v", err)
	}
	if name == model.ClusterMetadataTopic {
		return kafkaerr.New(kafkaerr.InvalidRequest, "the name %s is the controller's own", name)
	}
	if _, ok := c.image.Topic(name); ok {
		return kafkaerr.New(kafkaerr.TopicAlreadyExists, "the topic %q exists already", name)
	}
	other, ok := c.image.CollidingTopic(name)
	if !ok {
		other, ok = c.clashes[model.TopicCollisionKey(name)]
	}
	if ok {
		return kafkaerr.New(kafkaerr.InvalidTopicException, "the topic name %q collides with the topic %q: '.' and '_' are one character in the names of metrics", name, other)
	}
	return nil
}

// checkConfigs returns the overrides by name.
func (c *creation) checkConfigs(configs []ConfigEntry) ([]ConfigEntry, error) {
	// Of a key that stands twice the last holds, as in Kafka.
	byName := map[string]string{}
	for _, e := range configs {
		if e.Value == nil {
			return nil, kafkaerr.New(kafkaerr.InvalidConfig, "the topic config %q has no value", e.Name)
		}
		byName[e.Name] = *e.Value
	}
	all := func(yield func(string, string) bool) {
		for name, value := range byName {
			if !yield(name, value) {
				return
			}
		}
	}
	if err := c.env.Rules.CheckTopic(all); err != nil {
		return nil, err
	}
	overrides := make([]ConfigEntry, 0, len(byName))
	for name, value := range byName {
		overrides = append(overrides, ConfigEntry{name, &value})
	}
	slices.SortFunc(overrides, func(a, b ConfigEntry) int { return strings.Compare(a.Name, b.Name) })
	return overrides, nil
}

func (c *creation) place(t NewTopic) ([]metadata.Partition, error) {
	if len(t.Assignments) > 0 {
		return c.placeManually(t)
	}
	partitions, factor := t.Partitions, int(t.ReplicationFactor)
	switch {
	case factor == 0 || factor < -1:
		return nil, kafkaerr.New(kafkaerr.InvalidReplicationFactor, "the replication factor is %d; it must be at least 1, or -1 for the default", factor)
	case partitions == 0 || partitions < -1:
		return nil, kafkaerr.New(kafkaerr.InvalidPartitions, "the number of partitions is %d; it must be at least 1, or -1 for the default", partitions)
	}
	if partitions == -1 {
		partitions = c.env.Rules.DefaultPartitions()
	}
	if factor == -1 {
		factor = int(c.env.Rules.DefaultReplicationFactor())
	}
	brokers := usableBrokers(c.image)
	if t.CapReplication {
		factor = max(1, min(factor, len(brokers)))
	}
	return place(brokers, c.image.PartitionCount()+c.placed, int(partitions), factor)
}

func (c *creation) placeManually(t NewTopic) ([]metadata.Partition, error) {
	if t.ReplicationFactor != -1 {
		return nil, kafkaerr.New(kafkaerr.InvalidRequest, "the partitions are assigned to brokers, so the replication factor must be -1, not %d", t.ReplicationFactor)
	}
	if t.Partitions != -1 {
		return nil, kafkaerr.New(kafkaerr.InvalidRequest, "the partitions are assigned to brokers, so their number must be -1, not %d", t.Partitions)
	}
	assignments := slices.Clone(t.Assignments)
	slices.SortStableFunc(assignments, func(a, b Assignment) int { return cmp.Compare(a.Partition, b.Partition) })
	partitions := make([]metadata.Partition, len(assignments))
	for i, a := range assignments {
		if i > 0 && a.Partition == assignments[i-1].Partition {
			return nil, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "partition %d is assigned more than once", a.Partition)
		}
		if a.Partition != int32(i) {
			return nil, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "the assigned partitions must be numbered from 0 without a gap; %d is missing", i)
		}
		p, err := assigned(c.image, a.Brokers, len(assignments[0].Brokers))
		if err != nil {
			return nil, err
		}
		partitions[i] = p
	}
	return partitions, nil
}

// DeleteTopic names a topic to delete, by name or by id.
type DeleteTopic struct {
	Name string
	ID   model.TopicID
}

// DeleteTopicResult is the answer about one topic. Of a topic that was deleted both name and id are set.
type DeleteTopicResult struct {
	Name string
	ID   model.TopicID
	Err  error // a kafkaerr
}

// DecideDeleteTopics returns the records that delete what can be deleted, and a result for each item in
// order. A topic that is named twice, also by name and by id, is not deleted.
func DecideDeleteTopics(image *metadata.Image, topics []DeleteTopic, env Env) ([]metadata.Record, []DeleteTopicResult) {
	counts := map[DeleteTopic]int{}
	byID := map[model.TopicID]int{}
	for _, item := range topics {
		counts[item]++
		if topic, err := findTopic(image, item); err == nil && counts[item] == 1 {
			byID[topic.ID]++
		}
	}
	var records []metadata.Record
	var results []DeleteTopicResult
	for _, item := range topics {
		n := counts[item]
		if n == 0 { // answered before
			continue
		}
		counts[item] = 0
		result := DeleteTopicResult{Name: item.Name, ID: item.ID}
		topic, err := findTopic(image, item)
		switch {
		case !env.Rules.DeleteTopicEnabled():
			result.Err = kafkaerr.New(kafkaerr.TopicDeletionDisabled, "topics cannot be deleted while delete.topic.enable is false")
		case item.Name != "" && !item.ID.IsZero():
			result.Err = kafkaerr.New(kafkaerr.InvalidRequest, "a topic to delete is named by its name or by its id, not by both")
		case item.Name == "" && item.ID.IsZero():
			result.Err = kafkaerr.New(kafkaerr.InvalidRequest, "a topic to delete has neither name nor id")
		case n > 1 || topic != nil && byID[topic.ID] > 1:
			result.Err = kafkaerr.New(kafkaerr.InvalidRequest, "the topic stands in the request more than once")
		case err != nil:
			result.Err = err
		default:
			result.Name, result.ID = topic.Name, topic.ID
			records = append(records, &metadata.RemoveTopicRecord{ID: topic.ID})
		}
		results = append(results, result)
	}
	return records, results
}

func findTopic(image *metadata.Image, item DeleteTopic) (*metadata.Topic, error) {
	if item.Name != "" {
		if topic, ok := image.Topic(item.Name); ok {
			return topic, nil
		}
		return nil, kafkaerr.New(kafkaerr.UnknownTopicOrPartition, "the topic %q does not exist", item.Name)
	}
	if topic, ok := image.TopicByID(item.ID); ok {
		return topic, nil
	}
	return nil, kafkaerr.New(kafkaerr.UnknownTopicID, "no topic has the id %s", item.ID)
}

// CreatePartitions asks for more partitions.
type CreatePartitions struct {
	Topics       []MorePartitions
	ValidateOnly bool
}

// MorePartitions raises the number of partitions of a topic.
type MorePartitions struct {
	Name        string
	Count       int32              // all partitions, with those that are there
	Assignments [][]model.BrokerID // of the new ones; nil lets the controller place them
}

// PartitionsResult is the answer about one topic.
type PartitionsResult struct {
	Name string
	Err  error // a kafkaerr
}

// DecideCreatePartitions returns the records that add the partitions, and one result for each name in
// the order of the request. A name that stands twice has one result, InvalidRequest.
func DecideCreatePartitions(image *metadata.Image, req CreatePartitions, env Env) ([]metadata.Record, []PartitionsResult) {
	counts := map[string]int{}
	total := int64(0)
	for _, t := range req.Topics {
		counts[t.Name]++
		if topic, ok := image.Topic(t.Name); ok {
			total += max(0, int64(t.Count)-int64(len(topic.Partitions)))
		}
	}
	tooMany := partitionTotalError(total)
	var records []metadata.Record
	var results []PartitionsResult
	placed := 0
	for _, t := range req.Topics {
		result := PartitionsResult{Name: t.Name}
		switch n := counts[t.Name]; {
		case n == 0: // answered before
			continue
		case n > 1:
			counts[t.Name] = 0
			result.Err = kafkaerr.New(kafkaerr.InvalidRequest, "the topic %q stands %d times in the request", t.Name, n)
		case tooMany != nil:
			result.Err = tooMany
		default:
			more, err := morePartitions(image, t, placed)
			placed += len(more)
			records = append(records, more...)
			result.Err = err
		}
		results = append(results, result)
	}
	if req.ValidateOnly {
		return nil, results
	}
	return records, results
}

func morePartitions(image *metadata.Image, t MorePartitions, placed int) ([]metadata.Record, error) {
	topic, ok := image.Topic(t.Name)
	if !ok {
		return nil, kafkaerr.New(kafkaerr.UnknownTopicOrPartition, "the topic %q does not exist", t.Name)
	}
	have := len(topic.Partitions)
	more := int(t.Count) - have
	if more <= 0 {
		return nil, kafkaerr.New(kafkaerr.InvalidPartitions, "the topic %q has %d partitions; %d would not be more", t.Name, have, t.Count)
	}
	factor := len(topic.Partitions[0].Replicas)
	var partitions []metadata.Partition
	if t.Assignments == nil {
		var err error
		if partitions, err = place(usableBrokers(image), image.PartitionCount()+placed, more, factor); err != nil {
			return nil, err
		}
	} else {
		if len(t.Assignments) != more {
			return nil, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "%d partitions are to be added, but %d are assigned to brokers", more, len(t.Assignments))
		}
		for _, brokers := range t.Assignments {
			p, err := assigned(image, brokers, factor)
			if err != nil {
				return nil, err
			}
			partitions = append(partitions, p)
		}
	}
	records := make([]metadata.Record, len(partitions))
	for i, p := range partitions {
		records[i] = &metadata.PartitionRecord{TopicID: topic.ID, Partition: int32(have + i), State: p}
	}
	return records, nil
}
