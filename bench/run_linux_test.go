package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

// buildWalser builds walser once for the tests that run it.
func buildWalser(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "walser")
	build := exec.Command("go", "build", "-o", path, "./cmd/walser")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build walser: %v\n%s", err, out)
	}
	return path
}

// isEmpty fails where a run left something in its directory.
func isEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s is left", entry.Name())
	}
}

// children returns the processes that a process has started and that run.
func children(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		found = append(found, strings.Fields(read(file))...)
	}
	return found
}

// jsonReport is what these tests read of a report.
type jsonReport struct {
	Scenarios []struct {
		Name   string
		Load   loadgen.Load
		Rounds map[string][]measurement
	}
}

func runJSON(t *testing.T, args ...string) jsonReport {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), append(args, "-o", "json"), &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var report jsonReport
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v in\n%s", err, &stdout)
	}
	return report
}

// TestRun runs one scenario of each kind, as small as it goes, so that the program does not rot.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	walser := buildWalser(t)
	var report jsonReport
	// The closed loops end with their bytes, however long those take on a busy machine.
	for _, args := range []string{
		"-peer walser,walser-default -rounds 2 -scenario produce-1k -measure 60s -max-mib 64",
		"-peer walser -scenario request-1 -measure 60s -max-mib 1",
		"-peer walser -scenario tail,consume-1k,catchup -measure 200ms -backlog-mib 8",
	} {
		args := append(strings.Fields(args), "-quick", "-walser", walser, "-dir", dir, "-warmup", "50ms")
		report.Scenarios = append(report.Scenarios, runJSON(t, args...).Scenarios...)
	}
	isEmpty(t, dir)
	if left := children(t, os.Getpid()); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if len(report.Scenarios) != 5 || len(report.Scenarios[0].Rounds[peerWalserDefault]) != 2 {
		t.Fatalf("got %+v", report)
	}
	for _, s := range report.Scenarios {
		if len(s.Rounds[peerWalser]) == 0 {
			t.Errorf("%s has no rounds", s.Name)
		}
		for name, rounds := range s.Rounds {
			for _, m := range rounds {
				if m.Records < 1 || m.Bytes != m.Records*int64(s.Load.RecordBytes) || m.Elapsed <= 0 || m.PeakRSS < 4<<20 || m.IdleRSS < 4<<20 || m.StartUp <= 0 {
					t.Errorf("%s, %s: %+v", s.Name, name, m)
				}
				// A short measured part may lie within one tick of the account; a process cannot use more than there is.
				if m.BrokerCPU < 0 || m.ClientCPU < 0 || m.BrokerCPU > 64*m.Elapsed+time.Second {
					t.Errorf("%s, %s: CPU in %+v", s.Name, name, m)
				}
				if (m.EndToEnd != nil) != (s.Name == "tail") || (m.Produce != nil) != (s.Name == "tail" || s.Name == "request-1") {
					t.Errorf("%s, %s: latencies in %+v", s.Name, name, m)
				}
			}
		}
	}
}

// TestRun_Kafka runs Apache Kafka once, where make e2e has put it.
func TestRun_Kafka(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(filepath.Join(cache, "walser-e2e", "jars", ".ready")); err != nil || testing.Short() {
		t.Skip("no Apache Kafka: make e2e fetches it")
	}
	dir := t.TempDir()
	report := runJSON(t, "-quick", "-peer", "kafka", "-dir", dir, "-scenario", "produce-1k", "-warmup", "50ms", "-measure", "60s", "-max-mib", "64")
	isEmpty(t, dir)
	m := report.Scenarios[0].Rounds[peerKafka][0]
	if m.Records < 1 || m.PeakRSS < 100<<20 || m.StartUp < 100*time.Millisecond {
		t.Errorf("got %+v", m)
	}
}

// A broker that somebody else runs where ours is expected must not be measured.
func TestAskMetadata_KnowsItsBroker(t *testing.T) {
	o := &options{walser: buildWalser(t)}
	p, err := prepareWalser(t.Context(), o, peerWalser, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	broker, err := p.start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.end(); err != nil {
			t.Error(err)
		}
	}()
	if named, err := askMetadata(t.Context(), broker.place); err != nil || !named {
		t.Errorf("ours: %v, %v", named, err)
	}
	other := broker.place
	other.clusterID = newClusterID()
	if named, err := askMetadata(t.Context(), other); err == nil || named {
		t.Errorf("another: %v, %v", named, err)
	}
}

// fake is a peer that runs a shell script and never answers.
func fake(script string) *peer {
	return &peer{name: "fake", command: func(context.Context, place) (*exec.Cmd, error) {
		return exec.Command("sh", "-c", script), nil
	}}
}

func testBench(t *testing.T) (*bench, *scenario) {
	t.Helper()
	o, err := parseOptions([]string{"-quick", "-max-mib", "1", "-backlog-mib", "1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{options: o, dir: t.TempDir(), progress: io.Discard}, &o.scenarios[0]
}

func TestRound_ABrokerThatEndsIsSeenAtOnce(t *testing.T) {
	b, s := testBench(t)
	_, err := b.round(t.Context(), s, fake("echo no room at the inn; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "fake has ended") || !strings.Contains(err.Error(), "no room at the inn") {
		t.Errorf("got %v", err)
	}
	isEmpty(t, b.dir)
}

func TestRound_LeavesNothingWhenItIsCancelled(t *testing.T) {
	b, s := testBench(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user has seen enough")
	broker := fake("exec sleep 1000")
	command := broker.command
	broker.command = func(ctx context.Context, at place) (*exec.Cmd, error) {
		cancel(cause)
		return command(ctx, at)
	}
	if _, err := b.round(ctx, s, broker); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	isEmpty(t, b.dir)
	if left := children(t, os.Getpid()); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestRound_WantsRoom(t *testing.T) {
	b, s := testBench(t)
	b.maxBytes = 1 << 60
	if _, err := b.round(t.Context(), s, fake("exit 0")); err == nil || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("got %v", err)
	}
}

// TestSignals ends the program in the middle of a round, in order and not: no broker outlives it.
func TestSignals(t *testing.T) {
	walser, program := buildWalser(t), filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(program, "-peer", "walser", "-walser", walser, "-dir", dir, "-scenario", "tail-1k", "-warmup", "10m", "-measure", "10m", "-timeout", "1h")
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			progress := bufio.NewReader(stderr)
			if _, err := progress.ReadString(':'); err != nil { // the first round is about to begin
				t.Fatal(err)
			}
			var brokers []string
			await(t, "the broker to start", func() bool {
				brokers = children(t, cmd.Process.Pid)
				return len(brokers) > 0
			})
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, progress)
			if err := cmd.Wait(); err == nil {
				t.Error("it says that all is well")
			}
			for _, broker := range brokers {
				await(t, "the broker to be gone", func() bool {
					state := read("/proc/" + broker + "/stat")
					return state == "" || strings.Contains(state, ") Z ")
				})
			}
			if signal != syscall.SIGKILL { // nobody can clean up then
				isEmpty(t, dir)
			}
		})
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
