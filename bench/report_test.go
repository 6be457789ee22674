package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata")

// madeUp is a report of rounds that nobody ran.
func madeUp(t *testing.T) *report {
	t.Helper()
	o, err := parseOptions([]string{"-scenario", "produce-1k,tail,catchup", "-peer", "all"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(machine{
		CPUs: 2, CPU: "made up", MemoryMiB: 1000, Kernel: "Linux 1.2", FileSystem: "ext4 on /dev/vda", LoadBefore: 0.1,
		Go: "go1.26", Client: "franz-go v1", Commit: "commit abc",
	}, o, []*peer{{name: peerWalser, describe: []string{"one", "two"}}, {name: peerWalserDefault, describe: []string{"three"}}, {name: peerKafka}})
	for i := range o.scenarios {
		for n, slow := range []int64{1, 2, 1} { // the second minute is slow for all
			for name, factor := range map[string]int64{peerWalser: 4, peerWalserDefault: 2, peerKafka: 1} {
				latency := &loadgen.Quantiles{
					Count: 1000, P50: time.Duration(slow) * time.Millisecond / time.Duration(factor), P99: 10 * time.Millisecond, P999: time.Second,
				}
				m := measurement{
					Round: n + 1, Peer: name, Records: 1e6 * factor / slow, Bytes: 1 << 30 * factor / slow, Elapsed: 2 * time.Second,
					BrokerCPU: time.Second, ClientCPU: 1500 * time.Millisecond, PeakRSS: 100 << 20 * slow / factor, IdleRSS: 20 << 20,
					StartUp: 1234 * time.Millisecond, DiskRead: 1 << 29,
				}
				if o.scenarios[i].kind == stream {
					m.Produce, m.EndToEnd, m.Lag = latency, latency, latency
				}
				r.add(&o.scenarios[i], m)
			}
		}
	}
	return r
}

func TestReport_Table(t *testing.T) {
	var got bytes.Buffer
	if err := madeUp(t).writeTable(&got); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "table.txt")
	if *rewrite {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the table differs from %s; if that is meant: go test . -run Table -rewrite\n%s", golden, got.String())
	}
}

func TestReport_JSON(t *testing.T) {
	var out bytes.Buffer
	if err := madeUp(t).writeJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Machine   machine
		Scenarios []struct {
			Name    string
			Load    loadgen.Load
			Figures []row
			Rounds  map[string][]measurement
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Scenarios) != 3 || got.Scenarios[0].Load.RecordBytes != 1024 || len(got.Scenarios[0].Rounds[peerKafka]) != 3 || got.Machine.CPUs != 2 {
		t.Fatalf("got %+v", got)
	}
	first := got.Scenarios[0].Figures[0]
	if want := (loadgen.Spread{Median: 2048, Min: 1024, Max: 2048, Rounds: 3}); first.Peers[peerWalser] != want {
		t.Errorf("%s, %s of walser: %+v, want %+v", first.Name, first.Unit, first.Peers[peerWalser], want)
	}
	if want := (ratio{loadgen.Spread{Median: 4, Min: 4, Max: 4, Rounds: 3}, 3}); first.Ratios[peerWalser] != want {
		t.Errorf("%s, %s, walser to kafka: %+v, want %+v", first.Name, first.Unit, first.Ratios[peerWalser], want)
	}
}

// A run that was cut short, or that measured no Kafka, has nothing to compare with.
func TestReport_WithoutKafka(t *testing.T) {
	r := madeUp(t)
	for _, s := range r.scenarios {
		delete(s.rounds, peerKafka)
	}
	var out bytes.Buffer
	if err := r.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "/ kafka") {
		t.Errorf("compared with nothing:\n%s", &out)
	}
}

