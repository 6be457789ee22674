package node_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/configdef"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
)

// What configdef calls dynamic must be so: for every such key there is a case that alters it on a running
// node and sees the node behave otherwise. A case runs in a synctest bubble, so that to let time
// pass (subject.pass) advances the node's clocks and timers and costs nothing.

// dynamicCase shows the effect of one key.
type dynamicCase struct {
	key    string
	static []string // how the node starts, key=value
	// show finds the node as it starts, calls alter with a new value of the key, and finds it changed.
	show func(t *testing.T, n *subject)
}

// subject is the node that a case alters. It has a topic "t" of one partition that sets nothing itself.
type subject struct {
	*nodetest.Node
	t        *testing.T
	fs       *vfs.Mem
	options  nodetest.Options
	registry *prometheus.Registry
	client   *kgo.Client
	admin    *kadm.Client
	id       kadm.TopicID // of t

	// alter gives the key of the case a value: as a topic's key, as the default of all brokers, or as this
	// broker's.
	alter func(value string)
}

// layer is where a key is altered.
type layer struct {
	name  string
	alter func(n *subject, key, value string) (kadm.AlterConfigsResponses, error)
}

var (
	topicLayer = layer{"topic", func(n *subject, key, value string) (kadm.AlterConfigsResponses, error) {
		return n.admin.AlterTopicConfigs(within(n.t), []kadm.AlterConfig{{Name: key, Value: &value}}, "t")
	}}
	allBrokersLayer = layer{"cluster-wide", func(n *subject, key, value string) (kadm.AlterConfigsResponses, error) {
		return n.admin.AlterBrokerConfigs(within(n.t), []kadm.AlterConfig{{Name: key, Value: &value}})
	}}
	thisBrokerLayer = layer{"per-broker", func(n *subject, key, value string) (kadm.AlterConfigsResponses, error) {
		return n.admin.AlterBrokerConfigs(within(n.t), []kadm.AlterConfig{{Name: key, Value: &value}}, 1)
	}}
)

// mustAlter alters a key and fails the test where that is refused.
func (n *subject) mustAlter(l layer, key, value string) {
	n.t.Helper()
	if err := n.tryAlter(l, key, value); err != nil {
		n.t.Fatalf("alter %s to %s: %v", key, value, err)
	}
}

func (n *subject) tryAlter(l layer, key, value string) error {
	answers, err := l.alter(n, key, value)
	if err != nil {
		return err
	}
	if answers[0].Err != nil {
		return fmt.Errorf("%w: %s", answers[0].Err, answers[0].ErrMessage)
	}
	return nil
}

// boot starts the node of a test, which must run in a bubble.
func boot(t *testing.T, static ...string) *subject {
	n := &subject{t: t, fs: vfs.NewMem(1), options: nodetest.Options{Set: static}}
	n.start()
	created, err := n.admin.CreateTopic(within(t), 1, 1, nil, "t")
	if err != nil {
		t.Fatal(err)
	}
	n.id = created.ID
	return n
}

func (n *subject) start() {
	n.t.Helper()
	n.registry = prometheus.NewRegistry()
	n.options.FS, n.options.Registry = n.fs, n.registry
	n.Node = nodetest.Start(n.t, n.options)
	n.client = n.Node.Client()
	n.admin = kadm.NewClient(n.client)
}

// losePower cuts the power and starts the node again on what was synced.
func (n *subject) losePower() {
	n.t.Helper()
	n.fs = n.fs.Crash(vfs.CrashOptions{})
	_ = n.Node.Stop() // it finds its disk gone
	n.start()
	for range 1000 {
		if ends, err := n.admin.ListEndOffsets(within(n.t), "t"); err == nil && ends.Error() == nil {
			return
		}
		n.pass(10 * time.Millisecond)
	}
	n.t.Fatal("topic t is not recovered")
}

// pass lets time pass: the clocks and timers of the bubble advance.
func (n *subject) pass(d time.Duration) { time.Sleep(d) }

