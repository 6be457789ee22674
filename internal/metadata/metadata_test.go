package metadata_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

func uuid(n byte) model.UUID { return model.UUID{6: 0x40, 8: 0x80, 15: n} }

func ptr[T any](v T) *T { return &v }

// partition is a healthy partition on these brokers, each with the directory of its number.
func partition(replicas ...model.BrokerID) metadata.Partition {
	p := metadata.Partition{Replicas: replicas, ISR: replicas, Leader: replicas[0]}
	for _, id := range replicas {
		p.Directories = append(p.Directories, uuid(byte(id)))
	}
	return p
}

func register(offset int64, id model.BrokerID) *metadata.RegisterBrokerRecord {
	return &metadata.RegisterBrokerRecord{
		ID: id, Epoch: offset, Incarnation: uuid(100),
		Endpoints:    []model.Endpoint{{Listener: "PLAINTEXT", Host: "localhost", Port: 9092}},
		DirectoryIDs: []model.UUID{uuid(byte(id))},
	}
}

func apply(t *testing.T, image *metadata.Image, records ...metadata.Record) (*metadata.Image, *metadata.Delta) {
	t.Helper()
	next, delta, err := image.Apply(image.Offset()+1, records)
	if err != nil {
		t.Fatal(err)
	}
	return next, delta
}

// twoTopics has controller epoch 1, brokers 1 and 2, topics orders (2 partitions) and a.b, and a config.
func twoTopics(t *testing.T) *metadata.Image {
	t.Helper()
	image, _ := apply(t, metadata.Empty(),
		&metadata.ActivateControllerRecord{Epoch: 1},
		&metadata.ClusterRecord{ID: "cluster"},
		register(2, 1), register(3, 2),
		&metadata.TopicRecord{Name: "orders", ID: uuid(200)},
		&metadata.PartitionRecord{TopicID: uuid(200), Partition: 0, State: partition(1, 2)},
		&metadata.PartitionRecord{TopicID: uuid(200), Partition: 1, State: partition(2, 1)},
		&metadata.TopicRecord{Name: "a.b", ID: uuid(201)},
		&metadata.PartitionRecord{TopicID: uuid(201), Partition: 0, State: partition(1)},
		&metadata.ConfigRecord{ResourceType: metadata.TopicResource, ResourceName: "orders", Key: "retention.ms", Value: ptr("5")},
	)
	return image
}

func TestCommit_Fence(t *testing.T) {
	image := twoTopics(t)
	records := []metadata.Record{&metadata.RemoveTopicRecord{ID: uuid(200)}}
	for _, tc := range []struct {
		name  string
		fence metadata.Fence
		want  error
	}{
		{"as decided", metadata.Fence{ControllerEpoch: 1, Offset: image.Offset()}, nil},
		{"older controller", metadata.Fence{ControllerEpoch: 0, Offset: image.Offset()}, metadata.ErrStale},
		{"controller not activated", metadata.Fence{ControllerEpoch: 2, Offset: image.Offset()}, metadata.ErrStale},
		{"older image", metadata.Fence{ControllerEpoch: 1, Offset: image.Offset() - 1}, metadata.ErrStale},
		{"the batch before it was lost", metadata.Fence{ControllerEpoch: 1, Offset: image.Offset() + 1}, metadata.ErrStale},
	} {
		t.Run(tc.name, func(t *testing.T) {
			batch, err := metadata.EncodeBatch(records, tc.fence)
			if err != nil {
				t.Fatal(err)
			}
			next, _, err := image.Commit(batch)
			if !errors.Is(err, tc.want) {
				t.Fatalf("Commit: %v, want %v", err, tc.want)
			}
			if (next != nil) != (tc.want == nil) {
				t.Fatalf("Commit returned image %v beside error %v", next, err)
			}
		})
	}
}

func TestApply_ActivationFencesOlderControllers(t *testing.T) {
	image := twoTopics(t)
	decided := metadata.Fence{ControllerEpoch: 1, Offset: image.Offset() + 1} // as if nothing but the offset had moved
	image, delta := apply(t, image, &metadata.ActivateControllerRecord{Epoch: 7})
	if !delta.Controller || image.ControllerEpoch() != 7 {
		t.Fatalf("controller epoch %d, delta says %v", image.ControllerEpoch(), delta.Controller)
	}
	batch, err := metadata.EncodeBatch([]metadata.Record{&metadata.RemoveTopicRecord{ID: uuid(200)}}, decided)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := image.Commit(batch); !errors.Is(err, metadata.ErrStale) {
		t.Fatalf("a deposed controller's batch: %v, want ErrStale", err)
	}
}

