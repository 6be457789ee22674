package metadata

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/model"
)

var (
	// ErrStale is a batch whose fence does not hold. It has no effect, on any node.
	ErrStale = errors.New("metadata batch was decided on another image")
	// ErrImpossible is a record that cannot follow the image it was applied to. The log or the code
	// is wrong, so the node must stop instead of going its own way.
	ErrImpossible = errors.New("impossible metadata record")
)

// Commit applies an encoded batch that the quorum has committed, if its fence holds: the controller
// epoch and the offset must be those of i. It returns ErrStale, and nothing else, where it does not.
// ErrMalformed and ErrImpossible are fatal to the node.
func (i *Image) Commit(batch []byte) (*Image, *Delta, error) {
	records, fence, err := DecodeBatch(batch)
	if err != nil {
		return nil, nil, fmt.Errorf("batch after offset %d: %w", i.offset, err)
	}
	// NB: both halves are needed. The epoch alone lets a batch land after the one it builds on was
	// lost; the offset alone lets a deposed controller in when nothing was written in between.
	if fence.ControllerEpoch != i.controllerEpoch || fence.Offset != i.offset {
		return nil, nil, fmt.Errorf("%w: decided in epoch %d at offset %d, lands in epoch %d at offset %d",
			ErrStale, fence.ControllerEpoch, fence.Offset, i.controllerEpoch, i.offset)
	}
	return i.Apply(i.offset+1, records)
}

// Apply returns the image after records, the first of which has this offset, and what changed. Either
// all records apply or the error is ErrImpossible and i stays as it is, as it always does.
func (i *Image) Apply(offset int64, records []Record) (*Image, *Delta, error) {
	if offset != i.offset+1 {
		return nil, nil, fmt.Errorf("%w: offset %d does not follow %d", ErrImpossible, offset, i.offset)
	}
	b := newBuilder(i)
	for n, r := range records {
		b.offset = offset + int64(n)
		if err := b.apply(r); err != nil {
			return nil, nil, fmt.Errorf("offset %d, %T: %w: %w", b.offset, r, ErrImpossible, err)
		}
	}
	image, delta := b.finish(offset + int64(len(records)) - 1)
	return image, delta, nil
}

// builder is an image while records are folded into it.
type builder struct {
	from   *Image
	next   *Image
	offset int64 // of the record that is being applied
	// restoring is set while a snapshot is read, whose records carry epochs of earlier offsets.
	restoring bool

	// What was touched, as it was before. Topics that stand here have their own copy in next, so that
	// many changes to one topic copy its partitions once.
	topics   map[model.TopicID]*Topic
	brokers  map[model.BrokerID]*Broker
	configs  map[ConfigResource]bool
	features bool
}

func newBuilder(from *Image) *builder {
	next := *from
	next.features = from.features.fork()
	next.brokers = from.brokers.fork()
	next.byName = from.byName.fork()
	next.byID = from.byID.fork()
	next.byClash = from.byClash.fork()
	next.configs = from.configs.fork()
	return &builder{
		from:    from,
		next:    &next,
		topics:  map[model.TopicID]*Topic{},
		brokers: map[model.BrokerID]*Broker{},
		configs: map[ConfigResource]bool{},
	}
}

func (b *builder) finish(offset int64) (*Image, *Delta) {
	b.next.offset = offset
	d := &Delta{
		From:       b.from,
		To:         b.next,
		Features:   b.features,
		Controller: b.next.controllerEpoch != b.from.controllerEpoch,
	}
	for id, old := range b.topics {
		if now, _ := b.next.TopicByID(id); old != nil || now != nil {
			d.Topics = append(d.Topics, TopicChange{old, now})
		}
	}
	for id, old := range b.brokers {
		if now, _ := b.next.Broker(id); old != nil || now != nil {
			d.Brokers = append(d.Brokers, BrokerChange{old, now})
		}
	}
	d.Configs = slices.Collect(maps.Keys(b.configs))
	d.sort()
	return b.next, d
}

