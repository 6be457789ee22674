package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/walser-io/walser/e2e/rig"
)

// TestCommandLine drives walser's own commands against a node that a YAML file configures: groups listed,
// described, moved and deleted, a topic trimmed, and the files of both read without the node.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "walser.yaml")
	config := "log:\n  dirs: [" + filepath.Join(dir, "a") + ", " + filepath.Join(dir, "b") + "]\nnum.partitions: 2\noffsets.topic.num.partitions: 1\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, "--config", file)
	path := rig.Walser(t)
	walser := func(stdin string, args ...string) (string, error) {
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), "WALSER_BOOTSTRAP_SERVER="+n.addr)
		cmd.Stdin = strings.NewReader(stdin)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		return string(out) + stderr.String(), err
	}
	run := func(stdin string, args ...string) string {
		t.Helper()
		out, err := walser(stdin, args...)
		if err != nil {
			t.Fatalf("walser %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	has := func(out string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("%q is missing in:\n%s", want, out)
			}
		}
	}

	run("", "topic", "create", "orders")
	has(run("", "topic", "describe", "orders", "-o", "json"), `"partitionCount": 2`)
	for _, log := range []string{"a", "b"} { // both directories of the file are in use
		if _, err := os.Stat(filepath.Join(dir, log, "meta.properties")); err != nil {
			t.Error(err)
		}
	}
	run(strings.Repeat("an order\n", 10), "produce", "orders", "-p", "0")
	if got := strings.Count(run("", "consume", "orders", "-g", "billing", "-n", "10"), "an order"); got != 10 {
		t.Errorf("the group consumed %d records, want 10", got)
	}
	has(run("", "group", "list"), "billing")
	has(run("", "group", "describe", "billing"), "orders 0 10")
	has(run("", "group", "seek", "billing", "--to", "3", "--topic", "orders:0", "-y"), "orders 0 10 3 moved")
	if got := strings.Count(run("", "consume", "orders", "-g", "billing", "-n", "7"), "an order"); got != 7 {
		t.Errorf("after the seek the group consumed %d records, want 7", got)
	}
	has(run("", "topic", "trim", "orders", "--to", "4", "-p", "0", "-y"), "orders 0 4 trimmed")
	if got := strings.Count(run("", "consume", "orders", "--from", "start", "-n", "6", "-p", "0"), "an order"); got != 6 {
		t.Errorf("after the trim there are %d records, want 6", got)
	}
	run("", "group", "delete", "billing", "-y")
	if out := run("", "group", "list"); strings.Contains(out, "billing") {
		t.Errorf("the group is listed after its deletion:\n%s", out)
	}
	if out, err := walser("", "group", "describe", "billing"); err == nil {
		t.Errorf("a group that is not there is described:\n%s", out)
	}

	n.stop()
	dumped := run("", "log", "dump", "--records", "--log-dir", filepath.Join(dir, "a"), "--log-dir", filepath.Join(dir, "b"), "orders-0")
	has(dumped, "payload: an order")
	has(run("", "log", "dump", "--records", "--decode", "offsets", "--log-dir", filepath.Join(dir, "a"), "--log-dir", filepath.Join(dir, "b"), "__consumer_offsets-0"), "billing")
}
