package config_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/model"
)

func properties(text string) config.Sources {
	return config.Sources{File: &config.File{Name: "server.properties", Data: []byte(text)}}
}

func yamlFile(text string) config.Sources {
	return config.Sources{File: &config.File{Name: "walser.yaml", Format: config.YAML, Data: []byte(text)}}
}

func mustLoad(t *testing.T, sources config.Sources, env ...string) *config.Static {
	t.Helper()
	s, err := config.Load(sources, env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func warnings(s *config.Static) []string {
	var all []string
	for _, w := range s.Warnings() {
		all = append(all, w.String())
	}
	return all
}

func TestLoad_NothingAtAll(t *testing.T) {
	s := mustLoad(t, config.Sources{})
	n := s.Node()
	plaintext := []config.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}}
	want := config.Node{
		NodeID: 1, Listeners: plaintext, AdvertisedListeners: plaintext, InterBrokerListener: "PLAINTEXT",
		Topics: config.Topics{AutoCreate: true, DeleteEnabled: true, DefaultPartitions: 1, DefaultReplicationFactor: 1},
		Limits: config.Limits{
			SocketRequestMaxBytes: 104857600, QueuedMaxRequestBytes: -1, ConnectionsMaxIdle: 10 * time.Minute,
			SendBufferBytes: -1, ReceiveBufferBytes: -1, FetchMaxBytes: 57671680, FetchSessionSlots: 1000, DescribePartitions: 2000,
		},
		Storage: config.Storage{
			RecoveryParallelism: 2, RetentionCheckInterval: 5 * time.Minute, RecoveryPointInterval: time.Minute,
			StartOffsetInterval: time.Minute, HighWatermarkInterval: 5 * time.Second,
			ProducerExpiryCheckInterval: 10 * time.Minute, CleanerEnabled: true, VolumeSyncLogs: 8,
		},
		Groups: config.Groups{
			MinSessionTimeout: 6 * time.Second, MaxSessionTimeout: 30 * time.Minute, InitialRebalanceDelay: 3 * time.Second,
			MaxSize: math.MaxInt32, Workers: 4, MaxMemory: -1,
		},
		Offsets: config.Offsets{
			TopicPartitions: 50, TopicReplicationFactor: 3, TopicSegmentBytes: 104857600, LoadBufferBytes: 5242880,
			Retention: 7 * 24 * time.Hour, RetentionCheckInterval: 10 * time.Minute, CommitTimeout: 5 * time.Second, MaxMetadataBytes: 4096,
		},
	}
	if diff := cmp.Diff(want, n); diff != "" {
		t.Error(diff)
	}
	if w := warnings(s); len(w) > 0 {
		t.Errorf("warnings without any configuration: %q", w)
	}
}