func (b *builder) apply(r Record) error {
	switch r := r.(type) {
	case *ActivateControllerRecord:
		return b.activateController(r)
	case *ClusterRecord:
		return b.cluster(r)
	case *FeatureLevelRecord:
		return b.featureLevel(r)
	case *RegisterBrokerRecord:
		return b.registerBroker(r)
	case *BrokerChangeRecord:
		return b.changeBroker(r)
	case *UnregisterBrokerRecord:
		return b.unregisterBroker(r)
	case *TopicRecord:
		return b.topic(r)
	case *RemoveTopicRecord:
		return b.removeTopic(r)
	case *PartitionRecord:
		return b.partition(r)
	case *PartitionChangeRecord:
		return b.changePartition(r)
	case *ConfigRecord:
		return b.config(r)
	case *ProducerIDsRecord:
		return b.producerIDs(r)
	}
	return fmt.Errorf("record type %T", r)
}

// ownEpoch checks an epoch that is by definition the offset of the record that carries it.
func (b *builder) ownEpoch(epoch int64) error {
	if epoch == b.offset || b.restoring && epoch >= 0 && epoch <= b.offset {
		return nil
	}
	return fmt.Errorf("epoch %d is not the record's offset", epoch)
}

func (b *builder) activateController(r *ActivateControllerRecord) error {
	if r.Epoch <= b.next.controllerEpoch {
		return fmt.Errorf("epoch %d does not follow %d", r.Epoch, b.next.controllerEpoch)
	}
	b.next.controllerEpoch = r.Epoch
	return nil
}

func (b *builder) cluster(r *ClusterRecord) error {
	if r.ID == "" || b.next.clusterID != "" {
		return fmt.Errorf("cluster id %q replaces %q", r.ID, b.next.clusterID)
	}
	b.next.clusterID = r.ID
	return nil
}

func (b *builder) featureLevel(r *FeatureLevelRecord) error {
	if err := b.ownEpoch(r.Epoch); err != nil {
		return err
	}
	_, found := b.next.Feature(r.Name)
	switch {
	case r.Name == "" || r.Level < 0:
		return fmt.Errorf("feature %q at level %d", r.Name, r.Level)
	case r.Level > 0:
		b.next.features.set(Feature{r.Name, r.Level})
	case found:
		b.next.features.remove(Feature{Name: r.Name})
	case !b.restoring: // a snapshot ends its features with one at level 0 where the last change removed one
		return fmt.Errorf("feature %q is not there to remove", r.Name)
	}
	b.next.featuresEpoch = max(b.next.featuresEpoch, r.Epoch)
	b.features = true
	return nil
}

func (b *builder) registerBroker(r *RegisterBrokerRecord) error {
	if err := b.ownEpoch(r.Epoch); err != nil {
		return err
	}
	if r.ID < 0 || r.Incarnation.IsZero() {
		return fmt.Errorf("broker %d with incarnation %s", r.ID, r.Incarnation)
	}
	b.setBroker(r.ID, &Broker{
		ID:           r.ID,
		Epoch:        r.Epoch,
		Incarnation:  r.Incarnation,
		Endpoints:    r.Endpoints,
		Rack:         r.Rack,
		DirectoryIDs: r.DirectoryIDs,
		Fenced:       r.Fenced,
		ShuttingDown: r.ShuttingDown,
	})
	return nil
}

// setBroker puts a registration, or nil for none, and remembers what was there before the batch.
func (b *builder) setBroker(id model.BrokerID, now *Broker) {
	if _, touched := b.brokers[id]; !touched {
		b.brokers[id], _ = b.from.Broker(id)
	}
	if now == nil {
		b.next.brokers.remove(&Broker{ID: id})
		return
	}
	b.next.brokers.set(now)
}

func (b *builder) registered(id model.BrokerID, epoch int64) (*Broker, error) {
	broker, ok := b.next.Broker(id)
	if !ok {
		return nil, fmt.Errorf("broker %d is not registered", id)
	}
	if broker.Epoch != epoch {
		return nil, fmt.Errorf("broker %d is registered with epoch %d, not %d", id, broker.Epoch, epoch)
	}
	return broker, nil
}

func (b *builder) changeBroker(r *BrokerChangeRecord) error {
	old, err := b.registered(r.ID, r.Epoch)
	if err != nil {
		return err
	}
	now := *old
	now.Fenced, now.ShuttingDown = r.Fenced, r.ShuttingDown
	b.setBroker(r.ID, &now)
	return nil
}

