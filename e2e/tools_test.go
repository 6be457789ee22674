package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/e2e/rig"
)

// TestKcat drives kcat through its pipes: list, produce per codec, consume, query by time, and a group
// that commits and resumes.
func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		rig.Needs(t, "/usr/bin/kcat")
	}
	n := startNode(t)
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command(kcat, append([]string{"-b", n.addr}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out)
	}
	var lines strings.Builder
	for i := range perCodec {
		fmt.Fprintf(&lines, "k%d:v%d\n", i%97, i)
	}
	codecs := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	for _, codec := range codecs {
		run(lines.String(), "-P", "-t", "kcat", "-K:", "-z", codec, "-X", "enable.idempotence=true")
	}
	if out := run("", "-L", "-t", "kcat"); !strings.Contains(out, `topic "kcat"`) {
		t.Errorf("kcat -L does not list the topic:\n%s", out)
	}
	if got := strings.Count(run("", "-C", "-t", "kcat", "-o", "beginning", "-e", "-q"), "\n"); got != perCodec*len(codecs) {
		t.Errorf("kcat read %d records, want %d", got, perCodec*len(codecs))
	}
	if out := run("", "-Q", "-t", "kcat:0:0"); !strings.Contains(out, "offset 0") {
		t.Errorf("kcat -Q at time 0 = %q, want offset 0", out)
	}
	if got := strings.Count(run("", "-G", "kcat-group", "-o", "beginning", "-e", "-q", "kcat"), "\n"); got != perCodec*len(codecs) {
		t.Errorf("the group read %d records, want %d", got, perCodec*len(codecs))
	}
	run("late\n", "-P", "-t", "kcat", "-p", "0")
	if got := run("", "-G", "kcat-group", "-e", "-q", "kcat"); got != "late\n" {
		t.Errorf("the group resumed with %q, want only the late record", got)
	}
}

// TestKafkaTools runs the command line tools of Apache Kafka 4.3.1 against one node.
func TestKafkaTools(t *testing.T) { runKafkaTools(t, startNode(t).addr) }

// TestKafkaTools_Kafka tells a fault of the test from one of Walser, like TestMatrix_Kafka.
func TestKafkaTools_Kafka(t *testing.T) {
	if os.Getenv("E2E_PEER") == "" {
		t.Skip("set E2E_PEER=1 to run the tools against Apache Kafka")
	}
	runKafkaTools(t, rig.StartKafka(t))
}

func runKafkaTools(t *testing.T, addr string) {
	run := func(stdin, class string, args ...string) string {
		t.Helper()
		cmd := rig.Java(t, class, args...)
		cmd.Stdin = strings.NewReader(stdin)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		timer := time.AfterFunc(90*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s%s", class, strings.Join(args, " "), err, out, stderr.String())
		}
		return string(out)
	}
	const tools = "org.apache.kafka.tools."
	server := []string{"--bootstrap-server", addr}
	with := func(args ...string) []string { return append(append([]string{}, server...), args...) }
	has := func(what, out string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing in:\n%s", what, want, out)
			}
		}
	}

	run("", tools+"TopicCommand", with("--create", "--topic", "tools", "--partitions", "3", "--config", "retention.ms=3600000")...)
	has("kafka-topics --describe", run("", tools+"TopicCommand", with("--describe", "--topic", "tools")...),
		"PartitionCount: 3", "ReplicationFactor: 1", "retention.ms=3600000", "Leader: 1")
	run("", tools+"TopicCommand", with("--alter", "--topic", "tools", "--partitions", "4")...)
	has("kafka-topics --list", run("", tools+"TopicCommand", with("--list")...), "tools")

	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		var lines strings.Builder
		for i := range perCodec {
			fmt.Fprintf(&lines, "k%d:%s-%d\n", i%97, codec, i)
		}
		run(lines.String(), tools+"ConsoleProducer", with("--topic", "tools", "--reader-property", "parse.key=true",
			"--reader-property", "key.separator=:", "--compression-codec", codec)...)
	}
	out := run("", tools+"consumer.ConsoleConsumer", with("--topic", "tools", "--from-beginning", "--group", "tools-group",
		"--max-messages", fmt.Sprint(5*perCodec), "--timeout-ms", "30000")...)
	if got := strings.Count(out, "\n"); got != 5*perCodec {
		t.Errorf("the console consumer read %d records, want %d", got, 5*perCodec)
	}

	offsets := run("", tools+"GetOffsetShell", with("--topic", "tools", "--time", "latest")...)
	total := 0
	for line := range strings.Lines(offsets) {
		var end int
		fields := strings.Split(strings.TrimSpace(line), ":")
		if _, err := fmt.Sscan(fields[len(fields)-1], &end); err != nil {
			t.Fatal(err)
		}
		total += end
	}
	if total != 5*perCodec {
		t.Errorf("kafka-get-offsets counts %d records, want %d:\n%s", total, 5*perCodec, offsets)
	}

	has("kafka-configs --alter", run("", "kafka.admin.ConfigCommand", with("--alter", "--entity-type", "topics", "--entity-name", "tools",
		"--add-config", "max.message.bytes=200000,cleanup.policy=[delete,compact]")...), "Completed updating config")
	has("kafka-configs --describe", run("", "kafka.admin.ConfigCommand", with("--describe", "--entity-type", "topics", "--entity-name", "tools")...),
		"max.message.bytes=200000", "cleanup.policy=delete,compact", "DYNAMIC_TOPIC_CONFIG")
	has("kafka-configs --describe brokers", run("", "kafka.admin.ConfigCommand", with("--describe", "--entity-type", "brokers", "--entity-name", "1", "--all")...),
		"num.partitions=1", "log.segment.bytes=1073741824")

	has("kafka-consumer-groups --list", run("", tools+"consumer.group.ConsumerGroupCommand", with("--list")...), "tools-group")
	has("kafka-consumer-groups --describe", run("", tools+"consumer.group.ConsumerGroupCommand", with("--describe", "--group", "tools-group")...),
		"tools-group", "LAG")
	has("kafka-consumer-groups --reset-offsets", run("", tools+"consumer.group.ConsumerGroupCommand", with("--reset-offsets", "--group", "tools-group",
		"--topic", "tools", "--to-earliest", "--execute")...), "tools")
	run("", tools+"consumer.group.ConsumerGroupCommand", with("--delete-offsets", "--group", "tools-group", "--topic", "tools:0")...)
	has("kafka-consumer-groups --delete", run("", tools+"consumer.group.ConsumerGroupCommand", with("--delete", "--group", "tools-group")...), "successful")

	file := filepath.Join(t.TempDir(), "delete.json")
	if err := os.WriteFile(file, []byte(`{"version":1,"partitions":[{"topic":"tools","partition":0,"offset":10}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	has("kafka-delete-records", run("", tools+"DeleteRecordsCommand", with("--offset-json-file", file)...), "low_watermark: 10")
	has("kafka-get-offsets --time earliest", run("", tools+"GetOffsetShell", with("--topic-partitions", "tools:0", "--time", "earliest")...), "tools:0:10")
	has("kafka-log-dirs", run("", tools+"LogDirsCommand", with("--describe", "--topic-list", "tools")...), `"partition":"tools-0"`, `"isFuture":false`)
	run("", tools+"TopicCommand", with("--delete", "--topic", "tools")...)
	if out := run("", tools+"TopicCommand", with("--list")...); strings.Contains(out, "tools") {
		t.Errorf("the topic is listed after its deletion:\n%s", out)
	}
}
