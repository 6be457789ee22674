// Package nodetest runs whole nodes in a test: over files in memory that can lose power, and over
// listeners in memory that a stock Go client dials. Nothing of it ships.
package nodetest

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/node"
	"github.com/walser-io/walser/internal/vfs"
)

// Addr is where every test node listens, each on a network of its own.
const Addr = "127.0.0.1:9092"

// Options are what a test may choose. The zero value is a node with the defaults.
type Options struct {
	FS     vfs.FS   // nil: new files in memory
	Set    []string // key=value, as on the command line
	Logger *slog.Logger
	Wall   func() time.Time
	// Registry takes the node's metrics; nil: a new one.
	Registry *prometheus.Registry
	// Listen is where the node listens; nil: at Addr, in memory, which is where Dial and Client go.
	Listen func(network, address string) (net.Listener, error)
}

// Node is a running node.
type Node struct {
	t       testing.TB
	network *netx.Network
	metrics *prometheus.Registry
	node    *node.Node
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
}

// Start runs a node and waits until it answers. It is stopped when the test ends.
func Start(t testing.TB, opts Options) *Node {
	t.Helper()
	n, err := TryStart(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TryStart is Start for a test that expects an error.
func TryStart(t testing.TB, opts Options) (*Node, error) {
	t.Helper()
	if opts.FS == nil {
		opts.FS = vfs.NewMem(1)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Wall == nil {
		opts.Wall = time.Now
	}
	if opts.Registry == nil {
		opts.Registry = prometheus.NewRegistry()
	}
	static, err := config.Load(config.Sources{
		Defaults: map[string]string{"log.dir": "/data", "listeners": "PLAINTEXT://" + Addr}, Set: opts.Set,
	}, nil)
	if err != nil {
		return nil, err
	}
	n := &Node{t: t, network: netx.NewNetwork(), metrics: opts.Registry, done: make(chan struct{})}
	if opts.Listen == nil {
		opts.Listen = func(_, address string) (net.Listener, error) { return n.network.Listen(address) }
	}
	n.node, err = node.New(static, node.Deps{
		FS: opts.FS, Logger: opts.Logger, Registerer: opts.Registry, Wall: opts.Wall, Listen: opts.Listen,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() {
		defer close(n.done)
		n.err = n.node.Run(ctx)
	}()
	t.Cleanup(func() { _ = n.Stop() })
	select {
	case <-n.node.Ready():
		return n, nil
	case <-n.done:
		return nil, n.err
	}
}

// Stop stops the node in good order and returns how it ended.
func (n *Node) Stop() error {
	n.cancel()
	return n.Wait()
}

// Wait waits until the node has ended, of itself or because it was stopped, and returns how.
func (n *Node) Wait() error {
	<-n.done
	return n.err
}

// Dial connects to the node.
func (n *Node) Dial(ctx context.Context) (net.Conn, error) {
	return n.network.DialContext(ctx, "tcp", Addr)
}

// DialFrom connects to the node as a peer at address, host:port, that is not on the node's machine.
func (n *Node) DialFrom(ctx context.Context, address string) (net.Conn, error) {
	return n.network.DialFrom(ctx, netx.Addr(address), Addr)
}

// Metric returns a counter or gauge of the node, all its series added up.
func (n *Node) Metric(name string) (sum float64) {
	n.t.Helper()
	families, err := n.metrics.Gather()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// Client returns a franz-go client of the node, closed when the test ends.
func (n *Node) Client(opts ...kgo.Opt) *kgo.Client {
	n.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(Addr), kgo.Dialer(n.network.DialContext), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(10 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(sync.OnceFunc(client.Close))
	return client
}
