package differential

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/walser-io/walser/e2e/rig"
)

// settings are the same for both brokers.
var settings = []string{
	"node.id=1",
	"group.initial.rebalance.delay.ms=0",
	"offsets.topic.num.partitions=2",
}

func TestMain(m *testing.M) { rig.Main(m) }

func startWalser(t *testing.T) (addr string) {
	t.Helper()
	addr = rig.FreeAddr(t)
	args := []string{"server", "--set", "listeners=PLAINTEXT://" + addr}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	cmd := exec.Command(rig.Walser(t), args...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir())
	rig.StartBroker(t, cmd, addr, syscall.SIGTERM)
	return addr
}

func startKafka(t *testing.T) (addr string) {
	t.Helper()
	return rig.StartKafka(t, append([]string{"log.initial.task.delay.ms=3600000"}, settings...)...)
}
