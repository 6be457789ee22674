package cli

import (
	"context"
	"net"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"github.com/walser-io/walser/internal/node"
	"github.com/walser-io/walser/internal/sysmon"
)

// RunNode is the StartNode of a process of its own: it runs a node over the machine's files and sockets.
// A terminal that is closed stops it in order, unless nohup says otherwise; whoever reads its log may go away.
func RunNode(ctx context.Context, n Node) error {
	signal.Ignore(syscall.SIGPIPE)
	if !signal.Ignored(syscall.SIGHUP) {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	defer keepSysmonAwake()()
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

// keepSysmonAwake has package sysmon do its work until done is called.
func keepSysmonAwake() (done func()) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { sysmon.Run(ctx) })
	return func() {
		stop()
		running.Wait()
	}
}