func TestLoad_KafkasServerProperties(t *testing.T) {
	file, err := config.ReadFile("testdata/kafka-4.3-server.properties")
	if err != nil {
		t.Fatal(err)
	}
	s := mustLoad(t, config.Sources{File: file})
	n := s.Node()
	for name, diff := range map[string]string{
		"listeners":   cmp.Diff([]config.Listener{{Name: "PLAINTEXT", Port: 9092}}, n.Listeners),
		"advertised":  cmp.Diff([]config.Listener{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}}, n.AdvertisedListeners),
		"controllers": cmp.Diff([]config.Listener{{Name: "CONTROLLER", Port: 9093}}, n.ControllerListeners),
		"log.dirs":    cmp.Diff([]string{"/tmp/kraft-combined-logs"}, n.LogDirs),
	} {
		if diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if n.NodeID != 1 || n.InterBrokerListener != "PLAINTEXT" || n.Limits.SendBufferBytes != 102400 || n.Offsets.TopicReplicationFactor != 1 {
		t.Errorf("misread: %+v", n)
	}
	want := []string{
		"controller.quorum.bootstrap.servers (testdata/kafka-4.3-server.properties:4): has no effect: a metadata quorum of more than one voter is not served yet",
		"inter.broker.listener.name (testdata/kafka-4.3-server.properties:6): has no effect: a cluster of more than one node is not served yet",
		"share.coordinator.state.topic.min.isr (testdata/kafka-4.3-server.properties:20): has no effect: share groups (KIP-932) are not served yet",
		"share.coordinator.state.topic.replication.factor (testdata/kafka-4.3-server.properties:19): has no effect: share groups (KIP-932) are not served yet",
		"transaction.state.log.min.isr (testdata/kafka-4.3-server.properties:22): has no effect: transactions are not served yet",
		"transaction.state.log.replication.factor (testdata/kafka-4.3-server.properties:21): has no effect: transactions are not served yet",
		"listeners (testdata/kafka-4.3-server.properties:5): CONTROLLER://:9093 is not opened: this node is the only controller and reaches itself directly",
		"listeners (testdata/kafka-4.3-server.properties:5): PLAINTEXT://:9092 is open to the network without authentication or encryption",
	}
	if diff := cmp.Diff(want, warnings(s)); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_Layers(t *testing.T) {
	file := properties("num.partitions=2\nfetch.max.bytes=2000\nlog.retention.hours=2\n\nbroker.rack=a\n")
	file.Set = []string{"num.partitions=5", "num.partitions=6"}
	s := mustLoad(t, file,
		"KAFKA_NUM_PARTITIONS=3", "KAFKA_FETCH_MAX_BYTES=3000", "WALSER_FETCH_MAX_BYTES=4000", "KAFKA_LOG_RETENTION_HOURS=3", "PATH=/bin")
	for _, tc := range []struct{ name, value, source string }{
		{"num.partitions", "6", "--set"},
		{"fetch.max.bytes", "4000", "environment variable WALSER_FETCH_MAX_BYTES"},
		{"log.retention.hours", "3", "environment variable KAFKA_LOG_RETENTION_HOURS"},
		{"broker.rack", "a", "server.properties:5"},
	} {
		value, source, ok := s.Get(tc.name)
		if value != tc.value || source.String() != tc.source || !ok {
			t.Errorf("%s: %q from %s, want %q from %s", tc.name, value, source, tc.value, tc.source)
		}
	}
	if _, source, ok := s.Get("num.io.threads"); ok || source.String() != "default" {
		t.Error("a key that nothing sets is found")
	}
	var all []string
	for name, value := range s.All() {
		all = append(all, name+"="+value)
	}
	want := []string{"broker.rack=a", "fetch.max.bytes=4000", "log.retention.hours=3", "num.partitions=6"}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_Environment(t *testing.T) {
	s := mustLoad(t, config.Sources{},
		"KAFKA_LISTENER_NAME_PLAINTEXT_SASL_ENABLED_MECHANISMS=", // lower case in Kafka's image too
		"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092",
		"KAFKA_HEAP_OPTS=-Xmx1G", "KAFKA_PORT_9092_TCP=tcp://10.0.0.1:9092", "CLUSTER_ID=4L6g3nShT-eMCtK--X86sw",
		"KAFKA_ZOOKEEPER_CONNECT=z:2181", "WALSER_BOOTSTRAP_SERVER=x:1", "WALSER_A__B___C=1")
	if id := s.Node().ClusterID; id != "4L6g3nShT-eMCtK--X86sw" {
		t.Errorf("cluster id %q", id)
	}
	if _, _, ok := s.Get("listener.name.plaintext.sasl.enabled.mechanisms"); !ok {
		t.Error("a listener's key is not read")
	}
	want := []string{
		"a_b-c (environment variable WALSER_A__B___C): is not a known key, and is not used",
		"zookeeper.connect (environment variable KAFKA_ZOOKEEPER_CONNECT): is not used: Kafka 4 has no ZooKeeper, and neither has Walser",
	}
	if diff := cmp.Diff(want, warnings(s)); diff != "" {
		t.Error(diff)
	}
	if id := mustLoad(t, config.Sources{}, "CLUSTER_ID=x").Node().ClusterID; id != "" {
		t.Errorf("CLUSTER_ID alone, which any tool may set, became the cluster id %q", id)
	}
}

// The variables with which the documentation of the apache/kafka image starts a node.
func TestLoad_KafkasImage(t *testing.T) {
	s := mustLoad(t, config.Sources{},
		"KAFKA_NODE_ID=1", "KAFKA_PROCESS_ROLES=broker,controller",
		"KAFKA_LISTENERS=PLAINTEXT_HOST://localhost:9092,CONTROLLER://localhost:29093,PLAINTEXT://0.0.0.0:19092",
		"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT_HOST://localhost:9092,PLAINTEXT://broker:19092",
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
		"KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:29093", "KAFKA_INTER_BROKER_LISTENER_NAME=PLAINTEXT",
		"KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER", "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0", "KAFKA_LOG_DIRS=/tmp/kraft-combined-logs", "CLUSTER_ID=4L6g3nShT-eMCtK--X86sw")
	n := s.Node()
	if got := join(n.Listeners); got != "PLAINTEXT_HOST://localhost:9092 PLAINTEXT://0.0.0.0:19092" {
		t.Errorf("listens on %s", got)
	}
	if got := join(n.AdvertisedListeners); got != "PLAINTEXT_HOST://localhost:9092 PLAINTEXT://broker:19092" {
		t.Errorf("advertises %s", got)
	}
	if n.InterBrokerListener != "PLAINTEXT" || n.Groups.InitialRebalanceDelay != 0 || n.ClusterID != "4L6g3nShT-eMCtK--X86sw" {
		t.Errorf("misread: %+v", n)
	}
}

func TestLoad_CallersDefaults(t *testing.T) {
	defaults := map[string]string{"log.dir": "/home/u/walser"}
	n := mustLoad(t, config.Sources{Defaults: defaults}).Node()
	if diff := cmp.Diff([]string{"/home/u/walser"}, n.LogDirs); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"log.dir=/data", "log.dirs=/data"} {
		sources := properties(text)
		sources.Defaults = defaults
		s := mustLoad(t, sources)
		if diff := cmp.Diff([]string{"/data"}, s.Node().LogDirs); diff != "" || len(s.Warnings()) > 0 {
			t.Error(text, diff, s.Warnings())
		}
	}
}

func TestLoad_Properties(t *testing.T) {
	s := mustLoad(t, properties("# comment \\\n! another\r\n  num.partitions : 7\r\nlog.dirs = /a,\\\n   /b\\\n,/c\nbroker.rack \\u0041\\u00e9\n"+
		"listeners=PLAINTEXT\\://localhost\\:9092\n  ! log.dir=/no\nmetadata.log.dir=/m#1"))
	n := s.Node()
	if diff := cmp.Diff([]string{"/a", "/b", "/c"}, n.LogDirs); diff != "" {
		t.Error(diff)
	}
	if n.Topics.DefaultPartitions != 7 || n.Rack != "Aé" || n.Listeners[0].Host != "localhost" || n.MetadataDir != "/m#1" {
		t.Errorf("misread: %+v", n)
	}
	if _, source, _ := s.Get("broker.rack"); source.Line != 7 {
		t.Errorf("broker.rack is said to be in line %d", source.Line)
	}
	// A line that ends in an escaped backslash ends there.
	s = mustLoad(t, properties("broker.rack=a\\\\\nnum.partitions=4\nmetadata.log.dir=/m\\\\\\\n  n"))
	if n := s.Node(); n.Rack != `a\` || n.Topics.DefaultPartitions != 4 || n.MetadataDir != `/m\n` {
		t.Errorf("misread: %q, %d, %q", n.Rack, n.Topics.DefaultPartitions, n.MetadataDir)
	}
	if _, source, _ := s.Get("num.partitions"); source.Line != 2 {
		t.Errorf("num.partitions is said to be in line %d", source.Line)
	}
	// ${} is not expanded: not from keys, and not from the environment.
	t.Setenv("HOME", "/expanded")
	s = mustLoad(t, properties("a=1\nbroker.rack=${a}${HOME}"))
	if rack := s.Node().Rack; rack != "${a}${HOME}" {
		t.Errorf("expanded to %q", rack)
	}
}

func TestLoad_YAML(t *testing.T) {
	s := mustLoad(t, yamlFile(`
# comment
listeners:
  - PLAINTEXT://127.0.0.1:9092
  - EXTERNAL://[::1]:9094
listener.security.protocol.map: {PLAINTEXT: PLAINTEXT, EXTERNAL: PLAINTEXT}
log:
  dirs: [/a, /b]
  retention:
    hours: 24
  cleaner.enable: false
num.partitions: 3
broker.rack:
max.connections.per.ip.overrides:
  10.0.0.1: 5
`))
	n := s.Node()
	want := []config.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}, {Name: "EXTERNAL", Host: "::1", Port: 9094}}
	if diff := cmp.Diff(want, n.Listeners); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/a", "/b"}, n.LogDirs); diff != "" || n.Topics.DefaultPartitions != 3 || n.Storage.CleanerEnabled {
		t.Errorf("misread: %+v", n)
	}
	for name, want := range map[string]string{"log.retention.hours": "24", "max.connections.per.ip.overrides": "10.0.0.1:5"} {
		if v, _, _ := s.Get(name); v != want {
			t.Errorf("%s = %q, want %q", name, v, want)
		}
	}
	if _, source, _ := s.Get("log.retention.hours"); source.String() != "walser.yaml:10" {
		t.Errorf("log.retention.hours is said to be at %s", source)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		mustLoad(t, yamlFile(empty))
	}
}

// Each case is one file and the faults it must be refused with, all of them.
func TestLoad_Faults(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"several at once", "num.partitions=0\nlog.segment.bytes=12\nauto.create.topics.enable=yes\nlisteners=PLAINTEXT:9092", []string{
			`auto.create.topics.enable = "yes" (server.properties:3): must be true or false; remove it for the default, true`,
			`log.segment.bytes = "12" (server.properties:2): must be at least 1048576; remove it for the default, 1073741824`,
			`num.partitions = "0" (server.properties:1): must be at least 1; remove it for the default, 1`,
			`listeners = "PLAINTEXT:9092" (server.properties:4): "PLAINTEXT:9092" is not NAME://host:port; write for example PLAINTEXT://127.0.0.1:9092`,
		}},
		{"secrets stay hidden", "ssl.key.password=\\uXYZ1hunter2", []string{
			`line = "ssl.key.password" (server.properties:1): must be key=value; double a backslash that stands for itself`,
		}},
		{"ids that differ", "node.id=1\nbroker.id=2", []string{`broker.id = "2" (server.properties:2): must be the same as node.id, 1; remove broker.id`}},
		{"old id alone", "broker.id=-1", []string{`broker.id = "-1" (server.properties:1): must be at least 0; set node.id instead`}},
		{"one role", "process.roles=broker", []string{
			`process.roles = "broker" (server.properties:1): must be broker,controller: nodes of a single role are not served yet; remove it for the default`,
		}},
		{"port out of range", "listeners=PLAINTEXT://:65536", []string{
			`listeners = "PLAINTEXT://:65536" (server.properties:1): "PLAINTEXT://:65536": the port is not between 0 and 65535; write for example PLAINTEXT://127.0.0.1:9092`,
		}},
		{"one name twice", "listeners=PLAINTEXT://:1,plaintext://:2", []string{
			`listeners = "PLAINTEXT://:1,plaintext://:2" (server.properties:1): has two listeners of the name PLAINTEXT; give each a name of its own and map it in listener.security.protocol.map`,
		}},
		{"one port twice", "listeners=PLAINTEXT://:1,B://127.0.0.1:1\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,B:PLAINTEXT", []string{
			`listeners = "PLAINTEXT://:1,B://127.0.0.1:1" (server.properties:1): PLAINTEXT://:1 and B://127.0.0.1:1 have the same port; give each a port of its own`,
		}},
		{"a name without protocol", "listeners=INSIDE://:1", []string{
			`listeners = "INSIDE://:1" (server.properties:1): has a listener INSIDE whose security protocol is not known; add INSIDE:PLAINTEXT (or its protocol) to listener.security.protocol.map`,
		}},
		{"a protocol that is not served", "listeners=SASL_SSL://127.0.0.1:1", []string{
			`listeners = "SASL_SSL://127.0.0.1:1" (server.properties:1): SASL_SSL://127.0.0.1:1 asks for SASL_SSL, which is not served yet; map the listener to PLAINTEXT in listener.security.protocol.map only if the network is trusted`,
		}},
		{"a bad protocol map", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,B=SSL,C:TLS", []string{
			`listener.security.protocol.map = "PLAINTEXT:PLAINTEXT,B=SSL,C:TLS" (server.properties:1): "B=SSL" is not NAME:PROTOCOL; use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL`,
			`listener.security.protocol.map = "PLAINTEXT:PLAINTEXT,B=SSL,C:TLS" (server.properties:1): "C:TLS" is not NAME:PROTOCOL; use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL`,
		}},
		{"only controllers", "listeners=CONTROLLER://:1\ncontroller.listener.names=CONTROLLER", []string{
			`listeners = "CONTROLLER://:1" (server.properties:1): must have a listener that is not in controller.listener.names; add PLAINTEXT://:9092`,
		}},
		{"advertised to nowhere", "advertised.listeners=PLAINTEXT://0.0.0.0:1", []string{
			`advertised.listeners = "PLAINTEXT://0.0.0.0:1" (server.properties:1): PLAINTEXT://0.0.0.0:1 is no address that a client can connect to; use a host name or address that clients can reach`,
		}},
		{"advertised but not listened", "advertised.listeners=PLAINTEXT://h:1,B://h:2\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,B:PLAINTEXT", []string{
			`advertised.listeners = "PLAINTEXT://h:1,B://h:2" (server.properties:1): names B, which is not in listeners; add it to listeners, or remove it here`,
		}},
		{"inter-broker listener unknown", "inter.broker.listener.name=B", []string{
			`inter.broker.listener.name = "B" (server.properties:1): must be one of the advertised listeners: PLAINTEXT`,
		}},
		{"inter-broker listener twice", "inter.broker.listener.name=PLAINTEXT\nsecurity.inter.broker.protocol=PLAINTEXT", []string{
			`inter.broker.listener.name = "PLAINTEXT" (server.properties:1): must not be set together with security.inter.broker.protocol; remove security.inter.broker.protocol`,
		}},
		{"an authorizer", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", []string{
			`authorizer.class.name = "org.apache.kafka.metadata.authorizer.StandardAuthorizer" (server.properties:1): cannot be honoured: authorization is not served yet; remove it only if the node may run without what it asks for`,
		}},
		{"retention of nothing", "log.retention.ms=0", []string{`log.retention.ms = "0" (server.properties:1): must be at least 1, or -1 for never`}},
		{"rolls of nothing", "log.roll.ms=0\nlog.roll.jitter.ms=-1", []string{
			`log.roll.ms = "0" (server.properties:1): must be at least 1`, `log.roll.jitter.ms = "-1" (server.properties:2): must be at least 0`,
		}},
		{"session timeouts crossed", "group.min.session.timeout.ms=9\ngroup.max.session.timeout.ms=8", []string{
			`group.min.session.timeout.ms = "9" (server.properties:1): must not be above group.max.session.timeout.ms, 8`,
		}},
		{"a budget below one request", "queued.max.request.bytes=10", []string{
			`queued.max.request.bytes = "10" (server.properties:1): must be at least socket.request.max.bytes, 104857600, or -1`,
		}},
		{"compaction lags crossed", "log.cleaner.min.compaction.lag.ms=9\nlog.cleaner.max.compaction.lag.ms=8", []string{
			`log.cleaner.min.compaction.lag.ms = "9" (server.properties:1): must not be above log.cleaner.max.compaction.lag.ms, 8`,
		}},
		{"too many cleaners", "log.cleaner.threads=128", []string{
			`log.cleaner.dedupe.buffer.size: must be above 1048576 for each of the 128 log.cleaner.threads`,
		}},
		{"no cleaners", "log.cleaner.threads=0", []string{
			`log.cleaner.threads = "0" (server.properties:1): must be at least 1; turn compaction off with log.cleaner.enable=false`,
		}},
		{"checkpoints once", "replica.high.watermark.checkpoint.interval.ms=0", []string{
			`replica.high.watermark.checkpoint.interval.ms = "0" (server.properties:1): must be at least 1`,
		}},
		{"group segments too small", "offsets.topic.segment.bytes=1048575", []string{
			`offsets.topic.segment.bytes = "1048575" (server.properties:1): must be at least 1048576, the least segment.bytes of a topic`,
		}},
		{"nobody may connect", "max.connections.per.ip=0", []string{
			`max.connections.per.ip = "0" (server.properties:1): must be above 0 where max.connections.per.ip.overrides is not set: no client could connect`,
		}},
		{"a bad override", "max.connections.per.ip.overrides=10.0.0.1:1,b", []string{
			`max.connections.per.ip.overrides = "10.0.0.1:1,b" (server.properties:1): "b" is not address:count (host names are not looked up); write for example 10.0.0.7:100`,
		}},
		{"a number without digits", "log.retention.ms=", []string{`log.retention.ms (server.properties:1): must be a whole number of 64 bits; remove it to leave it unset`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := config.Load(properties(tc.text), nil)
			var faults config.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("loaded, or failed with %v", err)
			}
			var got []string
			for _, f := range faults {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("a secret is in the message")
			}
		})
	}
}

