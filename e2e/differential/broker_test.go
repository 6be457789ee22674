package differential

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/wire"
)

// settings are the same for both brokers.
var settings = []string{
	"node.id=1",
	"group.initial.rebalance.delay.ms=0",
	"offsets.topic.num.partitions=2",
}

var walserBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("E2E_WALSER"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("walser-differential-%d", os.Getpid()))
	build := exec.Command("go", "build", "-o", path, "./cmd/walser")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build walser: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := walserBinary(); err == nil && os.Getenv("E2E_WALSER") == "" {
		os.Remove(path)
	}
	os.Exit(code)
}

func startWalser(t *testing.T) (addr string) {
	t.Helper()
	path, err := walserBinary()
	if err != nil {
		t.Fatal(err)
	}
	addr = freeAddr(t)
	args := []string{"server", "--set", "listeners=PLAINTEXT://" + addr}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir())
	start(t, cmd, addr, syscall.SIGTERM)
	return addr
}

func startKafka(t *testing.T) (addr string) {
	t.Helper()
	tools := os.Getenv("E2E_TOOLS")
	if _, err := os.Stat(filepath.Join(tools, "jars", "kafka_2.13-4.3.1.jar")); err != nil {
		t.Skipf("E2E_TOOLS names no folder with the jars of Apache Kafka 4.3.1: %v", err)
	}
	java := func(class string, args ...string) *exec.Cmd {
		return exec.Command("java", append([]string{
			"-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(tools, "jars", "*"), class,
		}, args...)...)
	}
	addr, controller, dir := freeAddr(t), freeAddr(t), t.TempDir()
	properties := fmt.Sprintf(`process.roles=broker,controller
controller.quorum.bootstrap.servers=%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=%[3]s/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.initial.task.delay.ms=3600000
`, addr, controller, dir)
	for _, s := range settings {
		properties += s + "\n"
	}
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(properties), 0o600); err != nil {
		t.Fatal(err)
	}
	format := java("kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", file)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	start(t, java("kafka.Kafka", file), addr, syscall.SIGKILL)
	return addr
}

// start runs a broker, waits until it answers, and ends it with the test.
func start(t *testing.T, cmd *exec.Cmd, addr string, end os.Signal) {
	t.Helper()
	log := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(end) // it may be gone
		<-exited
		if t.Failed() && testing.Verbose() {
			t.Logf("the broker's log:\n%s", log)
		}
	})
	s := newSession(addr)
	defer s.close()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		request := &wire.MetadataRequest{}
		request.Reset()
		answer, err := s.call(request, 9)
		if err == nil && len(answer.(*wire.MetadataResponse).Brokers) == 1 {
			return
		}
		select {
		case <-exited:
			t.Fatalf("the broker ended:\n%s", log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not answer: %v\n%s", err, log)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// syncBuffer is a bytes.Buffer for a process to write and a test to read.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
