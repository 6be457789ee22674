package e2e

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/e2e/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// node is one walser process on a free port, with a data directory of its own that outlives restarts.
type node struct {
	t       *testing.T
	addr    string
	dataDir string
	args    []string
	env     []string
	cmd     *exec.Cmd
	exited  chan struct{}
	log     *rig.Log
}

// startNode starts `walser server` as a newcomer would, on a free port, and waits until it answers.
func startNode(t *testing.T, args ...string) *node {
	t.Helper()
	n := newNode(t, args...)
	n.start()
	return n
}

// newNode is a node that is not started yet. It ends with the test.
func newNode(t *testing.T, args ...string) *node {
	t.Helper()
	n := &node{t: t, addr: rig.FreeAddr(t), dataDir: t.TempDir(), args: args, log: &rig.Log{}}
	t.Cleanup(func() {
		if n.cmd != nil && n.cmd.Process != nil {
			n.stop()
		}
		if t.Failed() {
			t.Logf("walser's log:\n%s", n.log.Tail(8000))
		}
	})
	return n
}

func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.awaitReady()
}

// launch starts the process and does not wait until it answers.
func (n *node) launch() {
	n.t.Helper()
	n.run(n.command())
}

// command is the process, not yet started.
func (n *node) command() *exec.Cmd {
	n.t.Helper()
	path := rig.Walser(n.t)
	cmd := exec.Command(path, append([]string{"server"}, n.args...)...)
	cmd.Env = append(append(os.Environ(), "XDG_DATA_HOME="+n.dataDir, "WALSER_LISTENERS=PLAINTEXT://"+n.addr), n.env...)
	return cmd
}

// run makes a command the node's process. It writes to the node's log, unless it writes somewhere else already.
func (n *node) run(cmd *exec.Cmd) {
	n.t.Helper()
	n.cmd = cmd
	if cmd.Stderr == nil {
		cmd.Stdout, cmd.Stderr = n.log, n.log
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	exited := make(chan struct{})
	n.exited = exited
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
}

// awaitReady waits until a client gets an answer.
func (n *node) awaitReady() {
	n.t.Helper()
	client := newClient(n.t, n.addr)
	defer client.Close() // a test may start its node many times
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		if client.Ping(ctx) == nil {
			return
		}
		select {
		case <-n.exited:
			n.t.Fatalf("walser ended:\n%s", n.log.Tail(8000))
		case <-ctx.Done():
			n.t.Fatalf("walser does not answer on %s:\n%s", n.addr, n.log.Tail(8000))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop asks the process to end and waits for it.
func (n *node) stop() { n.end(syscall.SIGTERM) }

// kill ends the process without a word, as a crash would.
func (n *node) kill() { n.end(syscall.SIGKILL) }

func (n *node) end(signal os.Signal) {
	n.t.Helper()
	_ = n.cmd.Process.Signal(signal) // it may be gone already
	select {
	case <-n.exited:
	case <-time.After(30 * time.Second):
		_ = n.cmd.Process.Kill()
		n.t.Errorf("walser did not end within 30 s of %v", signal)
	}
}

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}
