package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

// options is what one run was asked for.
type options struct {
	scenarios []scenario
	peers     []string
	rounds    int
	warmup    time.Duration
	measure   time.Duration
	maxBytes  int64 // of values that one round writes
	backlog   int64 // bytes of values that a scenario reads again
	timeout   time.Duration
	output    string
	list      bool

	dir, walser, java, jars string
}

// preset is how much a run does unless flags say otherwise.
type preset struct {
	rounds          int
	warmup, measure time.Duration
	maxMiB          int64
	backlogMiB      int64
	timeout         time.Duration
}

var presets = map[string]preset{
	"quick":   {rounds: 1, warmup: time.Second, measure: 1500 * time.Millisecond, maxMiB: 1024, backlogMiB: 256, timeout: 5 * time.Minute},
	"default": {rounds: 3, warmup: 4 * time.Second, measure: 4 * time.Second, maxMiB: 4096, backlogMiB: 512, timeout: 20 * time.Minute},
	"full":    {rounds: 5, warmup: 10 * time.Second, measure: 30 * time.Second, maxMiB: 4096, backlogMiB: 2048, timeout: 6 * time.Hour},
}

const usage = `bench puts the same load on Walser and on Apache Kafka in turn and prints how they compare.

  go run -C bench .                                   the default scenarios, both peers, under 5 minutes
  go run -C bench . -quick                            under a minute, for a look
  go run -C bench . -full -scenario all -peer all     figures to quote, hours

See docs/benchmarks.md.

`

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	var (
		o                 options
		quick, full       bool
		peers, names      string
		maxMiB, backlogMB int64
		load              loadgen.Load
		batchKiB          int
	)
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	fs.BoolVar(&quick, "quick", false, "one short round: shows that it runs, not how fast")
	fs.BoolVar(&full, "full", false, "five long rounds after a long warm-up: figures to quote")
	fs.StringVar(&peers, "peer", "both", "`who` is measured: walser, walser-default, kafka, both (walser,kafka), all, or a list")
	fs.StringVar(&names, "scenario", "default", "`which` scenarios: a list of names, default, or all; see -list")
	fs.BoolVar(&o.list, "list", false, "list the scenarios")
	fs.StringVar(&o.output, "o", "table", "`output`: table or json")
	fs.IntVar(&o.rounds, "rounds", 0, "rounds of each scenario and peer")
	fs.DurationVar(&o.warmup, "warmup", 0, "warm-up of a round")
	fs.DurationVar(&o.measure, "measure", 0, "measured part of a round")
	fs.Int64Var(&maxMiB, "max-mib", 0, "most `MiB` that a round writes; it ends earlier where it would write more")
	fs.Int64Var(&backlogMB, "backlog-mib", 0, "`MiB` that the reading scenarios read again and again")
	fs.DurationVar(&o.timeout, "timeout", 0, "bound of the whole run")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "`directory` for data, on the disk to be measured")
	fs.StringVar(&o.walser, "walser", "", "walser `binary`; it is built from this repository if unset")
	fs.StringVar(&o.java, "java", "", "`java` for Apache Kafka; the newest that is found if unset")
	fs.StringVar(&o.jars, "jars", "", "`directory` with the jars of Apache Kafka "+kafkaVersion+"; the cache of make e2e if unset")

	fs.IntVar(&load.Partitions, "partitions", 0, "partitions, instead of the scenario's")
	fs.IntVar(&load.RecordBytes, "record-bytes", 0, "bytes of a value, instead of the scenario's")
	fs.Float64Var(&load.Redundancy, "redundancy", 0.5, "share of a value that compresses away")
	fs.Uint64Var(&load.Seed, "seed", 1, "seed of the values")
	fs.IntVar(&load.Producers, "producers", 0, "producers, instead of the scenario's")
	fs.IntVar(&load.Consumers, "consumers", 0, "consumers, instead of the scenario's")
	fs.StringVar(&load.Acks, "acks", "all", "all (idempotent) or 1 (not)")
	fs.DurationVar(&load.Linger, "linger", 0, "linger, instead of the scenario's")
	fs.IntVar(&batchKiB, "batch-kib", 0, "largest batch in `KiB`, instead of the scenario's")
	fs.StringVar(&load.Codec, "codec", "", "none, gzip, snappy, lz4 or zstd, instead of the scenario's")
	fs.IntVar(&load.Rate, "rate", 0, "records per second of the open loops, instead of the scenario's")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })

	name := "default"
	switch {
	case quick && full:
		return nil, errors.New("-quick and -full both say how much to do: give one of them")
	case quick:
		name = "quick"
	case full:
		name = "full"
	}
	o.fill(presets[name], given, maxMiB, backlogMB)
	var err error
	if o.peers, err = parsePeers(peers); err != nil {
		return nil, err
	}
	if o.scenarios, err = parseScenarios(names); err != nil {
		return nil, err
	}
	for i := range o.scenarios {
		override(&o.scenarios[i].load, &load, given, batchKiB)
	}
	return &o, errors.Join(o.validate(fs.Args())...)
}