func (b *builder) unregisterBroker(r *UnregisterBrokerRecord) error {
	if _, err := b.registered(r.ID, r.Epoch); err != nil {
		return err
	}
	b.setBroker(r.ID, nil)
	return nil
}

func (b *builder) topic(r *TopicRecord) error {
	if err := model.ValidateTopicName(r.Name); err != nil {
		return err
	}
	if _, ok := b.next.Topic(r.Name); ok {
		return fmt.Errorf("topic %s exists", r.Name)
	}
	if _, ok := b.next.TopicByID(r.ID); ok || r.ID.IsZero() {
		return fmt.Errorf("topic id %s is taken", r.ID)
	}
	if other, ok := b.next.CollidingTopic(r.Name); ok {
		return fmt.Errorf("topic %s collides with %s", r.Name, other)
	}
	if _, touched := b.topics[r.ID]; !touched {
		b.topics[r.ID] = nil
	}
	topic := &Topic{ID: r.ID, Name: r.Name}
	b.next.byName.set(nameEntry{name: r.Name, topic: topic})
	b.next.byID.set(idEntry{r.ID, topic})
	if strings.ContainsAny(r.Name, "._") {
		b.next.byClash.set(clashEntry{model.TopicCollisionKey(r.Name), r.Name})
	}
	return nil
}

func (b *builder) removeTopic(r *RemoveTopicRecord) error {
	topic, ok := b.next.TopicByID(r.ID)
	if !ok {
		return fmt.Errorf("topic id %s does not exist", r.ID)
	}
	if _, touched := b.topics[r.ID]; !touched {
		b.topics[r.ID] = topic
	}
	b.next.byName.remove(nameEntry{name: topic.Name})
	b.next.byID.remove(idEntry{id: r.ID})
	if strings.ContainsAny(topic.Name, "._") {
		b.next.byClash.remove(clashEntry{key: model.TopicCollisionKey(topic.Name)})
	}
	b.next.partitions -= len(topic.Partitions)
	resource := ConfigResource{TopicResource, topic.Name}
	if b.next.Config(resource.Type, resource.Name).Len() > 0 {
		b.next.configs.remove(configEntry{resource: resource})
		b.configs[resource] = true
	}
	return nil
}

// ownTopic returns the topic for writing: next's own copy of it.
func (b *builder) ownTopic(id model.TopicID) (*Topic, error) {
	topic, ok := b.next.TopicByID(id)
	if !ok {
		return nil, fmt.Errorf("topic id %s does not exist", id)
	}
	if _, touched := b.topics[id]; touched {
		return topic, nil
	}
	b.topics[id] = topic
	own := &Topic{ID: id, Name: topic.Name, Partitions: slices.Clone(topic.Partitions)}
	b.next.byName.set(nameEntry{name: own.Name, topic: own})
	b.next.byID.set(idEntry{id, own})
	return own, nil
}

func (b *builder) partition(r *PartitionRecord) error {
	topic, err := b.ownTopic(r.TopicID)
	if err != nil {
		return err
	}
	if int(r.Partition) != len(topic.Partitions) {
		return fmt.Errorf("partition %d of %s, which has %d", r.Partition, topic.Name, len(topic.Partitions))
	}
	if err := r.State.validate(); err != nil {
		return fmt.Errorf("%s-%d: %w", topic.Name, r.Partition, err)
	}
	topic.Partitions = append(topic.Partitions, r.State)
	b.next.partitions++
	return nil
}

func (b *builder) changePartition(r *PartitionChangeRecord) error {
	topic, err := b.ownTopic(r.TopicID)
	if err != nil {
		return err
	}
	p := topic.Partition(r.Partition)
	if p == nil {
		return fmt.Errorf("partition %d of %s, which has %d", r.Partition, topic.Name, len(topic.Partitions))
	}
	next, err := p.with(r)
	if err != nil {
		return fmt.Errorf("%s-%d: %w", topic.Name, r.Partition, err)
	}
	*p = next
	return nil
}

