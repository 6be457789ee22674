package cli

import (
	"context"
	"net"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/walser-io/walser/internal/node"
)

// RunNode is the StartNode of a process of its own: it runs a node over the machine's files and sockets.
// A terminal that is closed stops it in order, unless nohup says otherwise, and nobody reading its log does not end it.
func RunNode(ctx context.Context, n Node) error {
	signal.Ignore(syscall.SIGPIPE)
	if !signal.Ignored(syscall.SIGHUP) {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	built, err := node.New(n.Config, node.Process(n.Logger))
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- built.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-built.Ready():
	}
	for _, e := range built.Endpoints() {
		n.Ready(net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
		break
	}
	return <-ended
}
