package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/loadgen"
)

const (
	// roundSlack is what a round may take beyond its warm-up and its measured part, each counted twice.
	roundSlack = 3 * time.Minute
	// diskSlack is room for what values do not count: batches' headers, indexes, a broker's own files.
	diskSlack = 1 << 30
	maxPasses = 200
)

// bench runs the chosen scenarios.
type bench struct {
	*options
	peers    []*peer
	dir      string
	progress io.Writer
}

// measureAll adds every round to the report. It ends with the first that fails: a broker that loses records
// or falls over has no figures.
func (b *bench) measureAll(ctx context.Context, r *report) error {
	for i := range b.scenarios {
		s := &b.scenarios[i]
		for n := range b.rounds {
			for _, p := range order(b.peers, n) {
				fmt.Fprintf(b.progress, "%s, round %d of %d, %s: ", s.name, n+1, b.rounds, p.name)
				measured, err := b.round(ctx, s, p)
				if err != nil {
					fmt.Fprintln(b.progress, "failed")
					return fmt.Errorf("scenario %s, round %d, %s: %w", s.name, n+1, p.name, err)
				}
				measured.Round, measured.Peer = n+1, p.name
				fmt.Fprintln(b.progress, measured.brief())
				r.add(s, measured)
			}
		}
	}
	return nil
}

// order returns the peers as a round takes them: forward, then backward (ABBA), so that a machine that gets
// slower or faster by and by treats them alike.
func order(peers []*peer, round int) []*peer {
	if round%2 == 0 {
		return peers
	}
	backward := slices.Clone(peers)
	slices.Reverse(backward)
	return backward
}

// round measures one peer once, with a process and a directory that are gone when it returns.
func (b *bench) round(whole context.Context, s *scenario, p *peer) (m measurement, err error) {
	ctx, cancel := context.WithTimeoutCause(whole, 2*(b.warmup+b.measure)+roundSlack, errors.New("the round takes too long"))
	defer cancel()
	free, err := freeBytes(b.dir)
	if err != nil {
		return m, err
	}
	if need := 2*max(b.maxBytes, b.backlog) + diskSlack; free < need {
		return m, fmt.Errorf("%s has %d MiB free and a round may need %d: give -dir, -max-mib or -backlog-mib", b.dir, free>>20, need>>20)
	}
	dir, err := os.MkdirTemp(b.dir, p.name+"-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	broker, err := p.start(ctx, dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, broker.end()) }()
	ctx, unbind := broker.bound(ctx)
	defer unbind(nil)

	m.StartUp = broker.startUp
	if _, m.IdleRSS, err = broker.memory(); err != nil {
		return m, err
	}
	books := &account{broker: broker}
	result, err := b.offer(ctx, s, broker, dir, books)
	if err == nil {
		err = books.err
	}
	switch {
	case whole.Err() != nil: // somebody ended it: the broker has nothing to say
		return m, context.Cause(whole)
	case ctx.Err() != nil:
		return m, broker.explain(errors.Join(context.Cause(ctx), err))
	case err != nil:
		return m, broker.explain(err)
	}
	if m.PeakRSS, _, err = broker.memory(); err != nil {
		return m, err
	}
	m.take(result, books)
	return m, nil
}

// offer puts the scenario's load on a broker.
func (b *bench) offer(ctx context.Context, s *scenario, broker *process, dir string, books *account) (loadgen.Result, error) {
	cluster := []kgo.Opt{kgo.SeedBrokers(broker.addr), kgo.ClientID("walser-bench"), kgo.MetadataMinAge(100 * time.Millisecond)}
	if err := loadgen.CreateTopic(ctx, cluster, s.load); err != nil {
		return loadgen.Result{}, err
	}
	window := loadgen.Window{Warmup: b.warmup, Measure: b.measure, MaxBytes: b.maxBytes, Edge: books.edge}
	switch s.kind {
	case roundTrips:
		return loadgen.RoundTrips(ctx, cluster, s.load, window)
	case stream:
		return loadgen.Stream(ctx, cluster, s.load, window)
	case consume, catchUp:
		return b.readBacklog(ctx, cluster, s, dir, books)
	default:
		return loadgen.Saturate(ctx, cluster, s.load, window)
	}
}

// readBacklog writes a backlog, reads it until the warm-up has passed, and then until as much time was
// measured as a round measures. Only the passes count, not what lies between them.
func (b *bench) readBacklog(ctx context.Context, cluster []kgo.Opt, s *scenario, dir string, books *account) (total loadgen.Result, err error) {
	if err := loadgen.Fill(ctx, cluster, s.load, b.backlog); err != nil {
		return total, fmt.Errorf("write the backlog: %w", err)
	}
	pass := func(edge func()) (loadgen.Result, error) {
		if s.kind == catchUp {
			if err := dropCache(dir); err != nil {
				return loadgen.Result{}, fmt.Errorf("throw the backlog out of the page cache: %w", err)
			}
		}
		return loadgen.CatchUp(ctx, cluster, s.load, loadgen.Window{Edge: edge})
	}
	for warm := time.Now(); time.Since(warm) < b.warmup; {
		if _, err := pass(nil); err != nil {
			return total, err
		}
	}
	for n := 0; total.Elapsed < b.measure && n < maxPasses; n++ {
		result, err := pass(books.edge)
		if err != nil {
			return total, err
		}
		total.Records += result.Records
		total.Bytes += result.Bytes
		total.Elapsed += result.Elapsed
	}
	return total, nil
}

// account adds up what the broker and this process use between pairs of edges.
type account struct {
	broker *process
	open   bool
	from   used
	total  used
	err    error // the first
}

// used is what two processes have used so far.
type used struct {
	brokerCPU, clientCPU time.Duration
	diskRead             int64
}

func (a *account) edge() {
	now, err := a.read()
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("read the broker's account: %w", err)
	}
	if a.open {
		a.total.brokerCPU += now.brokerCPU - a.from.brokerCPU
		a.total.clientCPU += now.clientCPU - a.from.clientCPU
		a.total.diskRead += now.diskRead - a.from.diskRead
	}
	a.open, a.from = !a.open, now
}

func (a *account) read() (now used, err error) {
	if now.brokerCPU, err = a.broker.cpu(); err != nil {
		return now, err
	}
	if now.clientCPU, err = cpuOf("self"); err != nil {
		return now, err
	}
	now.diskRead, err = a.broker.diskRead()
	return now, err
}
