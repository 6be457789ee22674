package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// java returns a command that runs a class of Apache Kafka 4.3.1.
func java(t *testing.T, class string, args ...string) *exec.Cmd {
	t.Helper()
	needs(t, "jars/kafka_2.13-4.3.1.jar")
	base := []string{
		"-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(tools(), "jars", "*"), class,
	}
	return exec.Command("java", append(base, args...)...)
}

// startKafka starts Apache Kafka itself: the peer that differential tests compare with.
func startKafka(t *testing.T) (addr string) {
	t.Helper()
	addr, controller, dir := freeAddr(t), freeAddr(t), t.TempDir()
	properties := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=%[3]s/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
`, addr, controller, dir)
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(properties), 0o600); err != nil {
		t.Fatal(err)
	}
	format := java(t, "kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", file)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	log := &syncBuffer{}
	server := java(t, "kafka.Kafka", file)
	server.Args = append([]string{server.Args[0], "-Xms512m", "-Xmx512m"}, server.Args[2:]...)
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGKILL)
		_ = server.Wait() // it was killed
	})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			conn.Close()
			if client.Ping(ctx) == nil {
				return addr
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("Apache Kafka does not answer:\n%s", log.tail(4000))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
