package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options is what one run was asked for.
type options struct {
	preset
	cases   []benchCase
	peers   []string
	timeout time.Duration
	output  string
	list    bool
	resume  bool

	dir, results, walser, java, jars string
}

// preset is how much a run does unless flags say otherwise.
type preset struct {
	Rounds   int
	Warmup   time.Duration // of a process, before its first round
	Settle   time.Duration // of a round, before its measured part
	Measure  time.Duration
	MaxBytes int64 // of values that a round writes
	Backlog  int64 // bytes of values that a case reads again
	Fill     bool  // free memory is filled with page cache before each round
	Gone     bool  // a round waits until the files of the one before are gone
}

var (
	full = preset{
		Rounds: 5, Warmup: 10 * time.Second, Settle: time.Second, Measure: 10 * time.Second, MaxBytes: 3 << 30, Backlog: 2 << 30,
		Fill: true, Gone: true,
	}
	quick = preset{
		Rounds: 1, Warmup: 2 * time.Second, Settle: 200 * time.Millisecond, Measure: 1500 * time.Millisecond, MaxBytes: 1 << 30, Backlog: 256 << 20,
	}
)

const usage = `bench puts the same load on Walser and on Apache Kafka in turn and prints how they compare.

  go run -C bench .                    every case, figures to quote: about 1.5 hours; it resumes where it was ended
  go run -C bench . -quick             some cases, one short round of each: under 3 minutes
  go run -C bench . -case NAME,NAME    some cases

See docs/benchmarks.md.

`

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	var (
		o                     options
		isQuick               bool
		peers, names          string
		given                 preset
		maxMiB, backlogMiB    int64
		cacheDir, cacheDirErr = os.UserCacheDir()
	)
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	fs.BoolVar(&isQuick, "quick", false, "some cases, one short round: shows that it runs, not how fast")
	fs.StringVar(&peers, "peer", "", "`who` is measured: all, or a list of walser, walser-default and kafka; all, with -quick walser,kafka")
	fs.StringVar(&names, "case", "", "`which` cases: a list of names, or all; see -list")
	fs.BoolVar(&o.list, "list", false, "list the cases and their targets")
	fs.StringVar(&o.output, "o", "table", "`output`: table or json")
	fs.StringVar(&o.results, "results", "", "`directory` that keeps finished cases, profiles and the report; in the user's cache if unset")
	fs.BoolVar(&o.resume, "resume", true, "take the cases that -results holds already; not with -quick, unless given")
	fs.IntVar(&given.Rounds, "rounds", 0, "rounds of each case and peer")
	fs.DurationVar(&given.Warmup, "warmup", 0, "warm-up of a process")
	fs.DurationVar(&given.Measure, "measure", 0, "measured part of a round; three times that in the tail cases")
	fs.Int64Var(&maxMiB, "max-mib", 0, "most `MiB` that a round writes; it ends earlier where it would write more")
	fs.Int64Var(&backlogMiB, "backlog-mib", 0, "`MiB` that the reading cases read again and again")
	fs.DurationVar(&o.timeout, "timeout", 4*time.Hour, "bound of the whole run")
	fs.BoolVar(&given.Fill, "fill", true, "fill free memory with page cache before each round, so that no broker pays for its first touch; with -quick only if given")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "`directory` for data, on the disk to be measured")
	fs.StringVar(&o.walser, "walser", "", "walser `binary`; it is built from this repository if unset")
	fs.StringVar(&o.java, "java", "", "`java` for Apache Kafka; the newest that is found if unset")
	fs.StringVar(&o.jars, "jars", "", "`directory` with the jars of Apache Kafka "+kafkaVersion+"; the cache of make e2e if unset")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	set := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = true })

	name := "full"
	o.preset = full
	if isQuick {
		name, o.preset = "quick", quick
		o.resume = o.resume && set["resume"]
	}
	if set["rounds"] {
		o.Rounds = given.Rounds
	}
	if set["warmup"] {
		o.Warmup = given.Warmup
	}
	if set["measure"] {
		o.Measure = given.Measure
		o.Settle = min(o.Settle, o.Measure)
	}
	if set["max-mib"] {
		o.MaxBytes = maxMiB << 20
	}
	if set["backlog-mib"] {
		o.Backlog = backlogMiB << 20
	}
	if set["fill"] {
		o.Fill = given.Fill
	}
	if o.results == "" && !o.list {
		if cacheDirErr != nil {
			return nil, fmt.Errorf("find a place for results: %w; give -results DIRECTORY", cacheDirErr)
		}
		o.results = filepath.Join(cacheDir, "walser-bench", name)
	}
	var err error
	if o.peers, err = parsePeers(peers, isQuick); err != nil {
		return nil, err
	}
	if o.cases, err = parseCases(names, isQuick); err != nil {
		return nil, err
	}
	return &o, errors.Join(o.validate(fs.Args())...)
}

func (o *options) validate(rest []string) (faults []error) {
	if len(rest) > 0 {
		faults = append(faults, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if o.output != "table" && o.output != "json" {
		faults = append(faults, fmt.Errorf("-o %s: want table or json", o.output))
	}
	for flag, ok := range map[string]bool{
		"-rounds": o.Rounds >= 1, "-warmup": o.Warmup > 0, "-measure": o.Measure > 0, "-max-mib": o.MaxBytes >= 1<<20,
		"-backlog-mib": o.Backlog >= 1<<20, "-timeout": o.timeout > 0,
	} {
		if !ok {
			faults = append(faults, fmt.Errorf("%s is too small", flag))
		}
	}
	return faults
}

// firstLook says that what was measured is too little to be quoted.
func (p *preset) firstLook() bool {
	return p.Rounds < full.Rounds || p.Warmup < full.Warmup || p.Measure < full.Measure
}

func parsePeers(text string, quick bool) ([]string, error) {
	all := []string{peerWalser, peerKafka, peerWalserDefault}
	switch {
	case text == "all", text == "" && !quick:
		return all, nil
	case text == "":
		return all[:2], nil
	}
	var peers []string
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(all, name) || slices.Contains(peers, name) {
			return nil, fmt.Errorf("-peer %s: want all, or a list of walser, walser-default and kafka", text)
		}
		peers = append(peers, name)
	}
	return peers, nil
}
