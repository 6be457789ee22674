package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata")

// madeUp is a report of rounds that nobody ran.
func madeUp(t *testing.T) *report {
	t.Helper()
	o, err := parseOptions([]string{"-case", "produce-1k-64p,tail-1k,catchup,start,librdkafka", "-rounds", "3"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	r := &report{
		machine: machine{
			CPUs: 2, CPU: "made up", MemoryMiB: 1000, Kernel: "Linux 1.2", FileSystem: "ext4 on /dev/vda", LoadBefore: 0.1,
			Go: "go1.26", Client: "franz-go v1", Commit: "commit abc",
		},
		options: o,
		peers:   []*peer{{name: peerWalser, describe: []string{"one", "two"}}, {name: peerKafka}, {name: peerWalserDefault, describe: []string{"three"}}},
	}
	for i := range o.cases {
		c := &caseReport{Case: o.cases[i].name, Rounds: map[string][]measurement{}, source: &o.cases[i]}
		r.cases = append(r.cases, c)
		if c.source.kind == librdkafka {
			c.Missing = "nobody has it"
			continue
		}
		for n, slow := range []int64{1, 2, 1} { // the second minute is slow for all
			for name, factor := range map[string]int64{peerWalser: 4, peerWalserDefault: 2, peerKafka: 1} {
				if name == peerWalserDefault && !c.source.kind.durable() {
					continue
				}
				m := measurement{
					Round: n + 1, Peer: name, Records: 1e6 * factor / slow, Bytes: 1 << 30 * factor / slow, Elapsed: 2 * time.Second,
					BrokerCPU: time.Second, ClientCPU: 1500 * time.Millisecond, PeakRSS: 100e6 * slow / factor, IdleRSS: 20e6,
					StartUp: 99 * time.Millisecond * time.Duration(slow), DiskRead: 1 << 29,
				}
				if c.source.kind == stream {
					latency := &loadgen.Quantiles{
						Count: 1000, P50: time.Duration(slow) * time.Millisecond / time.Duration(factor), P99: 10 * time.Millisecond, P999: time.Second,
					}
					m.Produce, m.EndToEnd, m.Lag = latency, latency, latency
					m.OtherCPU = time.Second
				}
				c.Rounds[name] = append(c.Rounds[name], m)
			}
		}
	}
	return r
}

// golden compares what was printed with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("it differs from %s; if that is meant: go test . -run Report -rewrite\n%s", file, got)
	}
}

func TestReport_Table(t *testing.T) {
	var got bytes.Buffer
	if err := madeUp(t).writeTable(&got); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", got.Bytes())
}

func TestReport_Plot(t *testing.T) {
	var got bytes.Buffer
	if err := writePlot(&got, madeUp(t).verdicts()); err != nil {
		t.Fatal(err)
	}
	golden(t, "plot.svg", got.Bytes())
	for element := xml.NewDecoder(&got); ; {
		if _, err := element.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlotX_HalfAndDoubleAreAsFar(t *testing.T) {
	one := plotX(1)
	if left, right := one-plotX(0.5), plotX(2)-one; math.Abs(left-right) > 0.01 || left <= 0 {
		t.Errorf("a half lies %v to the left of 1, twice %v to the right", left, right)
	}
	if plotX(0) != plotLabels || plotX(1e9) != plotLabels+plotWidth {
		t.Errorf("what is off the axis lies at %v and %v", plotX(0), plotX(1e9))
	}
}

func TestReport_JSON(t *testing.T) {
	var out bytes.Buffer
	if err := madeUp(t).writeJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Machine  machine
		Verdicts []verdict
		Cases    []struct {
			Case    string
			Missing string
			Load    loadgen.Load
			Figures []row
			Rounds  map[string][]measurement
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Cases) != 5 || got.Cases[0].Load.RecordBytes != 1024 || len(got.Cases[0].Rounds[peerKafka]) != 3 || got.Machine.CPUs != 2 || got.Cases[4].Missing == "" {
		t.Fatalf("got %+v", got)
	}
	first := got.Cases[0].Figures[0]
	if want := (spread{Median: 2000, Min: 1000, Max: 2000, Rounds: 3}); first.Peers[peerWalser] != want {
		t.Errorf("%s of walser: %+v, want %+v", first.Name, first.Peers[peerWalser], want)
	}
	if want := (ratio{spread{Median: 4, Min: 4, Max: 4, Rounds: 3}, 3}); first.Ratios[peerWalser] != want {
		t.Errorf("%s, walser to kafka: %+v, want %+v", first.Name, first.Ratios[peerWalser], want)
	}
	if v := got.Verdicts[0]; v.Case != "produce-1k-64p" || v.Figure != throughput || !v.Holds || v.HoldsIn != 3 || v.Bound != 2.5 {
		t.Errorf("the first verdict is %+v", v)
	}
}

// A run that measured no Kafka has nothing to compare with.
func TestReport_WithoutKafka(t *testing.T) {
	r := madeUp(t)
	for _, c := range r.cases {
		delete(c.Rounds, peerKafka)
	}
	var out bytes.Buffer
	if err := r.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "/ kafka") || !strings.Contains(out.String(), "not measured") {
		t.Errorf("compared with nothing:\n%s", &out)
	}
	for _, v := range r.verdicts() {
		if v.ToKafka == v.Measured {
			t.Errorf("judged %+v", v)
		}
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
	for n := 1; n <= 4; n++ {
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
	if len(o.cases) != len(cases()) || len(o.peers) != 3 || o.preset != full || !o.resume || o.firstLook() {
		t.Errorf("by default: %+v", o)
	}
	o = parse("-quick", "-rounds", "7")
	if o.Rounds != 7 || o.Warmup != quick.Warmup || o.resume || len(o.cases) == 0 || len(o.cases) == len(cases()) || len(o.peers) != 2 || !o.firstLook() {
		t.Errorf("a flag beside a preset: %+v", o)
	}
	if o := parse("-quick", "-resume", "-case", "all", "-peer", "kafka"); !o.resume || len(o.cases) != len(cases()) || len(o.peers) != 1 {
		t.Errorf("what was given: %+v", o)
	}
	if full, quick := parse().results, parse("-quick").results; full == quick || full == "" {
		t.Errorf("results in %s and %s", full, quick)
	}
	o = parse("-warmup", "3s", "-measure", "4s", "-max-mib", "5", "-backlog-mib", "6", "-case", "start,catchup")
	if want := (preset{Rounds: 5, Warmup: 3 * time.Second, Settle: time.Second, Measure: 4 * time.Second, MaxBytes: 5 << 20, Backlog: 6 << 20, Fill: true, Gone: true}); o.preset != want {
		t.Errorf("got %+v, want %+v", o.preset, want)
	}
	if len(o.cases) != 2 || o.cases[0].name != "start" {
		t.Errorf("got %+v", o.cases)
	}
	for _, args := range [][]string{
		{"-peer", "redis"},
		{"-peer", "kafka,kafka"},
		{"-case", "nope"},
		{"-o", "xml"},
		{"-rounds", "0"},
		{"-measure", "0s"},
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

func TestParseMachine(t *testing.T) {
	got, err := parseMachine("cpu  100 20 3 4000 500 6 7 8 90 1\ncpu0 1 1 1 1 1 1 1 1\n")
	if want := 1360 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if _, err := parseMachine(text); err == nil {
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