// fill takes from the preset what no flag gave.
func (o *options) fill(p preset, given map[string]bool, maxMiB, backlogMiB int64) {
	if !given["rounds"] {
		o.rounds = p.rounds
	}
	if !given["warmup"] {
		o.warmup = p.warmup
	}
	if !given["measure"] {
		o.measure = p.measure
	}
	if !given["max-mib"] {
		maxMiB = p.maxMiB
	}
	if !given["backlog-mib"] {
		backlogMiB = p.backlogMiB
	}
	if !given["timeout"] {
		o.timeout = p.timeout
	}
	o.maxBytes, o.backlog = maxMiB<<20, backlogMiB<<20
}

// override puts into a scenario's load what flags gave.
func override(load, flags *loadgen.Load, given map[string]bool, batchKiB int) {
	load.Redundancy, load.Seed = flags.Redundancy, flags.Seed
	load.Acks, load.Idempotent = flags.Acks, flags.Acks == "all"
	if given["partitions"] {
		load.Partitions = flags.Partitions
	}
	if given["record-bytes"] {
		load.RecordBytes = flags.RecordBytes
	}
	if given["producers"] {
		load.Producers = flags.Producers
	}
	if given["consumers"] {
		load.Consumers = flags.Consumers
	}
	if given["linger"] {
		load.Linger = flags.Linger
	}
	if given["batch-kib"] {
		load.BatchBytes = batchKiB << 10
	}
	if given["codec"] {
		load.Codec = flags.Codec
	}
	if given["rate"] && load.Rate > 0 {
		load.Rate = flags.Rate
	}
}

func (o *options) validate(rest []string) (faults []error) {
	if len(rest) > 0 {
		faults = append(faults, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if o.output != "table" && o.output != "json" {
		faults = append(faults, fmt.Errorf("-o %s: want table or json", o.output))
	}
	for flag, ok := range map[string]bool{
		"-rounds": o.rounds >= 1, "-warmup": o.warmup >= 0, "-measure": o.measure > 0, "-max-mib": o.maxBytes >= 1<<20,
		"-backlog-mib": o.backlog >= 1<<20, "-timeout": o.timeout > 0,
	} {
		if !ok {
			faults = append(faults, fmt.Errorf("%s is too small", flag))
		}
	}
	for _, s := range o.scenarios {
		if err := s.load.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("scenario %s: %w", s.name, err))
		}
	}
	return faults
}

func parsePeers(text string) ([]string, error) {
	switch text {
	case "both":
		text = peerWalser + "," + peerKafka
	case "all":
		text = peerWalser + "," + peerWalserDefault + "," + peerKafka
	}
	var peers []string
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains([]string{peerWalser, peerWalserDefault, peerKafka}, name) || slices.Contains(peers, name) {
			return nil, fmt.Errorf("-peer %s: want walser, walser-default, kafka, both, all, or a list of the first three", text)
		}
		peers = append(peers, name)
	}
	return peers, nil
}