// runCase runs a case with its key altered in a layer.
func runCase(t *testing.T, c dynamicCase, l layer, key string) {
	t.Run(l.name+"/"+key, func(t *testing.T) {
		if testing.Short() && l.name == thisBrokerLayer.name {
			t.Skip("the other layers take the same way")
		}
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n := boot(t, c.static...)
			n.alter = func(value string) { n.t.Helper(); n.mustAlter(l, key, value) }
			c.show(t, n)
		})
	})
}

func TestDynamic_TopicKeysTakeEffect(t *testing.T) {
	for _, c := range topicCases {
		runCase(t, c, topicLayer, c.key)
		k, _ := configdef.Topic().Lookup(c.key)
		for _, s := range k.Synonyms {
			if b, _ := configdef.Broker().Lookup(s.Name); b.Mutability != configdef.ReadOnly {
				runCase(t, c, allBrokersLayer, s.Name)
				runCase(t, c, thisBrokerLayer, s.Name)
			}
		}
	}
}

func TestDynamic_BrokerKeysTakeEffect(t *testing.T) {
	for _, c := range brokerCases {
		runCase(t, c, allBrokersLayer, c.key)
		runCase(t, c, thisBrokerLayer, c.key)
	}
}

// shownElsewhere are dynamic keys of topics whose effect a single node cannot show, with the test that does.
var shownElsewhere = map[string]string{
	// It is bounded by the number of replicas, as in Kafka, and here every partition has one.
	"min.insync.replicas": "replica.TestReconfigure_MinInsyncReplicas",
}

// TestDynamic_EveryKeyHasACase fails when a key becomes dynamic and nobody shows what it does.
func TestDynamic_EveryKeyHasACase(t *testing.T) {
	covered := map[string]bool{} // broker keys
	topics := map[string]bool{}
	for _, c := range topicCases {
		topics[c.key] = true
		k, ok := configdef.Topic().Lookup(c.key)
		if !ok || k.NoEffect != "" {
			t.Errorf("the topic key %s has a case, but no effect", c.key)
		}
		for _, s := range k.Synonyms {
			covered[s.Name] = true
		}
	}
	for _, c := range brokerCases {
		covered[c.key] = true
		if k, ok := configdef.Broker().Lookup(c.key); !ok || k.NoEffect != "" || k.Mutability != configdef.ClusterWide {
			t.Errorf("the broker key %s has a case that alters it everywhere, and is not such a key", c.key)
		}
	}
	for name := range shownElsewhere {
		topics[name] = true
		k, _ := configdef.Topic().Lookup(name)
		for _, s := range k.Synonyms {
			covered[s.Name] = true
		}
	}
	for k := range configdef.Topic().Keys() {
		if k.NoEffect == "" && !topics[k.Name] {
			t.Errorf("the topic key %s has no case", k.Name)
		}
	}
	for k := range configdef.Broker().Keys() {
		if k.NoEffect == "" && k.Mutability != configdef.ReadOnly && !covered[k.Name] {
			t.Errorf("the broker key %s is dynamic and has no case", k.Name)
		}
	}
	for _, def := range []*configdef.Def{configdef.Group(), configdef.ClientMetrics()} {
		for k := range def.Keys() {
			if k.NoEffect == "" {
				t.Errorf("the %s key %s takes effect and has no case: this test does not know the scope", k.Scope, k.Name)
			}
		}
	}
}

// TestDynamic_WhatHasNoEffectIsRefused tries every key that AlterConfigs must not take.
func TestDynamic_WhatHasNoEffectIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := boot(t)
		refused := func(l layer, k configdef.Key, value, why string) {
			t.Helper()
			if err := n.tryAlter(l, k.Name, value); err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s %s=%s: %v, want a refusal for that it %s", l.name, k.Name, value, err, why)
			}
		}
		tried := 0
		for k := range configdef.Topic().Keys() {
			if k.NoEffect != "" && !k.Internal {
				refused(topicLayer, k, otherValue(t, k), "has no effect here")
				tried++
			}
		}
		for k := range configdef.Broker().Keys() {
			why := "cannot be changed while the broker runs"
			switch {
			case k.NoEffect != "":
				why = "has no effect here"
			case k.Mutability != configdef.ReadOnly:
				continue
			}
			refused(allBrokersLayer, k, otherValue(t, k), why)
			refused(thisBrokerLayer, k, otherValue(t, k), why)
			tried++
		}
		for _, name := range []string{"max.connections", "max.connection.creation.rate"} {
			k, _ := configdef.Broker().Lookup("listener.name.plaintext." + name)
			refused(thisBrokerLayer, k, "7", "has no effect here")
		}
		if tried < 100 {
			t.Errorf("only %d keys tried", tried)
		}
	})
}

