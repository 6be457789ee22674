package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ended checks that the process ended of itself, in order.
func (n *node) ended(within time.Duration) {
	n.t.Helper()
	select {
	case <-n.exited:
	case <-time.After(within):
		n.t.Fatalf("walser did not end within %v", within)
	}
	if state := n.cmd.ProcessState; state.ExitCode() != 0 {
		n.t.Errorf("walser ended with %v, want exit code 0", state)
	}
}

func (n *node) signal(s os.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// A terminal that is closed, or the end of what reads the log, is no reason to lose anything.
func TestStop_WithoutATerminal(t *testing.T) {
	n := newNode(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	cmd := n.command()
	cmd.Stderr = writer // each line of the log is an EPIPE
	n.run(cmd)
	writer.Close()
	n.awaitReady()
	n.signal(syscall.SIGHUP)
	n.ended(10 * time.Second)
}

// A client that asks for much and reads none of it holds up a stop for a while, and fails it not.
func TestStop_ClientThatDoesNotRead(t *testing.T) {
	n := startNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := newClient(t, n.addr, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	value := bytes.Repeat([]byte("x"), 500_000)
	for range 100 {
		client.Produce(ctx, kgo.SliceRecord(value), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := kmsg.NewPtrFetchRequest()
	request.Version, request.MaxBytes = 12, 100<<20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "t"
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.PartitionMaxBytes = 100 << 20
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, request, 1)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil { // the answer has begun
		t.Fatal(err)
	}
	n.signal(syscall.SIGTERM)
	n.ended(15 * time.Second)
}