func TestApply_Impossible(t *testing.T) {
	image := twoTopics(t)
	next := image.Offset() + 1
	change := func(edit func(*metadata.PartitionChangeRecord)) metadata.Record {
		r := metadata.NewPartitionChange(uuid(200), 0)
		edit(r)
		return r
	}
	state := func(edit func(*metadata.Partition)) metadata.Record {
		p := partition(1, 2)
		edit(&p)
		return &metadata.PartitionRecord{TopicID: uuid(200), Partition: 2, State: p}
	}
	for _, tc := range []struct {
		name   string
		record metadata.Record
	}{
		{"controller epoch again", &metadata.ActivateControllerRecord{Epoch: 1}},
		{"second cluster id", &metadata.ClusterRecord{ID: "other"}},
		{"broker epoch is not the offset", register(next-1, 3)},
		{"broker without incarnation", &metadata.RegisterBrokerRecord{ID: 1, Epoch: next}},
		{"fence unknown broker", &metadata.BrokerChangeRecord{ID: 9, Epoch: 2}},
		{"fence an older registration", &metadata.BrokerChangeRecord{ID: 1, Epoch: 1}},
		{"unregister an older registration", &metadata.UnregisterBrokerRecord{ID: 1, Epoch: 1}},
		{"feature epoch is not the offset", &metadata.FeatureLevelRecord{Name: "metadata.version", Level: 1, Epoch: 1}},
		{"feature removed twice", &metadata.FeatureLevelRecord{Name: "group.version", Epoch: next}},
		{"topic exists", &metadata.TopicRecord{Name: "orders", ID: uuid(9)}},
		{"topic id is taken", &metadata.TopicRecord{Name: "new", ID: uuid(200)}},
		{"topic without id", &metadata.TopicRecord{Name: "new"}},
		{"topic collides", &metadata.TopicRecord{Name: "a_b", ID: uuid(9)}},
		{"topic name", &metadata.TopicRecord{Name: "no/slash", ID: uuid(9)}},
		{"remove unknown topic", &metadata.RemoveTopicRecord{ID: uuid(9)}},
		{"partition exists", &metadata.PartitionRecord{TopicID: uuid(200), Partition: 1, State: partition(1)}},
		{"partition leaves a gap", &metadata.PartitionRecord{TopicID: uuid(200), Partition: 3, State: partition(1)}},
		{"partition of unknown topic", &metadata.PartitionRecord{TopicID: uuid(9), State: partition(1)}},
		{"no replicas", state(func(p *metadata.Partition) { *p = metadata.Partition{Leader: -1} })},
		{"replica twice", state(func(p *metadata.Partition) { p.Replicas = []model.BrokerID{1, 1} })},
		{"leader outside ISR", state(func(p *metadata.Partition) { p.ISR = []model.BrokerID{2} })},
		{"ISR outside replicas", state(func(p *metadata.Partition) { p.ISR = []model.BrokerID{1, 3} })},
		{"ISR member twice", state(func(p *metadata.Partition) { p.ISR = []model.BrokerID{1, 1} })},
		{"ELR overlaps ISR", state(func(p *metadata.Partition) { p.ELR = []model.BrokerID{1} })},
		{"directory is missing", state(func(p *metadata.Partition) { p.Directories = p.Directories[:1] })},
		{"change of unknown partition", metadata.NewPartitionChange(uuid(200), 2)},
		{"leader not in ISR", change(func(r *metadata.PartitionChangeRecord) { r.Leader = 3 })},
		{"ISR without its leader", change(func(r *metadata.PartitionChangeRecord) { r.ISR = []model.BrokerID{2} })},
		{"config of unknown topic", &metadata.ConfigRecord{ResourceType: 2, ResourceName: "none", Key: "k", Value: ptr("v")}},
		{"delete unset config", &metadata.ConfigRecord{ResourceType: 2, ResourceName: "orders", Key: "k"}},
		{"producer ids of unknown broker", &metadata.ProducerIDsRecord{BrokerID: 9, BrokerEpoch: 2, NextID: 1000}},
		{"producer ids under an older epoch", &metadata.ProducerIDsRecord{BrokerID: 1, BrokerEpoch: 1, NextID: 1000}},
		{"producer ids go back", &metadata.ProducerIDsRecord{BrokerID: 1, BrokerEpoch: 2, NextID: 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, _, err := image.Apply(next, []metadata.Record{tc.record}); !errors.Is(err, metadata.ErrImpossible) {
				t.Fatalf("Apply(%+v) = %v, want ErrImpossible", tc.record, err)
			}
		})
	}
	if _, _, err := image.Apply(next+1, nil); !errors.Is(err, metadata.ErrImpossible) {
		t.Errorf("a gap in the offsets: %v, want ErrImpossible", err)
	}
}

