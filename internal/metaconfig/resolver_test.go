package metaconfig_test

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/configdef"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metaconfig"
)

type texts = map[string]string

func resolver(static, cluster, perBroker texts) *metaconfig.Resolver {
	return metaconfig.New(maps.All(static), 1).With(image{"broker default": cluster, "broker 1": perBroker})
}

func TestTopic_Defaults(t *testing.T) {
	week, day := int64(7*24*3600*1000), int64(24*3600*1000)
	want := metaconfig.Topic{
		SegmentBytes: 1 << 30, SegmentMs: week, SegmentIndexBytes: 10 << 20, IndexIntervalBytes: 4096,
		RetentionMs: week, RetentionBytes: -1, Delete: true,
		DeleteRetentionMs: day, MaxCompactionLagMs: math.MaxInt64, MinCleanableDirtyRatio: 0.5, FileDeleteDelayMs: 60_000,
		MaxMessageBytes: 1<<20 + 12, FlushMessages: math.MaxInt64, FlushMs: math.MaxInt64,
		TimestampBeforeMaxMs: math.MaxInt64, TimestampAfterMaxMs: 3600_000,
		Compression: metaconfig.ProducerCodec, MinInsyncReplicas: 1, WriteCaching: metaconfig.CachingAuto,
	}
	if diff := cmp.Diff(want, *resolver(nil, nil, nil).Topic(metaconfig.None)); diff != "" {
		t.Error(diff)
	}
}

// Every field of Topic follows its key at every layer.
func TestTopic_EveryKeyTakesEffect(t *testing.T) {
	other := texts{ // a value of each live key that is not its default
		"cleanup.policy": "compact", "compression.type": "zstd", "delete.retention.ms": "1", "file.delete.delay.ms": "2",
		"flush.messages": "3", "flush.ms": "4", "index.interval.bytes": "5", "max.compaction.lag.ms": "6", "max.message.bytes": "7",
		"message.timestamp.after.max.ms": "8", "message.timestamp.before.max.ms": "9", "message.timestamp.type": "LogAppendTime",
		"min.cleanable.dirty.ratio": "0.25", "min.compaction.lag.ms": "1", "min.insync.replicas": "2", "preallocate": "true",
		"retention.bytes": "10", "retention.ms": "11", "segment.bytes": "1048577", "segment.index.bytes": "12",
		"segment.jitter.ms": "13", "segment.ms": "14", "unclean.leader.election.enable": "true", "write.caching": "false",
	}
	levels := texts{"compression.gzip.level": "gzip", "compression.lz4.level": "lz4", "compression.zstd.level": "zstd"}
	for k := range configdef.Topic().Keys() {
		if k.NoEffect != "" {
			continue
		}
		base := *resolver(nil, nil, nil).Topic(metaconfig.None)
		with, codec := texts{k.Name: other[k.Name]}, ""
		if name, ok := levels[k.Name]; ok {
			with, codec = texts{k.Name: "2"}, name
			base = *resolver(nil, nil, nil).Topic(maps.All(texts{"compression.type": codec}))
			with["compression.type"] = codec
		} else if other[k.Name] == "" {
			t.Errorf("%s: takes effect, but this test has no value for it", k.Name)
			continue
		}
		want := *resolver(nil, nil, nil).Topic(maps.All(with))
		if want == base {
			t.Errorf("%s: the topic's own value changes nothing", k.Name)
		}
		brokerKey := k.Synonyms[0].Name
		layer := texts{brokerKey: with[k.Name]}
		if codec != "" {
			layer["compression.type"] = codec
		}
		for name, r := range map[string]*metaconfig.Resolver{
			"static": resolver(layer, nil, nil), "cluster default": resolver(nil, layer, nil), "per broker": resolver(nil, nil, layer),
		} {
			if got := *r.Topic(metaconfig.None); got != want {
				t.Errorf("%s: %s as %s: %s", k.Name, brokerKey, name, cmp.Diff(want, got))
			}
		}
	}
}

