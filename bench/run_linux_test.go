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
	"strconv"
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
	Cases []struct {
		Case   string
		Load   loadgen.Load
		Rounds map[string][]measurement
	}
}

func runJSON(t *testing.T, args ...string) jsonReport {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), append(args, "-o", "json", "-quick"), &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var report jsonReport
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v in\n%s", err, &stdout)
	}
	return report
}

// TestRun runs one case of each kind that Walser alone can serve, as small as it goes, so that the program
// does not rot.
func TestRun(t *testing.T) {
	dir, kept, walser := t.TempDir(), t.TempDir(), buildWalser(t)
	var report jsonReport
	// The closed loops end with their bytes, however long those take on a busy machine.
	for i, args := range []string{
		"-peer walser,walser-default -rounds 2 -case produce-1k-64p,replay-1k-64p -measure 60s -max-mib 64",
		"-peer walser -case request-1 -measure 60s -max-mib 1",
		"-peer walser -case tail-1k,consume-1k,catchup,start,restart,idle-connections,partitions-1000 -measure 200ms -backlog-mib 8 -max-mib 64",
	} {
		args := append(strings.Fields(args), "-walser", walser, "-dir", dir, "-results", filepath.Join(kept, strconv.Itoa(i)), "-warmup", "50ms")
		report.Cases = append(report.Cases, runJSON(t, args...).Cases...)
	}
	isEmpty(t, dir)
	if left := children(t, os.Getpid()); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if len(report.Cases) != 10 || len(report.Cases[0].Rounds[peerWalserDefault]) != 2 {
		t.Fatalf("got %+v", report)
	}
	for _, c := range report.Cases {
		if len(c.Rounds[peerWalser]) == 0 {
			t.Errorf("%s has no rounds", c.Case)
		}
		for name, rounds := range c.Rounds {
			for _, m := range rounds {
				checkMeasurement(t, c.Case, name, c.Load.RecordBytes, m)
			}
		}
	}
	for _, name := range []string{"report.txt", "report.json", "report.svg", "cases/replay-1k-64p.json", "profiles/produce-1k-64p.walser.2.pprof"} {
		if info, err := os.Stat(filepath.Join(kept, "0", name)); err != nil || info.Size() < 100 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is stored is not measured again.
	again := runJSON(t, "-resume", "-peer", "walser", "-case", "request-1", "-measure", "60s", "-max-mib", "1", "-walser", walser, "-dir", dir,
		"-results", filepath.Join(kept, "1"), "-warmup", "50ms")
	if before := report.Cases[2].Rounds[peerWalser][0]; *again.Cases[0].Rounds[peerWalser][0].Produce != *before.Produce {
		t.Errorf("%+v was measured again: %+v", before, again.Cases[0].Rounds[peerWalser][0])
	}
}

// checkMeasurement looks for what a kind of case fills in.
func checkMeasurement(t *testing.T, name, peer string, recordBytes int, m measurement) {
	t.Helper()
	switch name {
	case "start":
		if m.StartUp <= 0 || m.IdleRSS < 4<<20 {
			t.Errorf("%s, %s: %+v", name, peer, m)
		}
		return
	case "restart":
		if m.Acknowledged <= 0 || m.AllServed < m.Acknowledged {
			t.Errorf("%s, %s: %+v", name, peer, m)
		}
		return
	case "idle-connections":
		if m.ConnectionsRSS < 1<<20 {
			t.Errorf("%s, %s: %+v", name, peer, m)
		}
		return
	}
	if m.Records < 1 || m.Bytes != m.Records*int64(recordBytes) || m.Elapsed <= 0 || m.PeakRSS < 4<<20 {
		t.Errorf("%s, %s: %+v", name, peer, m)
	}
	// A short measured part may lie within one tick of the account; a process cannot use more than there is.
	if m.BrokerCPU < 0 || m.ClientCPU < 0 || m.OtherCPU < 0 || m.BrokerCPU > 64*m.Elapsed+time.Second {
		t.Errorf("%s, %s: CPU in %+v", name, peer, m)
	}
	if (m.EndToEnd != nil) != (name == "tail-1k") || (m.Produce != nil) != (name == "tail-1k" || name == "request-1") {
		t.Errorf("%s, %s: latencies in %+v", name, peer, m)
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
	report := runJSON(t, "-peer", "kafka", "-dir", dir, "-results", t.TempDir(), "-case", "produce-1k-64p", "-warmup", "50ms", "-measure", "60s", "-max-mib", "64")
	isEmpty(t, dir)
	if m := report.Cases[0].Rounds[peerKafka][0]; m.Records < 1 || m.PeakRSS < 100<<20 || m.BrokerCPU <= 0 {
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
	broker, err := p.start(t.Context(), filepath.Join(t.TempDir(), "broker"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.end(); err != nil {
			t.Error(err)
		}
	}()
	if err := askMetadata(t.Context(), broker.place); err != nil {
		t.Errorf("ours: %v", err)
	}
	other := broker.place
	other.clusterID = newClusterID()
	if err := askMetadata(t.Context(), other); err == nil {
		t.Error("another was taken for ours")
	}
}

// fake is a peer that runs a shell script and never answers.
func fake(script string) *peer {
	return &peer{
		name:    "fake",
		prepare: func(context.Context, place) error { return nil },
		command: func(place) *exec.Cmd { return exec.Command("sh", "-c", script) },
	}
}

// testBench is a bench of one peer, and a case for it.
func testBench(t *testing.T, p *peer) (*bench, *benchCase) {
	t.Helper()
	o, err := parseOptions([]string{"-quick", "-max-mib", "1", "-backlog-mib", "1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{options: o, dir: t.TempDir(), progress: io.Discard, peers: []*peer{p}}, &o.cases[0]
}

func TestMeasureCase_ABrokerThatEndsIsSeenAtOnce(t *testing.T) {
	b, c := testBench(t, fake("echo no room at the inn; exit 3"))
	_, err := b.measureCase(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "fake has ended") || !strings.Contains(err.Error(), "no room at the inn") {
		t.Errorf("got %v", err)
	}
	isEmpty(t, b.dir)
}

func TestMeasureCase_LeavesNothingWhenItIsCancelled(t *testing.T) {
	broker := fake("exec sleep 1000")
	b, c := testBench(t, broker)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user has seen enough")
	command := broker.command
	broker.command = func(at place) *exec.Cmd {
		cancel(cause)
		return command(at)
	}
	if _, err := b.measureCase(ctx, c); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	isEmpty(t, b.dir)
	if left := children(t, os.Getpid()); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestRound_WantsRoom(t *testing.T) {
	b, c := testBench(t, nil)
	b.MaxBytes = 1 << 60
	if _, err := b.round(t.Context(), &caseRun{benchCase: c}, nil, 1); err == nil || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("got %v", err)
	}
}

// A case that fails has no figures, and the others are measured all the same.
func TestMeasureAll_GoesOnBehindAFailure(t *testing.T) {
	b, _ := testBench(t, fake("exit 3"))
	b.cases = b.cases[:2]
	var err error
	if b.kept, err = openResults(t.TempDir(), true); err != nil {
		t.Fatal(err)
	}
	r := &report{options: b.options, peers: b.peers}
	if err := b.measureAll(t.Context(), r); err == nil {
		t.Error("nothing failed")
	}
	for _, c := range r.cases {
		if _, found, err := b.kept.load(c.Case, c.Key); err != nil || found || !strings.Contains(c.Missing, "fake has ended") {
			t.Errorf("%s: %q, stored: %v, %v", c.Case, c.Missing, found, err)
		}
	}
	if len(r.cases) != 2 {
		t.Errorf("%d cases were begun", len(r.cases))
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
			cmd := exec.Command(program, "-peer", "walser", "-walser", walser, "-dir", dir, "-results", t.TempDir(), "-case", "tail-1k", "-warmup", "10m", "-measure", "10m", "-timeout", "1h", "-fill=false")
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