func TestApply_PartitionChange(t *testing.T) {
	before := twoTopics(t)
	shrink := metadata.NewPartitionChange(uuid(200), 0)
	shrink.ISR = []model.BrokerID{1}
	shrink.ELR = []model.BrokerID{2}
	elect := metadata.NewPartitionChange(uuid(200), 0)
	elect.Leader = 1
	elect.ELR = []model.BrokerID{}
	elect.Recovery = metadata.RecoveryStarts
	after, delta := apply(t, before, shrink, elect)

	want := partition(1, 2)
	want.ISR, want.LeaderEpoch, want.PartitionEpoch, want.Recovering = []model.BrokerID{1}, 1, 2, true
	topic, _ := after.Topic("orders")
	if diff := cmp.Diff(want, *topic.Partition(0)); diff != "" {
		t.Errorf("partition (-want +got):\n%s", diff)
	}
	old, _ := before.Topic("orders")
	if diff := cmp.Diff(partition(1, 2), *old.Partition(0)); diff != "" {
		t.Errorf("the image before changed (-want +got):\n%s", diff)
	}
	if len(delta.Topics) != 1 || delta.Topics[0].Old != old || delta.Topics[0].New != topic {
		t.Fatalf("delta %+v, want orders before and after", delta.Topics)
	}
	if got := slices.Collect(delta.Topics[0].Partitions); !slices.Equal(got, []int32{0}) {
		t.Errorf("changed partitions %v, want 0 alone", got)
	}
}

func TestApply_RemoveAndRecreateTopic(t *testing.T) {
	image := twoTopics(t)
	image, delta := apply(t, image,
		&metadata.RemoveTopicRecord{ID: uuid(200)},
		&metadata.TopicRecord{Name: "orders", ID: uuid(202)},
		&metadata.PartitionRecord{TopicID: uuid(202), State: partition(2)},
	)
	if n := image.Config(metadata.TopicResource, "orders").Len(); n != 0 {
		t.Errorf("the new topic has %d configs of the old one", n)
	}
	if _, ok := image.TopicByID(uuid(200)); ok {
		t.Error("the old id is still there")
	}
	if image.PartitionCount() != 2 {
		t.Errorf("%d partitions, want 2", image.PartitionCount())
	}
	var seen []string
	for _, c := range delta.Topics {
		seen = append(seen, fmt.Sprintf("%d: %t→%t", c.ID()[15], c.Old != nil, c.New != nil))
	}
	if want := []string{"200: true→false", "202: false→true"}; !slices.Equal(seen, want) {
		t.Errorf("delta %v, want %v", seen, want)
	}
	if want := []metadata.ConfigResource{{Type: metadata.TopicResource, Name: "orders"}}; !slices.Equal(delta.Configs, want) {
		t.Errorf("changed configs %v, want %v", delta.Configs, want)
	}
	// The name is free again after a removal, for its twin too.
	image, _ = apply(t, image, &metadata.RemoveTopicRecord{ID: uuid(201)}, &metadata.TopicRecord{Name: "a_b", ID: uuid(203)})
	if other, ok := image.CollidingTopic("a.b"); !ok || other != "a_b" {
		t.Errorf("CollidingTopic(a.b) = %q, %v; want a_b", other, ok)
	}
}

func TestTopicBytes_DoesNotAllocate(t *testing.T) {
	image := metadata.Empty()
	for i := range 300 {
		image, _ = apply(t, image, &metadata.TopicRecord{Name: fmt.Sprintf("%s-%03d", strings.Repeat("long", 20), i), ID: model.UUID{0: byte(i), 1: byte(i >> 8), 2: 1}})
	}
	name := []byte(strings.Repeat("long", 20) + "-123")
	if n := testing.AllocsPerRun(100, func() {
		if topic, ok := image.TopicBytes(name); !ok || len(topic.Name) != len(name) {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("TopicBytes allocates %v times", n)
	}
	if _, ok := image.TopicBytes(nil); ok {
		t.Error("TopicBytes(nil) found a topic")
	}
}

// Controller and state machine fold different records into one published image while others read it.
func TestApply_FromOneImageConcurrently(t *testing.T) {
	image := twoTopics(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 100 {
				next, _, err := image.Apply(image.Offset()+1, []metadata.Record{
					&metadata.TopicRecord{Name: fmt.Sprint("t", n, "-", i), ID: uuid(1)},
				})
				if err != nil || next.TopicCount() != 3 || image.TopicCount() != 2 {
					t.Errorf("%v, %d topics after, %d before", err, next.TopicCount(), image.TopicCount())
				}
			}
		})
	}
	wg.Wait()
}

