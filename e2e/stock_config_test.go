package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/e2e/rig"
)

// The file with the active keys and values of config/server.properties of Apache Kafka 4.3, and where these
// put the data and the clients' listener.
const (
	stockConfig    = "../internal/config/testdata/kafka-4.3-server.properties"
	stockLogDir    = "/tmp/kraft-combined-logs"
	stockBootstrap = "localhost:9092"
)

// TestStockConfig starts a node with the settings that Apache Kafka ships, unchanged. They name a port and a
// directory of the machine, so the test runs itself once more in namespaces of its own: there the network is
// a loopback device and a tmpfs lies over the directory.
func TestStockConfig(t *testing.T) {
	if os.Getenv("E2E_NAMESPACE") != "" {
		runStockConfig(t)
		return
	}
	if out, err := exec.Command("unshare", "-nm", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		if os.Getenv("E2E_REQUIRE") != "" {
			t.Fatalf("no namespaces for the node: %v\n%s", err, out)
		}
		t.Skipf("no namespaces for the node: %v\n%s", err, out)
	}
	switch err := os.Mkdir(stockLogDir, 0o755); { // a mount needs a directory to lie over
	case err == nil:
		t.Cleanup(func() { _ = os.Remove(stockLogDir) }) // it is empty, or not the test's
	case !errors.Is(err, fs.ErrExist):
		t.Fatal(err)
	}
	path := rig.Walser(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := exec.Command("unshare", "-nm", "sh", "-ec", `
		ip link set lo up
		mount -t tmpfs tmpfs "$1"
		exec "$2" -test.run '^TestStockConfig$' -test.v -test.count=1`,
		"sh", stockLogDir, self)
	inside.Env = append(os.Environ(), "E2E_NAMESPACE=1", "E2E_WALSER="+path)
	out, err := inside.CombinedOutput()
	if err != nil {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestStockConfig") {
		t.Fatalf("the test did not run in the namespace:\n%s", out)
	}
}

// runStockConfig is the part that runs in the namespaces.
func runStockConfig(t *testing.T) {
	if left, err := os.ReadDir(stockLogDir); err != nil || len(left) > 0 {
		t.Fatalf("%s holds %v, %v; want an empty tmpfs", stockLogDir, left, err)
	}
	n := newNode(t)
	n.addr = stockBootstrap
	n.run(exec.Command(rig.Walser(t), "server", "--config", stockConfig))
	n.awaitReady()

	client := newClient(t, stockBootstrap, kgo.ConsumeTopics("stock"), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err := client.ProduceSync(deadline(t), &kgo.Record{Topic: "stock", Value: []byte("unchanged")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetches := client.PollFetches(deadline(t))
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if records := fetches.Records(); len(records) != 1 || string(records[0].Value) != "unchanged" {
		t.Fatalf("consumed %v, want the one record", records)
	}
	if _, err := os.Stat(filepath.Join(stockLogDir, "stock-0", "00000000000000000000.log")); err != nil {
		t.Errorf("the record is not where log.dirs says: %v", err)
	}
}
