package server_test

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/kafka/server"
)

// TestServer_SendBuffer asks the kernel for the send buffer of a served connection. The kernel doubles what it is told, see socket(7).
func TestServer_SendBuffer(t *testing.T) {
	for _, tt := range []struct {
		name      string
		set, want int
		secure    bool
	}{
		{name: "local", set: -1, want: 2 * 256 << 10},
		{name: "set", set: 64 << 10, want: 2 * 64 << 10},
		{name: "set under TLS", set: 64 << 10, want: 2 * 64 << 10, secure: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t, echo(), server.Config{SendBuffer: tt.set})
			sockets := make(chan *net.TCPConn, 1)
			ln := n.serve(t, plaintext, func(ln net.Listener) net.Listener {
				ln = observed{ln, sockets}
				if tt.secure {
					ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
				}
				return ln
			})
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if tt.secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			c := &client{t: t, conn: conn}
			c.send(heartbeat(1, "g"))
			c.expect(1)

			raw, err := (<-sockets).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var got int
			if ctlErr := raw.Control(func(fd uintptr) {
				got, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
			}); ctlErr != nil || err != nil {
				t.Fatal(ctlErr, err)
			}
			if got != tt.want {
				t.Errorf("send buffer of %d bytes, want %d", got, tt.want)
			}
		})
	}
}

// observed tells of the connections that a listener accepts.
type observed struct {
	net.Listener
	sockets chan<- *net.TCPConn
}

func (o observed) Accept() (net.Conn, error) {
	conn, err := o.Listener.Accept()
	if err == nil {
		o.sockets <- conn.(*net.TCPConn)
	}
	return conn, err
}
