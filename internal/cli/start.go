package cli

import (
	"context"
	"net"
	"strconv"

	"github.com/walser-io/walser/internal/node"
)

// RunNode is the StartNode of a process of its own: it runs a node over the machine's files and sockets.
func RunNode(ctx context.Context, n Node) error {
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
