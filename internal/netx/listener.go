package netx

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/walser-io/walser/internal/xsync"
)

// backlog is how many connections may wait for Accept before Dial waits too.
const backlog = 128

// Listener accepts connections in memory.
type Listener struct {
	addr    Addr
	onClose func()
	mu      struct {
		xsync.Mutex
		queue   []net.Conn
		closed  bool
		dialled int // numbers the client ends
		accepts wakeup
		dials   wakeup
	}
}

var _ net.Listener = (*Listener)(nil)

// NewListener returns a listener that Dial reaches. Use a Network where it is to be found by address.
func NewListener(addr Addr) *Listener { return &Listener{addr: addr} }

// Addr returns the address it was made with.
func (l *Listener) Addr() net.Addr { return l.addr }

// Accept waits for the next connection. It returns net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, arrived, err := l.tryAccept()
		if conn != nil || err != nil {
			return conn, err
		}
		<-arrived
	}
}

func (l *Listener) tryAccept() (net.Conn, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return nil, nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
	if len(l.mu.queue) == 0 {
		return nil, l.mu.accepts.waitLocked(), nil
	}
	conn := l.mu.queue[0]
	l.mu.queue[0] = nil
	l.mu.queue = l.mu.queue[1:]
	l.mu.dials.wakeLocked()
	return conn, nil, nil
}

// Dial connects. It does not wait for Accept, but for room in the backlog. It returns
// syscall.ECONNREFUSED after Close, or the error of ctx.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) { return l.DialFrom(ctx, "") }

// DialFrom is Dial for a client that has an address of its own. Others look like one on loopback, with a
// port that tells connections apart in logs.
func (l *Listener) DialFrom(ctx context.Context, client Addr) (net.Conn, error) {
	for {
		conn, room, err := l.tryDial(ctx, client)
		if conn != nil || err != nil {
			return conn, err
		}
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

func (l *Listener) tryDial(ctx context.Context, from Addr) (net.Conn, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.closed:
		return nil, nil, dialError(l.addr, syscall.ECONNREFUSED)
	case ctx.Err() != nil:
		return nil, nil, dialError(l.addr, ctx.Err())
	case len(l.mu.queue) >= backlog:
		return nil, l.mu.dials.waitLocked(), nil
	}
	l.mu.dialled++
	if from == "" {
		from = Addr("127.0.0.1:" + strconv.Itoa(l.mu.dialled))
	}
	client, server := Pipe(from, l.addr)
	l.mu.queue = append(l.mu.queue, server)
	l.mu.accepts.wakeLocked()
	return client, nil, nil
}

// Close refuses later dials and hangs up on connections that no one accepted. Accepted ones live on. A
// second Close does nothing.
func (l *Listener) Close() error {
	l.mu.Lock()
	waiting := l.mu.queue
	wasOpen := !l.mu.closed
	l.mu.queue, l.mu.closed = nil, true
	l.mu.accepts.wakeLocked()
	l.mu.dials.wakeLocked()
	l.mu.Unlock()
	for _, conn := range waiting {
		_ = conn.Close() // never fails on a connection that was open
	}
	if wasOpen && l.onClose != nil {
		l.onClose()
	}
	return nil
}

func dialError(addr Addr, err error) error {
	return &net.OpError{Op: "dial", Net: addr.Network(), Addr: addr, Err: err}
}

// Network is a set of listeners in memory that are found by address: the loopback of a test, or of a
// simulated cluster.
type Network struct {
	mu struct {
		xsync.Mutex
		listeners map[Addr]*Listener
		lastPort  int
	}
}

// NewNetwork returns a network without listeners.
func NewNetwork() *Network {
	n := &Network{}
	n.mu.listeners = make(map[Addr]*Listener)
	n.mu.lastPort = 49151 // the ports above are for who asks for any
	return n
}

// Listen listens on host:port; port 0 picks one. It returns syscall.EADDRINUSE where another listens.
func (n *Network) Listen(address string) (*Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", address, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := Addr(address)
	for port == "0" && (addr == Addr(address) || n.mu.listeners[addr] != nil) {
		n.mu.lastPort++
		addr = Addr(net.JoinHostPort(host, strconv.Itoa(n.mu.lastPort)))
	}
	if n.mu.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: addr.Network(), Addr: addr, Err: syscall.EADDRINUSE}
	}
	l := NewListener(addr)
	l.onClose = func() { n.remove(addr) }
	n.mu.listeners[addr] = l
	return l, nil
}

// DialContext connects to the listener of an address, whatever the first argument says; it has the shape
// that clients take for a dialer. It returns syscall.ECONNREFUSED where no one listens.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	return n.DialFrom(ctx, "", address)
}

// DialFrom is DialContext for a client with an address of its own.
func (n *Network) DialFrom(ctx context.Context, client Addr, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.mu.listeners[Addr(address)]
	n.mu.Unlock()
	if l == nil {
		return nil, dialError(Addr(address), syscall.ECONNREFUSED)
	}
	return l.DialFrom(ctx, client)
}

func (n *Network) remove(addr Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.mu.listeners, addr)
}