// otherValue returns a value that the key takes and that is not its default.
func otherValue(t *testing.T, k configdef.Key) string {
	t.Helper()
	bounds := strings.FieldsFunc(k.Bound.String(), func(r rune) bool { return strings.ContainsRune(", …", r) })
	for _, text := range append(bounds, "true", "false", "7", "7777777", "earliest", "0:1", "1@host:1", "host:1", "x") {
		if _, err := k.Parse(text); err == nil && !k.IsDefault(text) {
			return text
		}
	}
	t.Fatalf("this test knows no value for %s %s", k.Type, k.Name)
	return ""
}

// batch is one record to append.
type batch struct {
	topic      string // "" is t
	at         time.Time
	key, value string
	records    int // copies with numbered keys; 0 is the one record as it is

	producer int64 // with it the batch is idempotent
	sequence int32
}

// append appends a batch as it is, without a client's retries, and returns its offset or error.
func (n *subject) append(b batch) (int64, error) {
	n.t.Helper()
	if b.at.IsZero() {
		b.at = time.Now()
	}
	build := record.NewBuilder(record.BuilderOptions{ProducerID: b.producer, BaseSequence: b.sequence})
	for i := range max(b.records, 1) {
		var key []byte
		if b.records > 0 {
			key = fmt.Append(nil, b.key, i)
		} else if b.key != "" {
			key = []byte(b.key)
		}
		var value []byte
		if b.value != "" {
			value = []byte(b.value)
		}
		build.Append(b.at.UnixMilli(), key, value, nil)
	}
	raw, err := build.Build(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 5000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = b.topic, n.topicID(b.topic)
	if topic.Topic == "" {
		topic.Topic = "t"
	}
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = raw
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	response, err := n.client.Broker(1).Request(within(n.t), request)
	if err != nil {
		n.t.Fatal(err)
	}
	answer := response.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if answer.ErrorCode != 0 {
		return 0, kafkaerr.Code(answer.ErrorCode)
	}
	return answer.BaseOffset, nil
}

func (n *subject) topicID(name string) kadm.TopicID {
	if name == "" || name == "t" {
		return n.id
	}
	topics, err := n.admin.ListTopics(within(n.t), name)
	if err != nil {
		n.t.Fatal(err)
	}
	return topics[name].ID
}

// write appends a batch that must be taken.
func (n *subject) write(b batch) int64 {
	n.t.Helper()
	offset, err := n.append(b)
	if err != nil {
		n.t.Fatalf("write %+v: %v", b, err)
	}
	return offset
}

// refused appends a batch that must be refused with this code.
func (n *subject) refused(b batch, want kafkaerr.Code) {
	n.t.Helper()
	if _, err := n.append(b); kafkaerr.CodeOf(err) != want || err == nil {
		n.t.Errorf("the batch is answered with %v, want %v", err, want)
	}
}

// bounds returns the first offset of topic t and the one after the last.
func (n *subject) bounds() (start, end int64) {
	n.t.Helper()
	starts, err := n.admin.ListStartOffsets(within(n.t), "t")
	if err != nil {
		n.t.Fatal(err)
	}
	ends, err := n.admin.ListEndOffsets(within(n.t), "t")
	if err != nil {
		n.t.Fatal(err)
	}
	first, _ := starts.Lookup("t", 0)
	last, _ := ends.Lookup("t", 0)
	return first.Offset, last.Offset
}

// records returns what topic t holds. Its last record must be there.
func (n *subject) records() []*kgo.Record {
	n.t.Helper()
	_, end := n.bounds()
	client := n.Node.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}))
	defer client.Close()
	var all []*kgo.Record
	for len(all) == 0 || all[len(all)-1].Offset < end-1 {
		fetches := client.PollFetches(within(n.t))
		if err := fetches.Err(); err != nil {
			n.t.Fatal(err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

// values returns the values of a key in topic t, in order; a tombstone is "".
func (n *subject) values(key string) []string {
	n.t.Helper()
	values := []string{}
	for _, r := range n.records() {
		if string(r.Key) == key {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// expectValues compares the values of a key.
func (n *subject) expectValues(key string, want ...string) {
	n.t.Helper()
	if got := n.values(key); !slices.Equal(got, want) {
		n.t.Errorf("%s has the values %q, want %q", key, got, want)
	}
}

// files returns the files of topic t's partition that end with suffix, and their sizes.
func (n *subject) files(suffix string) map[string]int64 { return n.filesOf("t", suffix) }

func (n *subject) filesOf(topic, suffix string) map[string]int64 {
	n.t.Helper()
	dir := "/data/" + topic + "-0"
	entries, err := n.fs.ReadDir(dir)
	if err != nil {
		n.t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			info, err := n.fs.Stat(dir + "/" + e.Name())
			if err != nil {
				n.t.Fatal(err)
			}
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes
}

// logBytes returns the size of topic t's segments.
func (n *subject) logBytes() (sum int64) {
	for size := range maps.Values(n.files(".log")) {
		sum += size
	}
	return sum
}

// expectSegments counts the segments of topic t.
func (n *subject) expectSegments(want int) {
	n.t.Helper()
	if got := len(n.files(".log")); got != want {
		n.t.Errorf("%d segments, want %d", got, want)
	}
}

// call is one connection of a peer.
type call struct {
	conn net.Conn
	// served says whether the node answered; it hung up otherwise. took is how long that took.
	served bool
	took   time.Duration
}

// call connects from an address and asks for ApiVersions.
func (n *subject) call(address string) call {
	n.t.Helper()
	began := time.Now()
	ctx := within(n.t)
	conn, err := n.DialFrom(ctx, address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		n.t.Fatal(err)
	}
	if err := ask(conn); err != nil && err != io.EOF {
		n.t.Fatalf("from %s: %v", address, err)
	} else {
		return call{conn, err == nil, time.Since(began)}
	}
	return call{}
}

// ask sends an ApiVersions request of version 0 and reads the answer; io.EOF where the node hangs up.
func ask(conn net.Conn) error {
	request := []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff} // size, key, version, correlation id, no client id
	if _, err := conn.Write(request); err != nil {
		return io.EOF
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:])))
	return err
}

// expectCall calls and compares the outcome.
func (n *subject) expectCall(address string, served bool) call {
	n.t.Helper()
	c := n.call(address)
	if c.served != served {
		n.t.Errorf("a connection from %s is served: %v, want %v", address, c.served, served)
	}
	return c
}

// rounds returns how many rounds of compaction were made.
func (n *subject) rounds() uint64 {
	n.t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "walser_cleaner_round_seconds" {
			return f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	n.t.Fatal("compaction rounds are not counted")
	return 0
}

// seal writes a record that makes what was written so far a closed segment, under log.roll.ms=1000.
func (n *subject) seal(topic string) {
	n.t.Helper()
	n.pass(2 * time.Second)
	n.write(batch{topic: topic, key: "seal"})
}

// What was altered is in force when a restarted node answers its first request.
func TestDynamic_SettingsHoldAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := boot(t)
		n.mustAlter(allBrokersLayer, "max.connections.per.ip", "2")
		n.mustAlter(thisBrokerLayer, "max.connections.per.ip", "1")
		n.losePower()
		n.expectCall("10.0.0.1:1", true)
		n.expectCall("10.0.0.1:2", false)
	})
}
