package metadata

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/model"
)

// Image is the state of the cluster at one offset of the metadata log. It is immutable and may be read
// from any goroutine; so is everything reached through it, which callers must not change.
type Image struct {
	offset          int64
	controllerEpoch int32
	clusterID       string
	featuresEpoch   int64
	nextProducerID  int64
	partitions      int

	features tree[Feature]
	brokers  tree[*Broker]
	byName   tree[nameEntry]
	byID     tree[idEntry]
	byClash  tree[clashEntry] // topics with '.' or '_' in their name
	configs  tree[configEntry]
}

// Feature is a finalised feature and its level.
type Feature struct {
	Name  string
	Level int16
}

// nameEntry is a topic under its name. Look-ups by bytes of a request leave name empty and set probe:
// comparing string(probe) does not allocate, converting it for a call would.
type nameEntry struct {
	name  string
	probe []byte
	topic *Topic
}

func (a nameEntry) less(b nameEntry) bool {
	switch {
	case a.probe != nil:
		return string(a.probe) < b.name
	case b.probe != nil:
		return a.name < string(b.probe)
	}
	return a.name < b.name
}

type idEntry struct {
	id    model.TopicID
	topic *Topic
}

type clashEntry struct {
	key  string // model.TopicCollisionKey of name
	name string
}

type configEntry struct {
	resource ConfigResource
	view     ConfigView
}

// Empty returns the image of a log without records.
func Empty() *Image {
	return &Image{
		offset:        -1,
		featuresEpoch: -1,
		features:      newTree(func(a, b Feature) bool { return a.Name < b.Name }),
		brokers:       newTree(func(a, b *Broker) bool { return a.ID < b.ID }),
		byName:        newTree(nameEntry.less),
		byID:          newTree(func(a, b idEntry) bool { return bytes.Compare(a.id[:], b.id[:]) < 0 }),
		byClash:       newTree(func(a, b clashEntry) bool { return a.key < b.key }),
		configs:       newTree(func(a, b configEntry) bool { return a.resource.compare(b.resource) < 0 }),
	}
}

// Offset returns the offset of the last record in the image, -1 for the empty image.
func (i *Image) Offset() int64 { return i.offset }

// ControllerEpoch returns the epoch of the last controller that was activated, 0 before the first.
func (i *Image) ControllerEpoch() int32 { return i.controllerEpoch }

// ClusterID returns the cluster's id, "" until the first controller has written it.
func (i *Image) ClusterID() string { return i.clusterID }

// Feature returns the level at which a feature is finalised.
func (i *Image) Feature(name string) (level int16, ok bool) {
	f, ok := i.features.get(Feature{Name: name})
	return f.Level, ok
}

// Features yields the finalised features by name.
func (i *Image) Features() iter.Seq[Feature] { return i.features.all() }

// FinalizedFeaturesEpoch returns the offset of the last change to the finalised features, -1 for none.
// ApiVersions carries it so that clients can tell older answers from newer ones.
func (i *Image) FinalizedFeaturesEpoch() int64 { return i.featuresEpoch }

// Broker returns the registration of a broker.
func (i *Image) Broker(id model.BrokerID) (*Broker, bool) {
	return i.brokers.get(&Broker{ID: id})
}

// Brokers yields all registrations, fenced ones too, by id.
func (i *Image) Brokers() iter.Seq[*Broker] { return i.brokers.all() }

// BrokerCount returns the number of registrations, fenced ones too.
func (i *Image) BrokerCount() int { return i.brokers.len() }

// Topic returns a topic by name.
func (i *Image) Topic(name string) (*Topic, bool) {
	e, ok := i.byName.get(nameEntry{name: name})
	return e.topic, ok
}

// TopicBytes is Topic for a name that still lies in a request. It does not allocate or keep name.
func (i *Image) TopicBytes(name []byte) (*Topic, bool) {
	if len(name) == 0 {
		return nil, false
	}
	e, ok := i.byName.get(nameEntry{probe: name})
	return e.topic, ok
}

// TopicByID returns a topic by id.
func (i *Image) TopicByID(id model.TopicID) (*Topic, bool) {
	e, ok := i.byID.get(idEntry{id: id})
	return e.topic, ok
}

// CollidingTopic returns the topic whose name is the same as name when '.' and '_' are not told apart.
// It may be the topic of that very name.
func (i *Image) CollidingTopic(name string) (string, bool) {
	if !strings.ContainsAny(name, "._") {
		_, ok := i.Topic(name)
		return name, ok
	}
	e, ok := i.byClash.get(clashEntry{key: model.TopicCollisionKey(name)})
	return e.name, ok
}

// Topics yields all topics by name.
func (i *Image) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for e := range i.byName.all() {
			if !yield(e.topic) {
				return
			}
		}
	}
}

// TopicCount returns the number of topics.
func (i *Image) TopicCount() int { return i.byName.len() }