func TestTopic_Precedence(t *testing.T) {
	for _, tc := range []struct {
		name                       string
		static, cluster, perBroker texts
		topic                      texts
		retention, roll, flush     int64
	}{
		{"hours", texts{"log.retention.hours": "2", "log.roll.hours": "3", "log.flush.scheduler.interval.ms": "4"}, nil, nil, nil, 7200_000, 3 * 3600_000, 4},
		{"minutes before hours", texts{"log.retention.hours": "2", "log.retention.minutes": "3"}, nil, nil, nil, 180_000, 7 * 24 * 3600_000, math.MaxInt64},
		{"milliseconds before all", texts{"log.retention.hours": "2", "log.retention.minutes": "3", "log.retention.ms": "4", "log.roll.ms": "5", "log.roll.hours": "6", "log.flush.interval.ms": "7", "log.flush.scheduler.interval.ms": "8"}, nil, nil, nil, 4, 5, 7},
		{"cluster default before static", texts{"log.retention.ms": "4"}, texts{"log.retention.ms": "5"}, nil, nil, 5, 7 * 24 * 3600_000, math.MaxInt64},
		{"broker before cluster default", texts{"log.retention.ms": "4"}, texts{"log.retention.ms": "5", "log.roll.ms": "1"}, texts{"log.retention.ms": "6"}, nil, 6, 1, math.MaxInt64},
		{"topic before broker", nil, nil, texts{"log.retention.ms": "6"}, texts{"retention.ms": "7", "segment.ms": "8", "flush.ms": "9"}, 7, 8, 9},
		{"any negative number is for ever", texts{"log.retention.minutes": "-5"}, nil, nil, nil, -1, 7 * 24 * 3600_000, math.MaxInt64},
		{"a bad stored value is passed over", texts{"log.retention.ms": "4"}, texts{"log.retention.ms": "x"}, nil, texts{"segment.ms": "0"}, 4, 7 * 24 * 3600_000, math.MaxInt64},
		{"a static key cannot become dynamic", nil, texts{"log.retention.hours": "1"}, nil, nil, 7 * 24 * 3600_000, 7 * 24 * 3600_000, math.MaxInt64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := resolver(tc.static, tc.cluster, tc.perBroker).Topic(maps.All(tc.topic))
			if got.RetentionMs != tc.retention || got.SegmentMs != tc.roll || got.FlushMs != tc.flush {
				t.Errorf("retention %d, roll %d, flush %d; want %d, %d, %d", got.RetentionMs, got.SegmentMs, got.FlushMs, tc.retention, tc.roll, tc.flush)
			}
		})
	}
	if faults := resolver(nil, texts{"log.retention.ms": "x"}, nil).Faults(); len(faults) != 1 || !strings.Contains(faults[0].Error(), "log.retention.ms") {
		t.Errorf("a bad stored value is reported as %v", faults)
	}
}

