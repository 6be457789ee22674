package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafkaJar tells that the jars of Apache Kafka are installed.
const kafkaJar = "jars/kafka_2.13-4.3.1.jar"

// Java returns a command that runs a class of Apache Kafka 4.3.1.
func Java(t testing.TB, class string, args ...string) *exec.Cmd {
	t.Helper()
	Needs(t, kafkaJar)
	return exec.Command("java", append([]string{
		"-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(Tools(), "jars", "*"), class,
	}, args...)...)
}

// StartKafka starts an Apache Kafka of one node, with these properties besides those that it needs for that, and returns when
// it answers. It ends with the test.
func StartKafka(t testing.TB, properties ...string) (addr string) {
	t.Helper()
	addr, controller, dir := FreeAddr(t), FreeAddr(t), t.TempDir()
	properties = append([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.bootstrap.servers=" + controller,
		fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://%s", addr, controller),
		fmt.Sprintf("advertised.listeners=PLAINTEXT://%s,CONTROLLER://%s", addr, controller),
		"inter.broker.listener.name=PLAINTEXT",
		"controller.listener.names=CONTROLLER",
		"log.dirs=" + filepath.Join(dir, "data"),
		"offsets.topic.replication.factor=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
	}, properties...)
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(strings.Join(properties, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	format := Java(t, "kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", file)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	StartBroker(t, Java(t, "kafka.Kafka", file), addr, syscall.SIGKILL)
	return addr
}

// StartBroker runs a broker that listens on addr, returns when it answers, and ends it with the test by a signal.
func StartBroker(t testing.TB, cmd *exec.Cmd, addr string, end os.Signal) {
	t.Helper()
	log := &Log{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in its log
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(end) // it may be gone
		<-exited
		if t.Failed() && testing.Verbose() {
			t.Logf("the broker's log:\n%s", log)
		}
	})
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		answer, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
		if err == nil && len(answer.Brokers) == 1 {
			return
		}
		select {
		case <-exited:
			t.Fatalf("the broker ended:\n%s", log.Tail(8000))
		case <-ctx.Done():
			t.Fatalf("the broker does not answer: %v\n%s", err, log.Tail(8000))
		case <-time.After(10 * time.Millisecond):
		}
	}
}
