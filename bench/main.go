// Command bench puts the same load on Walser and on Apache Kafka in turn, on this machine, and prints how
// they compare: throughput, latency, CPU and memory of the broker, start-up. docs/benchmarks.md says how to
// run it and how to read it.
//
// A case is one load, and what Walser promises for it: its targets. Each case starts its peers afresh and lets
// them take turns in rounds; a round of a peer gives a measurement. No process or data directory outlives its
// case, however the program ends; measurements do, and a later run resumes behind them. The load is
// internal/loadgen's; this program starts peers, reads their accounts in /proc, and reports.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// SIGPIPE is here because `bench 2>&1 | head` would otherwise end the program without its clean-up.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the program. When it returns, what it started has ended and what it wrote is gone.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if o.list {
		listCases(stdout)
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("-timeout %v is over", o.timeout))
	defer cancel()

	dir, err := os.MkdirTemp(o.dir, "walser-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // the last directory of a round is gone already; what is left is small
	peers, err := preparePeers(ctx, o, dir, stderr)
	if err != nil {
		return err
	}
	kept, err := openResults(o.results, o.resume)
	if err != nil {
		return err
	}
	m := describeMachine(ctx, dir)
	b := &bench{options: o, machine: m, peers: peers, kept: kept, dir: dir, progress: stderr}
	if o.Fill {
		if b.memory, err = newFiller(dir); err != nil {
			return err
		}
		defer b.memory.holes.Close()
	}
	report := &report{machine: m, peers: peers, options: o}
	err = b.measureAll(ctx, report)
	if len(report.cases) == 0 {
		return err
	}
	fmt.Fprintf(stderr, "report.txt, report.json, report.svg and CPU profiles of Walser are in %s\n", kept.dir)
	// A run that was cut short still shows the cases that it finished.
	if o.output == "json" {
		return errors.Join(err, report.writeJSON(stdout))
	}
	return errors.Join(err, report.writeTable(stdout))
}
