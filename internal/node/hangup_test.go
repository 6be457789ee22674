package node_test

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/vfs"
)

// A thousand clients that hang up while their requests wait (fetches for records, joins for other members,
// produces for a disk that does not answer) leave nothing behind: no goroutine once their connections are
// gone, and no memory once the disk has answered and the sessions of those who had joined are over.
func TestNode_HangUpOfParkedClientsLeavesNothing(t *testing.T) {
	const of = 334 // each kind
	var stalled atomic.Pointer[chan struct{}]
	fs := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if until := stalled.Load(); until != nil && op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, "/data/stalled-0/") {
			<-*until
		}
		return nil
	})
	n := nodetest.Start(t, nodetest.Options{FS: fs, Set: []string{
		"offsets.topic.num.partitions=1", "group.initial.rebalance.delay.ms=600000", "group.min.session.timeout.ms=1",
		"offsets.retention.check.interval.ms=10",
	}})
	client := n.Client()
	admin := kadm.NewClient(client)
	createTopic(t, admin, "quiet", 1)
	createTopic(t, admin, "stalled", 1)
	if err := tryProduce(t, client, "stalled", 0, []byte("a first one")); err != nil {
		t.Fatal(err)
	}
	commit(t, admin, "first", "quiet", 0) // makes the topic of groups
	kinds := []func(i int) kmsg.Request{
		func(int) kmsg.Request {
			req := fetchRequest("quiet", 0, 0)
			req.Version, req.MinBytes, req.MaxWaitMillis = 12, 1, 1<<31-1
			return req
		},
		func(i int) kmsg.Request {
			req := kmsg.NewPtrJoinGroupRequest()
			req.Version, req.Group, req.ProtocolType = 3, fmt.Sprintf("parked-%d", i%10), "consumer"
			req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 50, 1<<31-1
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, 1000)}}
			return req
		},
		func(int) kmsg.Request {
			req := produceRequest(t, "stalled", 0, nil)
			req.Version, req.TimeoutMillis = 12, 1<<31-1
			return req
		},
	}
	idle := 1 << 30 // goroutines, once a first round has made what stays for ever
	// round parks them all and hangs up; their goroutines are gone before the disk answers.
	round := func() {
		ctx := within(t)
		disk := make(chan struct{})
		answer := sync.OnceFunc(func() {
			stalled.Store(nil)
			close(disk)
		})
		t.Cleanup(answer) // before the node stops, which waits for its disk
		stalled.Store(&disk)
		before, answered := n.Metric("walser_kafka_request_bytes_total"), n.Metric("walser_kafka_requests_total")
		connections := n.Metric("walser_kafka_connections")
		var conns []net.Conn
		sent := 0
		for i := range of {
			for _, kind := range kinds {
				conn, err := n.Dial(ctx)
				if err != nil {
					t.Fatal(err)
				}
				frame := kmsg.NewRequestFormatter().AppendRequest(nil, kind(i), 1)
				if _, err := conn.Write(frame); err != nil {
					t.Fatal(err)
				}
				conns, sent = append(conns, conn), sent+len(frame)
			}
		}
		await(t, "every request has come and has let go of its frame", func() bool {
			return n.Metric("walser_kafka_request_bytes_total") >= before+float64(sent) && n.Metric("walser_kafka_request_memory_bytes") == 0
		})
		if now := n.Metric("walser_kafka_requests_total"); now != answered {
			t.Errorf("%v requests were answered, all were to wait", now-answered)
		}
		for _, conn := range conns {
			conn.Close()
		}
		await(t, "their connections are gone", func() bool { return n.Metric("walser_kafka_connections") == connections })
		// Two more than idle: the syncer's that waits for the disk, and the one it would wake.
		await(t, "so are their goroutines", func() bool { return runtime.NumGoroutine() <= idle+2 })
		answer()
		await(t, "the disk has answered", func() bool { return tryProduce(t, client, "stalled", 0, []byte("x")) == nil })
		await(t, "the members are gone, and so are their groups", func() bool {
			groups, err := admin.ListGroups(ctx)
			return err == nil && len(groups) == 1
		})
	}
	heap := func() int {
		runtime.GC()
		runtime.GC() // pools let go at the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	round()
	before := heap()
	idle = runtime.NumGoroutine()
	for range 3 {
		began := time.Now()
		round()
		t.Logf("%d clients in %v; %d goroutines, heap %+d KiB", of*len(kinds), time.Since(began).Round(time.Millisecond), runtime.NumGoroutine(), (heap()-before)>>10)
	}
	await(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= idle })
	if grown := heap() - before; grown > 512<<10 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
}
