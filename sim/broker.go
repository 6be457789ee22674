package sim

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/node"
)

// address is where the node listens, and what it tells clients.
const address = "127.0.0.1:9092"

// broker is one process of the node.
type broker struct {
	network *netx.Network
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
}

// startBroker runs a node on the files of l, and returns when clients are answered or with what kept it.
func startBroker(l *life, set []string, logger *slog.Logger) (*broker, error) {
	static, err := config.Load(config.Sources{
		Defaults: map[string]string{"listeners": "PLAINTEXT://" + address}, Set: set,
	}, nil)
	if err != nil {
		return nil, err
	}
	b := &broker{network: netx.NewNetwork(), done: make(chan struct{})}
	n, err := node.New(static, node.Deps{
		FS: l, Logger: logger, Registerer: prometheus.NewRegistry(), Wall: time.Now,
		Listen: func(_, address string) (net.Listener, error) { return b.network.Listen(address) },
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() {
		defer close(b.done)
		b.err = n.Run(ctx)
	}()
	select {
	case <-n.Ready():
		return b, nil
	case <-b.done:
		cancel()
		return nil, errors.Join(errors.New("the node ended before it served"), b.err)
	case <-l.cut:
		_ = b.stop()
		return nil, errors.New("the node died before it served")
	case <-l.half:
		l.crash()
		_ = b.stop()
		return nil, errors.New("the node died before it served")
	}
}

// stop stops the node in good order, as far as its disk lets it, and returns how it ended.
func (b *broker) stop() error {
	b.cancel()
	<-b.done
	return b.err
}

// gate is the network between the clients and whichever process runs. Clients wait at it while none does.
type gate struct {
	mu struct {
		sync.Mutex
		network *netx.Network // nil while the node is down
		dying   func() bool   // of the process behind it
		up      chan struct{} // closed when it is there
		conns   map[*gateConn]struct{}
	}
}

func newGate() *gate {
	g := &gate{}
	g.mu.up = make(chan struct{})
	g.mu.conns = make(map[*gateConn]struct{})
	return g
}

// open lets clients through to a process.
func (g *gate) open(network *netx.Network, dying func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.network, g.mu.dying = network, dying
	close(g.mu.up)
}

// shut cuts every connection.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.network == nil {
		return
	}
	g.mu.network, g.mu.up = nil, make(chan struct{})
	for c := range g.mu.conns {
		_ = c.Conn.Close() // tells only that it was closed before
	}
	clear(g.mu.conns)
}

// DialContext connects as soon as there is a node. It has the shape that clients take for a dialer.
func (g *gate) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	for {
		g.mu.Lock()
		network, up := g.mu.network, g.mu.up
		g.mu.Unlock()
		if network == nil {
			select {
			case <-up:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		conn, err := network.DialContext(ctx, "tcp", address)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			c := &gateConn{Conn: conn, gate: g}
			if g.admit(c, network) {
				return c, nil
			}
		}
		if err := g.past(ctx, network); err != nil {
			return nil, err
		}
	}
}

func (g *gate) admit(c *gateConn, network *netx.Network) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.network != network {
		_ = c.Conn.Close()
		return false
	}
	g.mu.conns[c] = struct{}{}
	c.dying = g.mu.dying
	return true
}

// past waits until the node behind network, which no longer listens, has been given up.
func (g *gate) past(ctx context.Context, network *netx.Network) error {
	for ctx.Err() == nil {
		g.mu.Lock()
		same := g.mu.network == network
		g.mu.Unlock()
		if !same {
			return nil
		}
		pause()
	}
	return ctx.Err()
}

type gateConn struct {
	net.Conn
	gate  *gate
	dying func() bool // reports whether the process at the other end lost its disk
}

func (c *gateConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.mu.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