// generator draws records that can follow an image.
type generator struct {
	image *metadata.Image
	epoch int32
	ids   byte
}

func (g *generator) draw(t *rapid.T) metadata.Record {
	topics := slices.Collect(g.image.Topics())
	brokers := slices.Collect(g.image.Brokers())
	next := g.image.Offset() + 1
	someTopic := func() *metadata.Topic { return rapid.SampledFrom(topics).Draw(t, "topic") }
	someBroker := func() *metadata.Broker { return rapid.SampledFrom(brokers).Draw(t, "broker") }
	replicas := func() []model.BrokerID {
		return rapid.SliceOfNDistinct(rapid.Map(rapid.Int32Range(0, 5), func(i int32) model.BrokerID { return model.BrokerID(i) }), 1, 4, rapid.ID).Draw(t, "replicas")
	}
	for {
		switch rapid.IntRange(0, 11).Draw(t, "kind") {
		case 0:
			g.epoch++
			return &metadata.ActivateControllerRecord{Epoch: g.epoch}
		case 1:
			level := rapid.Int16Range(0, 3).Draw(t, "level")
			name := rapid.SampledFrom([]string{"metadata.version", "group.version"}).Draw(t, "feature")
			if _, ok := g.image.Feature(name); level == 0 && !ok {
				continue
			}
			return &metadata.FeatureLevelRecord{Name: name, Level: level, Epoch: next}
		case 2, 3:
			r := register(next, model.BrokerID(rapid.Int32Range(0, 5).Draw(t, "id")))
			r.Fenced = rapid.Bool().Draw(t, "fenced")
			r.Rack = rapid.SampledFrom([]string{"", "r1"}).Draw(t, "rack")
			return r
		case 4:
			if len(brokers) == 0 {
				continue
			}
			b := someBroker()
			return &metadata.BrokerChangeRecord{ID: b.ID, Epoch: b.Epoch, Fenced: rapid.Bool().Draw(t, "fenced"), ShuttingDown: rapid.Bool().Draw(t, "down")}
		case 5:
			if len(brokers) == 0 {
				continue
			}
			b := someBroker()
			return &metadata.UnregisterBrokerRecord{ID: b.ID, Epoch: b.Epoch}
		case 6:
			name := rapid.StringMatching(`[ab._]{1,3}[xy]`).Draw(t, "name")
			if _, taken := g.image.CollidingTopic(name); taken {
				continue
			}
			g.ids++
			return &metadata.TopicRecord{Name: name, ID: uuid(g.ids)}
		case 7:
			if len(topics) == 0 {
				continue
			}
			return &metadata.RemoveTopicRecord{ID: someTopic().ID}
		case 8:
			if len(topics) == 0 {
				continue
			}
			topic := someTopic()
			return &metadata.PartitionRecord{TopicID: topic.ID, Partition: int32(len(topic.Partitions)), State: partition(replicas()...)}
		case 9:
			if len(topics) == 0 {
				continue
			}
			topic := someTopic()
			if len(topic.Partitions) == 0 {
				continue
			}
			n := rapid.IntRange(0, len(topic.Partitions)-1).Draw(t, "partition")
			r := metadata.NewPartitionChange(topic.ID, int32(n))
			all := topic.Partitions[n].Replicas
			r.ISR = rapid.Permutation(all).Draw(t, "isr")[:rapid.IntRange(1, len(all)).Draw(t, "isr size")]
			r.ELR = slices.DeleteFunc(slices.Clone(all), func(id model.BrokerID) bool { return slices.Contains(r.ISR, id) })
			r.Leader = r.ISR[0]
			r.Recovery = metadata.RecoveryChange(rapid.IntRange(0, 2).Draw(t, "recovery"))
			return r
		case 10:
			resource := metadata.ConfigResource{Type: metadata.BrokerResource}
			if len(topics) > 0 && rapid.Bool().Draw(t, "of topic") {
				resource = metadata.ConfigResource{Type: metadata.TopicResource, Name: someTopic().Name}
			}
			r := &metadata.ConfigRecord{ResourceType: resource.Type, ResourceName: resource.Name, Key: rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "key")}
			_, set := g.image.Config(resource.Type, resource.Name).Get(r.Key)
			if !set || rapid.Bool().Draw(t, "set") {
				r.Value = ptr(rapid.StringN(0, 5, -1).Draw(t, "value"))
			}
			return r
		case 11:
			if len(brokers) == 0 {
				continue
			}
			b := someBroker()
			return &metadata.ProducerIDsRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch, NextID: g.image.NextProducerID() + 1000}
		}
	}
}