func TestLoad_YAMLFaults(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no map", "- a\n", "configuration: file (walser.yaml:1): must be a map of keys to values"},
		{"an alias", "a: &x 1\nb: *x\n", "configuration: b (walser.yaml:2): must not use anchors and aliases; write the value out"},
		{"one key twice", "log:\n  dirs: /a\nlog.dirs: /b\n", "configuration: log.dirs (walser.yaml:3): must be set once, and line 2 sets it too; remove one of the two"},
		{"a list of lists", "log.dirs: [[/a]]\n", "configuration: log.dirs (walser.yaml:1): must be a list of plain values without commas"},
		{"two documents", "a: 1\n---\nb: 1\n", "configuration: file (walser.yaml:1): must hold one YAML document; remove what follows the second ---"},
		{"yes for true", "auto.create.topics.enable: yes\n", `configuration: auto.create.topics.enable = "yes" (walser.yaml:1): must be true or false; remove it for the default, true`},
		{"a thousands sign", "num.partitions: 1_0\n", `configuration: num.partitions = "1_0" (walser.yaml:1): must be a whole number of 32 bits; remove it for the default, 1`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := config.Load(yamlFile(tc.text), nil)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
	if _, err := config.Load(yamlFile("a: [\n"), nil); err == nil || !strings.Contains(err.Error(), "must be YAML") {
		t.Errorf("broken YAML: %v", err)
	}
	if _, err := config.Load(yamlFile(strings.Repeat("a: {", 40)+strings.Repeat("}", 40)), nil); err == nil {
		t.Error("nested 40 deep and taken")
	}
}

func TestLoad_Flags(t *testing.T) {
	_, err := config.Load(config.Sources{Set: []string{"num.partitions", "=1", "fetch.max.bytes=x"}}, nil)
	want := "configuration has 3 faults:\n" +
		"  --set = \"num.partitions\" (--set): must be key=value\n" +
		"  --set (--set): must be key=value\n" +
		"  fetch.max.bytes = \"x\" (--set): must be a whole number of 32 bits; remove it for the default, 57671680"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLoad_Warnings(t *testing.T) {
	s := mustLoad(t, properties(strings.Join([]string{
		"log.retention.hour=1", "zookeeper.connect=z:2181", "retention.ms=5", "rsm.config.x=1", "num.io.threads=9", "num.network.threads=3",
		"num.partitions=1", "num.partitions=2", "leader.replication.throttled.rate=5", "message.max.bytes=104857601",
		"min.insync.replicas=2", "listener.name.plaintext.max.connections=5", "frobnicate=1", "broker.rack=",
	}, "\n")))
	want := []string{
		"num.partitions (server.properties:8): also set in line 7; this one holds",
		"frobnicate (server.properties:13): is not a known key, and is not used",
		"leader.replication.throttled.rate (server.properties:9): can only be set while the node runs, with the AlterConfigs request",
		"listener.name.plaintext.max.connections (server.properties:12): has no effect: settings for a single listener are not served yet",
		"log.retention.hour (server.properties:1): is not a known key, and is not used; did you mean log.retention.hours?",
		"num.io.threads (server.properties:5): has no effect: there are no thread pools to size: every connection and worker is a goroutine",
		"retention.ms (server.properties:3): is a key of topics, and is not used; the default of all topics is log.retention.ms",
		"rsm.config.x (server.properties:4): has no effect: a Java class cannot be loaded",
		"zookeeper.connect (server.properties:2): is not used: Kafka 4 has no ZooKeeper, and neither has Walser",
		"message.max.bytes (server.properties:10): is above socket.request.max.bytes, 104857600: a batch of that size never arrives",
		"min.insync.replicas (server.properties:11): is above default.replication.factor, 1: topics created with the defaults take no acks=all writes",
	}
	if diff := cmp.Diff(want, warnings(s)); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_Listeners(t *testing.T) {
	for _, tc := range []struct {
		name, text         string
		listen, advertised string
		interBroker        string
	}{
		{"every interface", "listeners=PLAINTEXT://:9092", "PLAINTEXT://:9092", "PLAINTEXT://:9092", "PLAINTEXT"},
		{"any address is no advertisement", "listeners=PLAINTEXT://0.0.0.0:0", "PLAINTEXT://0.0.0.0:0", "PLAINTEXT://:0", "PLAINTEXT"},
		{"IPv6", "listeners=PLAINTEXT://[::1]:9092", "PLAINTEXT://[::1]:9092", "PLAINTEXT://[::1]:9092", "PLAINTEXT"},
		{"scoped IPv6", "listeners=PLAINTEXT://[fe80::1%eth0]:9092", "PLAINTEXT://[fe80::1%eth0]:9092", "PLAINTEXT://[fe80::1%eth0]:9092", "PLAINTEXT"},
		{
			"IPv4 and IPv6 share a port", "listeners=PLAINTEXT://127.0.0.1:1,B://[::1]:1\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,B:PLAINTEXT",
			"PLAINTEXT://127.0.0.1:1 B://[::1]:1", "PLAINTEXT://127.0.0.1:1 B://[::1]:1", "PLAINTEXT",
		},
		{"names in any case", "listeners=inside://:1\nlistener.security.protocol.map=Inside:plaintext", "INSIDE://:1", "INSIDE://:1", "INSIDE"},
		{
			"inside and outside", "listeners=IN://:1,OUT://:2\nlistener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT\nadvertised.listeners=IN://a:1,OUT://b:443\ninter.broker.listener.name=IN",
			"IN://:1 OUT://:2", "IN://a:1 OUT://b:443", "IN",
		},
		{"controller needs no mapping", "listeners=PLAINTEXT://:1,CTL://:2\ncontroller.listener.names=CTL", "PLAINTEXT://:1", "PLAINTEXT://:1", "PLAINTEXT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := mustLoad(t, properties(tc.text)).Node()
			if got := join(n.Listeners); got != tc.listen {
				t.Errorf("listens on %s, want %s", got, tc.listen)
			}
			if got := join(n.AdvertisedListeners); got != tc.advertised {
				t.Errorf("advertises %s, want %s", got, tc.advertised)
			}
			if n.InterBrokerListener != tc.interBroker {
				t.Errorf("inter-broker listener %s, want %s", n.InterBrokerListener, tc.interBroker)
			}
			for _, l := range n.Listeners {
				if l.Protocol != model.Plaintext {
					t.Errorf("%s speaks %s", l, l.Protocol)
				}
			}
		})
	}
}

func TestLoad_LongTimesAreNotWrapped(t *testing.T) {
	n := mustLoad(t, properties("log.retention.check.interval.ms=9223372036854775807\nconnections.max.idle.ms=-1")).Node()
	if n.Storage.RetentionCheckInterval != math.MaxInt64 || n.Limits.ConnectionsMaxIdle >= 0 {
		t.Errorf("%v, %v", n.Storage.RetentionCheckInterval, n.Limits.ConnectionsMaxIdle)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.ReadFile(dir); err == nil {
		t.Error("a directory is read")
	}
	if _, err := config.ReadFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join(dir, "a.YML")
	if err := os.WriteFile(path, []byte("node.id: 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := config.ReadFile(path)
	if err != nil || f.Format != config.YAML || string(f.Data) != "node.id: 3" {
		t.Errorf("%+v, %v", f, err)
	}
}

//fuzz:decoder config/properties[.]go
func FuzzProperties(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a:b\\\nc", "# x\na b", "\\u00zz=1", "listeners=PLAINTEXT://[::1]:9092,A://:1", "\\", "a=\\\r\n\r\n", "node.id=1\nnode.id=2", "=x", "log.dirs=,"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkLoaded(t, config.Properties, data) })
}

//fuzz:decoder config/yaml[.]go
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"", "a: b", "a: {b: [c, d]}", "a: &x [*x]", "? [a]\n: b", "listeners: [PLAINTEXT://:1]", "a:\n\tb: 1", "---\n...\n", "log: {dirs: [/a], retention: {ms: 5}}", "<<: {a: b}", "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkLoaded(t, config.YAML, data) })
}

// checkLoaded holds what must be true of any file: no panic, and either faults or settings that a node
// can run with.
func checkLoaded(t *testing.T, format config.Format, data []byte) {
	s, err := config.Load(config.Sources{File: &config.File{Name: "f", Format: format, Data: data}}, nil)
	if err != nil {
		var faults config.Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("an error without faults: %v", err)
		}
		for _, one := range faults {
			if one.Field == "" || one.Bound == "" {
				t.Errorf("a fault that says nothing: %+v", one)
			}
		}
		return
	}
	n := s.Node()
	if n.NodeID < 0 || len(n.Listeners) == 0 || len(n.AdvertisedListeners) == 0 || n.Topics.DefaultPartitions < 1 || n.Limits.SocketRequestMaxBytes < 1 {
		t.Errorf("a node cannot run with %+v", n)
	}
	lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
	for name := range s.All() {
		if _, source, ok := s.Get(name); !ok || source.Line < 1 || source.Line > lines {
			t.Errorf("%q is said to be set in line %d of %d", name, source.Line, lines)
		}
	}
}

func join(listeners []config.Listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, l.String())
	}
	return strings.Join(all, " ")
}