func TestBroker(t *testing.T) {
	r := resolver(texts{"max.connections": "5", "max.connections.per.ip.overrides": "10.0.0.7:1, [2001:db8::1]:2"},
		texts{"log.cleaner.threads": "3", "log.cleaner.backoff.ms": "10", "max.connections": "6"},
		texts{
			"log.cleaner.threads": "4", "producer.id.expiration.ms": "1000", "max.connections.per.ip": "9", "max.connection.creation.rate": "8",
			"log.cleaner.dedupe.buffer.size": "9000000", "log.cleaner.io.max.bytes.per.second": "1e6",
		})
	want := metaconfig.Broker{
		MaxConnections: 6, MaxConnectionsPerIP: 9, MaxConnectionsByIP: map[netip.Addr]int{netip.MustParseAddr("10.0.0.7"): 1, netip.MustParseAddr("2001:db8::1"): 2}, MaxConnectionCreationRate: 8,
		Cleaner:              metaconfig.Cleaner{Threads: 4, DedupeBufferBytes: 9_000_000, MaxBytesPerSecond: 1e6, Backoff: 10 * time.Millisecond},
		ProducerIDExpiration: time.Second,
	}
	if diff := cmp.Diff(want, *r.Broker(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestWith_SameLayersSameResolver(t *testing.T) {
	r := resolver(nil, texts{"log.retention.ms": "5"}, nil)
	if r.With(image{"broker default": {"log.retention.ms": "5"}, "topic t": {"retention.ms": "1"}}) != r {
		t.Error("an image that sets the same for this broker makes another resolver")
	}
	if r.With(image{}) == r {
		t.Error("a default that was taken away is not noticed")
	}
	if got := r.With(image{}).Topic(metaconfig.None).RetentionMs; got != 7*24*3600_000 {
		t.Errorf("retention %d after the default was taken away", got)
	}
}

func TestTopic_WithoutOverridesIsShared(t *testing.T) {
	r := resolver(nil, nil, nil)
	if r.Topic(metaconfig.None) != r.Topic(maps.All(texts{"no.such": "1"})) {
		t.Error("topics without overrides do not share one value")
	}
	if r.Topic(maps.All(texts{"flush.ms": "1"})).FlushMs != 1 || r.Topic(metaconfig.None).FlushMs == 1 {
		t.Error("one topic's override shows in all")
	}
}

func value(s string) *string { return &s }

func set(name, v string) metaconfig.Change {
	return metaconfig.Change{Op: metaconfig.Set, Name: name, Value: &v}
}

func TestAlter(t *testing.T) {
	long := strings.Repeat("9", 32768)
	for _, tc := range []struct {
		name    string
		res     metaconfig.Resource
		current texts
		changes []metaconfig.Change
		want    []metaconfig.Update
		code    kafkaerr.Code
		message string
	}{
		{
			"set and delete", metaconfig.TopicResource,
			texts{"retention.ms": "1", "flush.ms": "1"},
			[]metaconfig.Change{set("segment.ms", "5"), {Op: metaconfig.Delete, Name: "flush.ms"}},
			[]metaconfig.Update{{"segment.ms", value("5")}, {"flush.ms", nil}},
			0, "",
		},
		{"what is stored is not stored again", metaconfig.TopicResource, texts{"retention.ms": "1"}, []metaconfig.Change{set("retention.ms", "1")}, nil, 0, ""},
		{"deleting what is not set", metaconfig.TopicResource, nil, []metaconfig.Change{{Op: metaconfig.Delete, Name: "no.such"}}, nil, 0, ""},
		{
			"append to what the default is", metaconfig.TopicResource, nil,
			[]metaconfig.Change{{metaconfig.Append, "cleanup.policy", value("compact,delete")}},
			[]metaconfig.Update{{"cleanup.policy", value("delete,compact")}},
			0, "",
		},
		{
			"subtract the last", metaconfig.TopicResource,
			texts{"cleanup.policy": "compact"},
			[]metaconfig.Change{{metaconfig.Subtract, "cleanup.policy", value("compact,x")}},
			[]metaconfig.Update{{"cleanup.policy", value("")}},
			0, "",
		},
		{
			"append to no list", metaconfig.TopicResource, nil,
			[]metaconfig.Change{{metaconfig.Append, "retention.ms", value("1")}},
			nil,
			kafkaerr.InvalidConfig, "retention.ms is not a list: it can be set or deleted, not appended to or subtracted from",
		},
		{
			"one key twice", metaconfig.TopicResource, nil,
			[]metaconfig.Change{set("retention.ms", "1"), set("retention.ms", "2")},
			nil,
			kafkaerr.InvalidRequest, "retention.ms is changed twice in one request",
		},
		{"no value", metaconfig.TopicResource, nil, []metaconfig.Change{{Op: metaconfig.Set, Name: "retention.ms"}}, nil, kafkaerr.InvalidRequest, "retention.ms has no value"},
		{"an unknown operation", metaconfig.TopicResource, nil, []metaconfig.Change{{4, "retention.ms", value("1")}}, nil, kafkaerr.InvalidRequest, "unknown operation 4 on retention.ms"},
		{
			"an unknown key", metaconfig.TopicResource, nil,
			[]metaconfig.Change{set("retention.mss", "1")},
			nil,
			kafkaerr.InvalidConfig, "unknown topic configuration retention.mss; did you mean retention.ms?",
		},
		{
			"a bad value", metaconfig.TopicResource, nil,
			[]metaconfig.Change{set("segment.bytes", "1")},
			nil,
			kafkaerr.InvalidConfig, `invalid value "1" for segment.bytes: must be at least 1048576`,
		},
		{
			"too long a value", metaconfig.TopicResource, nil,
			[]metaconfig.Change{set("cleanup.policy", long)},
			nil,
			kafkaerr.InvalidConfig, "the value of cleanup.policy would have 32768 bytes; at most 32767 are stored",
		},
		{
			"lags crossed with the default", metaconfig.TopicResource,
			texts{"min.compaction.lag.ms": "9"},
			[]metaconfig.Change{set("max.compaction.lag.ms", "8")},
			nil,
			kafkaerr.InvalidConfig, "min.compaction.lag.ms (9) must not be above max.compaction.lag.ms (8)",
		},
		{
			"a key without effect", metaconfig.TopicResource, nil,
			[]metaconfig.Change{set("remote.storage.enable", "true")},
			nil,
			kafkaerr.InvalidConfig, "remote.storage.enable has no effect here and cannot be set away from its default: remote storage is not served yet",
		},
		{
			"a key without effect, at its default", metaconfig.TopicResource, nil,
			[]metaconfig.Change{set("remote.storage.enable", "false")},
			[]metaconfig.Update{{"remote.storage.enable", value("false")}},
			0, "",
		},
		{
			"a key without effect that is there already", metaconfig.TopicResource,
			texts{"remote.storage.enable": "true"},
			[]metaconfig.Change{set("flush.ms", "1")},
			[]metaconfig.Update{{"flush.ms", value("1")}},
			0, "",
		},
		{
			"a group key without effect", metaconfig.GroupResource, nil,
			[]metaconfig.Change{set("consumer.session.timeout.ms", "46000")},
			nil,
			kafkaerr.InvalidConfig, "consumer.session.timeout.ms has no effect here and cannot be set away from its default: the consumer group protocol (KIP-848) is not served yet",
		},
		{
			"a key read at start", metaconfig.ThisBroker, nil,
			[]metaconfig.Change{set("num.partitions", "2")},
			nil,
			kafkaerr.InvalidRequest, "num.partitions cannot be changed while the broker runs: set it in the broker's configuration and restart",
		},
		{
			"a key that Kafka can change and Walser not", metaconfig.ThisBroker, nil,
			[]metaconfig.Change{set("listeners", "PLAINTEXT://:1")},
			nil,
			kafkaerr.InvalidRequest, "listeners cannot be changed while the broker runs: set it in the broker's configuration and restart",
		},
		{
			"a broker key without effect", metaconfig.AllBrokers, nil,
			[]metaconfig.Change{set("num.io.threads", "9")},
			nil,
			kafkaerr.InvalidRequest, "num.io.threads has no effect here and cannot be set away from its default: there are no thread pools to size: every connection and worker is a goroutine",
		},
		{
			"a bad broker value", metaconfig.AllBrokers, nil,
			[]metaconfig.Change{set("log.cleaner.min.cleanable.ratio", "2")},
			nil,
			kafkaerr.InvalidRequest, `invalid value "2" for log.cleaner.min.cleanable.ratio: must be between 0 and 1`,
		},
		{"an unknown broker key", metaconfig.ThisBroker, nil, []metaconfig.Change{set("no.such.thing", "2")}, nil, kafkaerr.InvalidRequest, "unknown broker configuration no.such.thing"},
		{
			"a rule of brokers", metaconfig.AllBrokers, nil,
			[]metaconfig.Change{set("log.cleaner.threads", "128")},
			nil,
			kafkaerr.InvalidRequest, "log.cleaner.dedupe.buffer.size must be above 1048576 for each of the 128 log.cleaner.threads",
		},
		{
			"a rule broken by a deletion", metaconfig.AllBrokers,
			texts{"log.cleaner.threads": "128", "log.cleaner.dedupe.buffer.size": "1000000000"},
			[]metaconfig.Change{{Op: metaconfig.Delete, Name: "log.cleaner.dedupe.buffer.size"}},
			nil,
			kafkaerr.InvalidRequest, "log.cleaner.dedupe.buffer.size must be above 1048576 for each of the 128 log.cleaner.threads",
		},
		{
			"overrides of connections", metaconfig.AllBrokers, nil,
			[]metaconfig.Change{set("max.connections.per.ip.overrides", "a:b")},
			nil,
			kafkaerr.InvalidRequest, `max.connections.per.ip.overrides: "a:b" is not address:count (host names are not looked up)`,
		},
		{
			"nobody may connect", metaconfig.AllBrokers, nil,
			[]metaconfig.Change{set("max.connections.per.ip", "0")},
			nil,
			kafkaerr.InvalidRequest, "max.connections.per.ip can be 0 only where max.connections.per.ip.overrides lets some clients in",
		},
		{"Walser's own key", metaconfig.AllBrokers, nil, []metaconfig.Change{set("log.write.caching", "true")}, []metaconfig.Update{{"log.write.caching", value("true")}}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := maps.Clone(tc.current)
			got, err := resolver(nil, nil, nil).Alter(tc.res, maps.All(tc.current), tc.changes)
			if kafkaerr.CodeOf(err) != tc.code || kafkaerr.MessageOf(err) != tc.message {
				t.Errorf("answered %v, want %v: %s", err, tc.code, tc.message)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if !maps.Equal(before, tc.current) {
				t.Error("what is stored was changed in place")
			}
		})
	}
}

func TestReplace(t *testing.T) {
	current := texts{"retention.ms": "1", "flush.ms": "2", "segment.ms": "3"}
	got, err := resolver(nil, nil, nil).Replace(metaconfig.TopicResource, maps.All(current), []metaconfig.Change{set("flush.ms", "2"), set("preallocate", "true")})
	want := []metaconfig.Update{{"preallocate", value("true")}, {"retention.ms", nil}, {"segment.ms", nil}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestCheckTopic(t *testing.T) {
	r := resolver(nil, nil, nil)
	if err := r.CheckTopic(maps.All(texts{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1"})); err != nil {
		t.Error(err)
	}
	if err := r.CheckTopic(maps.All(texts{"cleanup.policy": "compress"})); kafkaerr.CodeOf(err) != kafkaerr.InvalidConfig {
		t.Errorf("a bad policy is answered %v", err)
	}
}

func TestDescribe_SecretsStayInside(t *testing.T) {
	r := resolver(texts{"ssl.key.password": "hunter2", "listener.name.x.ssl.key.password": "hunter2", "unknown.secret": "hunter2"}, nil, nil)
	seen := 0
	for _, e := range r.DescribeBroker() {
		all := []*string{e.Value}
		for _, s := range e.Synonyms {
			all = append(all, s.Value)
		}
		for _, v := range all {
			if v != nil && strings.Contains(*v, "hunter2") {
				t.Errorf("%s answers a secret", e.Name)
			}
		}
		if strings.HasSuffix(e.Name, "ssl.key.password") || e.Name == "unknown.secret" {
			seen++
			if !e.Sensitive {
				t.Errorf("%s is not sensitive", e.Name)
			}
		}
	}
	if seen != 3 {
		t.Errorf("%d of 3 keys are described", seen)
	}
}

func TestDescribeGroup(t *testing.T) {
	r := resolver(texts{"group.consumer.session.timeout.ms": "50000"}, nil, nil)
	entries := r.DescribeGroup(maps.All(texts{"share.isolation.level": "read_committed"}))
	if len(entries) != configdef.Group().Len() {
		t.Errorf("%d entries", len(entries))
	}
	for name, want := range map[string]string{
		"consumer.session.timeout.ms": `consumer.session.timeout.ms "50000" 4 INT | group.consumer.session.timeout.ms "50000" 4 | group.consumer.session.timeout.ms "45000" 5`,
		"share.isolation.level":       `share.isolation.level "read_committed" 8 STRING | share.isolation.level "read_committed" 8 | share.isolation.level "read_uncommitted" 5`,
		"share.auto.offset.reset":     `share.auto.offset.reset "latest" 5 STRING | share.auto.offset.reset "latest" 5`,
	} {
		i := slices.IndexFunc(entries, func(e metaconfig.Entry) bool { return e.Name == name })
		if got := format(entries[i]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What Alter lets through is described as it was set, and resolves without faults.
func TestAlter_WhatIsTakenHolds(t *testing.T) {
	var names []string
	for k := range configdef.Topic().Keys() {
		names = append(names, k.Name)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := resolver(nil, nil, nil)
		stored := image{"topic t": {}}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			c := metaconfig.Change{
				Op:    metaconfig.Op(rapid.IntRange(0, 3).Draw(t, "op")),
				Name:  rapid.SampledFrom(names).Draw(t, "key"),
				Value: value(rapid.SampledFrom([]string{"", "0", "1", "-1", "5", "1048576", "true", "false", "delete", "compact", "compact,delete", "gzip", "0.5", "LogAppendTime", "auto", " 7 "}).Draw(t, "value")),
			}
			before := maps.Clone(stored["topic t"])
			updates, err := r.Alter(metaconfig.TopicResource, stored.TopicConfig("t"), []metaconfig.Change{c})
			if err != nil {
				if len(updates) > 0 || !maps.Equal(before, stored["topic t"]) {
					t.Fatalf("refused, but something is stored: %v", err)
				}
				continue
			}
			stored.store("topic t", updates)
		}
		for _, e := range r.DescribeTopic(stored.TopicConfig("t")) {
			text, ok := stored["topic t"][e.Name]
			if ok != (e.Source == metaconfig.SourceTopic) {
				t.Fatalf("%s: set %v, described from %d", e.Name, ok, e.Source)
			}
			k, _ := configdef.Topic().Lookup(e.Name)
			want, err := k.Normalize(text)
			if ok && (err != nil || *e.Value != want) {
				t.Fatalf("%s: stored %q, described %q, %v", e.Name, text, *e.Value, err)
			}
		}
		topic := r.Topic(stored.TopicConfig("t"))
		if topic.MinCompactionLagMs > topic.MaxCompactionLagMs || topic.SegmentBytes < 1<<20 {
			t.Fatalf("resolves to %+v", topic)
		}
	})
}

func BenchmarkTopic(b *testing.B) {
	r := resolver(nil, nil, nil)
	overrides := maps.All(texts{"retention.ms": "1000", "cleanup.policy": "compact"})
	b.ReportAllocs()
	for b.Loop() {
		r.Topic(overrides)
	}
}