func TestBetterIn(t *testing.T) {
	a, b := []float64{1, 2, 3}, []float64{2, 2, 2}
	if h, l, n := betterIn(a, b, higher), betterIn(a, b, lower), betterIn(a, b, neither); h != 1 || l != 1 || n != 0 {
		t.Errorf("higher in %d, lower in %d, neither in %d; want 1, 1, 0", h, l, n)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0.000", 0.0123: "0.012", 1.2345: "1.23", 12.345: "12.3", 123.45: "123", 54321: "54321"} {
		if got := number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}

func TestOrder_ForwardThenBackward(t *testing.T) {
	peers := []*peer{{name: "a"}, {name: "b"}}
	var got string
	for n := range 4 {
		for _, p := range order(peers, n) {
			got += p.name
		}
	}
	if got != "abbaabba" {
		t.Errorf("the rounds run as %s", got)
	}
}

func TestOptions(t *testing.T) {
	parse := func(args ...string) *options {
		t.Helper()
		o, err := parseOptions(args, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	o := parse()
	if len(o.scenarios) != 4 || !slices.Equal(o.peers, []string{peerWalser, peerKafka}) || o.rounds != 3 {
		t.Errorf("by default: %+v", o)
	}
	for _, s := range o.scenarios {
		if !s.load.Idempotent || s.load.Acks != "all" || s.load.Seed != 1 {
			t.Errorf("%s: %+v", s.name, s.load)
		}
	}
	if o := parse("-quick", "-rounds", "7"); o.rounds != 7 || o.warmup != presets["quick"].warmup {
		t.Errorf("a flag beside a preset: %+v", o)
	}
	if all := parse("-scenario", "all", "-peer", "all"); len(all.scenarios) != len(scenarios()) || len(all.peers) != 3 {
		t.Errorf("all: %+v", all)
	}
	o = parse("-scenario", "tail,produce-1k", "-acks", "1", "-rate", "5", "-partitions", "2", "-record-bytes", "50", "-producers", "3",
		"-consumers", "4", "-linger", "9ms", "-batch-kib", "16", "-codec", "zstd", "-seed", "8", "-redundancy", "0.25")
	want := loadgen.Load{
		Topic: "bench", Partitions: 2, RecordBytes: 50, Redundancy: 0.25, Seed: 8, Producers: 3, Acks: "1", InFlight: 5,
		Linger: 9 * time.Millisecond, BatchBytes: 16 << 10, Codec: "zstd", Rate: 5, Consumers: 4,
	}
	if got := o.scenarios[0].load; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := o.scenarios[1].load; got.Rate != 0 {
		t.Errorf("a closed loop has a rate of %d", got.Rate)
	}
	for _, args := range [][]string{
		{"-peer", "redis"},
		{"-peer", "kafka,kafka"},
		{"-scenario", "nope"},
		{"-o", "xml"},
		{"-rounds", "0"},
		{"-measure", "0s"},
		{"-quick", "-full"},
		{"-acks", "0"},
		{"-codec", "rar"},
		{"-partitions", "0"},
		{"extra"},
		{"-max-mib", "0"},
	} {
		if _, err := parseOptions(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestParseStat(t *testing.T) {
	// A name may hold blanks and brackets.
	const stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0 99"
	got, err := parseStat(stat)
	if want := 1270 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"", "42 (a) S 1 2 3", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 20 3 4"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("took %q", text)
		}
	}
}

func TestField(t *testing.T) {
	const status = "Name:\twalser\nVmHWM:\t   12345 kB\nVmRSS:\t     99 kB\nread_bytes: 7\n"
	for name, want := range map[string]int64{"VmHWM": 12345, "VmRSS": 99, "read_bytes": 7} {
		if got, err := field(status, name); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", name, got, err, want)
		}
	}
	if _, err := field(status, "Vm"); err == nil {
		t.Error("half a name was found")
	}
}

func TestJavaMajor(t *testing.T) {
	for line, want := range map[string]int{
		`openjdk version "25.0.3" 2026-04-21 LTS`:   25,
		`java version "1.8.0_152"`:                  1,
		`openjdk version "21" 2023-09-19`:           21,
		`OpenJDK Runtime Environment Temurin-25+36`: 0,
		``: 0,
	} {
		if got := javaMajor(line); got != want {
			t.Errorf("%q is %d, want %d", line, got, want)
		}
	}
}

func TestNewClusterID_IsAnArgument(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newClusterID()
		if len(id) != 22 || id[0] == '-' || seen[id] {
			t.Fatalf("made %q", id)
		}
		seen[id] = true
	}
}