// A live image, the image of its records, of its snapshot and of its encoded batches are one; deltas
// say what a comparison finds; and an image that others hold never changes.
func TestImage_LiveIsReloaded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := generator{image: metadata.Empty()}
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			before := g.image
			beforeRecords := before.Records()
			var batch []metadata.Record
			for range rapid.IntRange(1, 4).Draw(t, "records") {
				r := g.draw(t)
				next, _, err := g.image.Apply(g.image.Offset()+1, []metadata.Record{r})
				if err != nil {
					t.Fatalf("the generator drew an impossible record: %v", err)
				}
				g.image = next
				batch = append(batch, r)
			}
			encoded, err := metadata.EncodeBatch(batch, metadata.Fence{ControllerEpoch: before.ControllerEpoch(), Offset: before.Offset()})
			if err != nil {
				t.Fatal(err)
			}
			next, delta, err := before.Commit(encoded)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "one by one and as a batch", g.image, next)
			sameDelta(t, metadata.Diff(before, next), delta)
			if diff := cmp.Diff(beforeRecords, before.Records()); diff != "" {
				t.Fatalf("the image before changed:\n%s", diff)
			}
			g.image = next
		}
		restored, err := metadata.FromRecords(g.image.Offset(), g.image.Records())
		if err != nil {
			t.Fatal(err)
		}
		same(t, "live and from records", g.image, restored)
		var file bytes.Buffer
		if err := g.image.WriteSnapshot(&file); err != nil {
			t.Fatal(err)
		}
		restored, err = metadata.ReadSnapshot(&file)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "live and from a snapshot", g.image, restored)
		if delta := metadata.Diff(g.image, restored); len(delta.Topics)+len(delta.Brokers)+len(delta.Configs) > 0 {
			t.Fatalf("the snapshot's image differs: %+v", delta)
		}
	})
}

type fataler interface{ Fatalf(string, ...any) }

func same(t fataler, what string, a, b *metadata.Image) {
	if diff := cmp.Diff(a.Records(), b.Records()); diff != "" {
		t.Fatalf("%s differ:\n%s", what, diff)
	}
	if a.Offset() != b.Offset() || a.PartitionCount() != b.PartitionCount() || a.FinalizedFeaturesEpoch() != b.FinalizedFeaturesEpoch() {
		t.Fatalf("%s: offsets %d and %d, partitions %d and %d, feature epochs %d and %d", what,
			a.Offset(), b.Offset(), a.PartitionCount(), b.PartitionCount(), a.FinalizedFeaturesEpoch(), b.FinalizedFeaturesEpoch())
	}
	for topic := range a.Topics() {
		byID, _ := b.TopicByID(topic.ID)
		byName, _ := b.TopicBytes([]byte(topic.Name))
		other, _ := b.CollidingTopic(topic.Name)
		if byID == nil || byID != byName || other != topic.Name {
			t.Fatalf("%s: topic %s is found as %v by id, %v by name, %q by collision", what, topic.Name, byID, byName, other)
		}
	}
}

// sameDelta allows the folded delta to name what was touched and then put back.
func sameDelta(t fataler, compared, folded *metadata.Delta) {
	for _, c := range compared.Topics {
		if !slices.Contains(folded.Topics, c) {
			t.Fatalf("the delta misses topic %v of %+v", c.ID(), folded.Topics)
		}
	}
	for _, c := range compared.Brokers {
		if !slices.Contains(folded.Brokers, c) {
			t.Fatalf("the delta misses broker %v of %+v", c.ID(), folded.Brokers)
		}
	}
	for _, c := range compared.Configs {
		if !slices.Contains(folded.Configs, c) {
			t.Fatalf("the delta misses config %v of %+v", c, folded.Configs)
		}
	}
	if compared.Features && !folded.Features || compared.Controller != folded.Controller {
		t.Fatalf("features %v/%v, controller %v/%v", compared.Features, folded.Features, compared.Controller, folded.Controller)
	}
}