// with returns the partition after a change.
func (p *Partition) with(r *PartitionChangeRecord) (Partition, error) {
	next := *p
	if next.PartitionEpoch == math.MaxInt32 {
		return next, errors.New("the partition epoch is used up")
	}
	next.PartitionEpoch++
	if r.Leader != NoLeaderChange {
		if next.LeaderEpoch == math.MaxInt32 {
			return next, errors.New("the leader epoch is used up")
		}
		next.Leader = r.Leader
		next.LeaderEpoch++
	}
	for _, f := range []struct {
		field  *[]model.BrokerID
		change []model.BrokerID
	}{
		{&next.Replicas, r.Replicas},
		{&next.ISR, r.ISR},
		{&next.ELR, r.ELR},
		{&next.LastKnownELR, r.LastKnownELR},
		{&next.Adding, r.Adding},
		{&next.Removing, r.Removing},
	} {
		if f.change != nil {
			*f.field = nilIfEmpty(f.change)
		}
	}
	if r.Directories != nil {
		next.Directories = nilIfEmpty(r.Directories)
	}
	switch r.Recovery {
	case RecoveryStarts:
		next.Recovering = true
	case RecoveryEnds:
		next.Recovering = false
	}
	return next, next.validate()
}

// nilIfEmpty keeps one form for the empty list, so that equal images are deeply equal.
func nilIfEmpty[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// validate checks what every rule about partitions takes for granted.
func (p *Partition) validate() error {
	switch {
	case len(p.Replicas) == 0:
		return errors.New("it has no replicas")
	case len(p.Directories) != len(p.Replicas):
		return fmt.Errorf("it has %d directories for %d replicas", len(p.Directories), len(p.Replicas))
	case p.Leader < model.NoBroker || p.LeaderEpoch < 0 || p.PartitionEpoch < 0:
		return fmt.Errorf("it has leader %d, leader epoch %d, partition epoch %d", p.Leader, p.LeaderEpoch, p.PartitionEpoch)
	case p.Leader != model.NoBroker && !slices.Contains(p.ISR, p.Leader):
		return fmt.Errorf("its leader %d is not in its ISR %v", p.Leader, p.ISR)
	}
	for i, id := range p.Replicas {
		if id < 0 || slices.Contains(p.Replicas[:i], id) {
			return fmt.Errorf("its replicas are %v", p.Replicas)
		}
	}
	for i, id := range p.ISR {
		if !slices.Contains(p.Replicas, id) || slices.Contains(p.ISR[:i], id) {
			return fmt.Errorf("its ISR is %v, its replicas are %v", p.ISR, p.Replicas)
		}
	}
	for i, id := range p.ELR {
		if !slices.Contains(p.Replicas, id) || slices.Contains(p.ISR, id) || slices.Contains(p.ELR[:i], id) {
			return fmt.Errorf("its ELR is %v, its ISR %v, its replicas %v", p.ELR, p.ISR, p.Replicas)
		}
	}
	return nil
}

func (b *builder) config(r *ConfigRecord) error {
	resource := ConfigResource{r.ResourceType, r.ResourceName}
	view := b.next.Config(resource.Type, resource.Name)
	if _, set := view.Get(r.Key); r.Key == "" || r.Value == nil && !set {
		return fmt.Errorf("config %q of resource %d %q is not there to delete", r.Key, r.ResourceType, r.ResourceName)
	}
	if resource.Type == TopicResource {
		if _, ok := b.next.Topic(resource.Name); !ok {
			return fmt.Errorf("config %q of topic %q, which does not exist", r.Key, resource.Name)
		}
	}
	if view = view.with(r.Key, r.Value); view.Len() > 0 {
		b.next.configs.set(configEntry{resource, view})
	} else {
		b.next.configs.remove(configEntry{resource: resource})
	}
	b.configs[resource] = true
	return nil
}

func (b *builder) producerIDs(r *ProducerIDsRecord) error {
	if r.NextID <= b.next.nextProducerID {
		return fmt.Errorf("next id %d does not follow %d", r.NextID, b.next.nextProducerID)
	}
	if !b.restoring {
		if _, err := b.registered(r.BrokerID, r.BrokerEpoch); err != nil {
			return err
		}
	}
	b.next.nextProducerID = r.NextID
	return nil
}