// PartitionCount returns the number of partitions of all topics.
func (i *Image) PartitionCount() int { return i.partitions }

// Partition returns a partition of a topic, nil where either does not exist.
func (i *Image) Partition(tp model.TopicIDPartition) *Partition {
	topic, ok := i.TopicByID(tp.TopicID)
	if !ok {
		return nil
	}
	return topic.Partition(tp.Partition)
}

// Config returns the dynamic configs of a resource; the view is empty where it has none.
func (i *Image) Config(resourceType int8, name string) ConfigView {
	e, _ := i.configs.get(configEntry{resource: ConfigResource{resourceType, name}})
	return e.view
}

// Configs yields the resources that have dynamic configs, by type and name.
func (i *Image) Configs() iter.Seq2[ConfigResource, ConfigView] {
	return func(yield func(ConfigResource, ConfigView) bool) {
		for e := range i.configs.all() {
			if !yield(e.resource, e.view) {
				return
			}
		}
	}
}

// NextProducerID returns the first producer id that is in no broker's block.
func (i *Image) NextProducerID() int64 { return i.nextProducerID }

// Broker is a broker's registration. Immutable.
type Broker struct {
	ID           model.BrokerID
	Epoch        int64 // offset of the registration; grows with every process start
	Incarnation  model.UUID
	Endpoints    []model.Endpoint
	Rack         string // "" for none
	DirectoryIDs []model.UUID
	Fenced       bool // leads nothing, is in no ISR, and clients do not see it
	ShuttingDown bool // in controlled shutdown
}

// Active reports whether the broker may lead partitions and join an ISR.
func (b *Broker) Active() bool { return !b.Fenced && !b.ShuttingDown }

// Endpoint returns where the broker's listener of this name is reached.
func (b *Broker) Endpoint(listener string) (model.Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Listener == listener {
			return e, true
		}
	}
	return model.Endpoint{}, false
}

// Topic is one incarnation of a topic. Immutable: a change of any partition makes a new Topic.
type Topic struct {
	ID         model.TopicID
	Name       string
	Partitions []Partition // by index
}

// Partition returns the partition of this index, nil where there is none.
func (t *Topic) Partition(index int32) *Partition {
	if index < 0 || int(index) >= len(t.Partitions) {
		return nil
	}
	return &t.Partitions[index]
}

// Partition is the committed state of one partition. Immutable, its slices too.
type Partition struct {
	Replicas       []model.BrokerID // [0] is the preferred leader
	Directories    []model.UUID     // of each replica, in the same order (KIP-858)
	ISR            []model.BrokerID
	ELR            []model.BrokerID // eligible leaders out of sync since the ISR fell below the minimum (KIP-966)
	LastKnownELR   []model.BrokerID
	Adding         []model.BrokerID
	Removing       []model.BrokerID
	Leader         model.BrokerID // model.NoBroker for none
	LeaderEpoch    int32          // grows when a leader is elected, the same one too
	PartitionEpoch int32          // grows with every change
	Recovering     bool           // the leader was elected uncleanly and has not finished recovering
}

// ConfigResource names what a config belongs to.
type ConfigResource struct {
	Type int8
	Name string
}

func (r ConfigResource) compare(o ConfigResource) int {
	return cmp.Or(cmp.Compare(r.Type, o.Type), strings.Compare(r.Name, o.Name))
}

// ConfigView is the dynamic configs of one resource, sorted by key. The zero value is empty.
type ConfigView struct {
	entries []configValue
}

type configValue struct {
	key, value string
}

func (v ConfigView) find(key string) (int, bool) {
	return slices.BinarySearchFunc(v.entries, key, func(e configValue, key string) int { return strings.Compare(e.key, key) })
}

// Get returns the value that is set for key.
func (v ConfigView) Get(key string) (string, bool) {
	if i, ok := v.find(key); ok {
		return v.entries[i].value, true
	}
	return "", false
}

// Len returns the number of keys that are set.
func (v ConfigView) Len() int { return len(v.entries) }

// All yields keys and values by key.
func (v ConfigView) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, e := range v.entries {
			if !yield(e.key, e.value) {
				return
			}
		}
	}
}

// Map returns the configs in a map that the caller owns.
func (v ConfigView) Map() map[string]string {
	m := make(map[string]string, len(v.entries))
	for _, e := range v.entries {
		m[e.key] = e.value
	}
	return m
}

// with returns a view in which key has this value, or with nil none.
func (v ConfigView) with(key string, value *string) ConfigView {
	i, found := v.find(key)
	entries := slices.Clone(v.entries)
	switch {
	case value == nil && found:
		entries = slices.Delete(entries, i, i+1)
	case found:
		entries[i].value = *value
	case value != nil:
		entries = slices.Insert(entries, i, configValue{key, *value})
	}
	return ConfigView{entries}
}
