package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

const (
	// roundSlack is what a round may take beyond its warm-up and its measured part, each counted twice.
	roundSlack = 3 * time.Minute
	// goneTimeout is how long a broker may take to remove a deleted topic's files.
	goneTimeout = time.Minute
	// diskSlack is room for what values do not count: batches' headers, indexes, a broker's own files.
	diskSlack = 1 << 30
	maxPasses = 200
)

// bench runs the chosen cases.
type bench struct {
	*options
	machine  machine
	peers    []*peer
	kept     results
	dir      string
	memory   *filler // nil: as it is
	progress io.Writer
}

// measureAll adds every case to the report, and stores each that it measures. A case that fails has no
// figures: a broker that loses records or falls over is no fast one. The other cases are measured all the same.
func (b *bench) measureAll(ctx context.Context, r *report) error {
	var failures error
	for i := range b.cases {
		c := &b.cases[i]
		key := b.key(c)
		report, found, err := b.kept.load(c.name, key)
		switch {
		case err != nil:
			return err
		case found:
			fmt.Fprintf(b.progress, "%s: measured before, in %s\n", c.name, b.kept.dir)
		default:
			report, err = b.measureCase(ctx, c)
			if ctx.Err() != nil {
				return errors.Join(failures, context.Cause(ctx))
			}
			if err != nil {
				brief, _, _ := strings.Cut(err.Error(), "\n") // a log may follow
				fmt.Fprintf(b.progress, "%s: failed: %s\n", c.name, brief)
				failures = errors.Join(failures, fmt.Errorf("case %s: %w", c.name, err))
				report = &caseReport{Missing: "it failed: " + brief}
			}
			report.Key, report.Case = key, c.name
			if report.Missing == "" {
				if err := b.kept.store(report); err != nil {
					return err
				}
			}
		}
		report.source = c
		r.cases = append(r.cases, report)
		if err := r.writeFiles(b.kept.dir); err != nil {
			return err
		}
	}
	return failures
}

// peersOf returns the peers that a case measures: Walser's default durability matters only to who writes.
func (b *bench) peersOf(c *benchCase) []*peer {
	return slices.DeleteFunc(slices.Clone(b.peers), func(p *peer) bool { return p.name == peerWalserDefault && !c.kind.durable() })
}

// order returns the peers as a round takes them: forward, then backward (ABBA), so that a machine that gets
// slower or faster by and by treats them alike.
func order[T any](peers []T, round int) []T {
	if round%2 == 1 {
		return peers
	}
	backward := slices.Clone(peers)
	slices.Reverse(backward)
	return backward
}

// measureCase measures all rounds of a case, with directories that are gone when it returns.
func (b *bench) measureCase(ctx context.Context, c *benchCase) (report *caseReport, err error) {
	report = &caseReport{Rounds: map[string][]measurement{}}
	client, missing := b.findClient(ctx, c.kind)
	if missing != nil {
		report.Missing = missing.Error()
		return report, nil
	}
	if client != nil {
		report.With = []string{client.describe}
	}
	if len(b.peersOf(c)) == 0 {
		report.Missing = "none of the chosen peers is measured in it"
		return report, nil
	}
	began := time.Now()
	dir, err := os.MkdirTemp(b.dir, c.name+"-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	measure := b.measureFresh
	if !c.kind.perRound() {
		measure = b.measureWarm
	}
	if err := measure(ctx, &caseRun{benchCase: c, dir: dir, client: client, report: report}); err != nil {
		return nil, err
	}
	report.Took = time.Since(began)
	return report, nil
}

// caseRun is one run of a case.
type caseRun struct {
	*benchCase
	dir    string
	client *client // that is not ours; nil: loadgen
	report *caseReport
}

func (b *bench) took(r *caseRun, n int, p string, m measurement) {
	m.Round, m.Peer = n, p
	r.report.Rounds[p] = append(r.report.Rounds[p], m)
	fmt.Fprintf(b.progress, "%s, round %d of %d, %s: %s\n", r.name, n, b.Rounds, p, m.brief(r.kind))
}

// measureFresh measures a case that starts a process for every round.
func (b *bench) measureFresh(ctx context.Context, r *caseRun) error {
	for n := 1; n <= b.Rounds; n++ {
		for _, p := range order(b.peersOf(r.benchCase), n) {
			fmt.Fprintf(b.progress, "%s, round %d of %d, %s\n", r.name, n, b.Rounds, p.name)
			if err := b.fillMemory(ctx); err != nil {
				return err
			}
			dir := filepath.Join(r.dir, fmt.Sprintf("%s-%d", p.name, n))
			m, err := b.freshRound(ctx, r.benchCase, p, dir)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", n, p.name, err)
			}
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			b.took(r, n, p.name, m)
		}
	}
	return nil
}

func (b *bench) fillMemory(ctx context.Context) error {
	if b.memory == nil {
		return nil
	}
	return b.memory.fill(ctx)
}

// measureWarm starts the peers of a case, warms each of them up, and lets them take turns.
func (b *bench) measureWarm(ctx context.Context, r *caseRun) (err error) {
	var brokers []*process
	defer func() {
		for _, broker := range brokers {
			err = errors.Join(err, broker.end())
		}
	}()
	for _, p := range b.peersOf(r.benchCase) {
		fmt.Fprintf(b.progress, "%s: starting %s and warming it up\n", r.name, p.name)
		if err := b.fillMemory(ctx); err != nil {
			return err
		}
		broker, err := p.start(ctx, filepath.Join(r.dir, p.name))
		if err != nil {
			return err
		}
		brokers = append(brokers, broker)
		if _, err := b.round(ctx, r, broker, 0); err != nil {
			return fmt.Errorf("warm up %s: %w", p.name, err)
		}
	}
	for n := 1; n <= b.Rounds; n++ {
		for _, broker := range order(brokers, n) {
			m, err := b.round(ctx, r, broker, n)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", n, broker.name, err)
			}
			b.took(r, n, broker.name, m)
		}
	}
	for _, broker := range brokers {
		peak, _, err := broker.memory()
		if err != nil {
			return err
		}
		for i := range r.report.Rounds[broker.name] {
			r.report.Rounds[broker.name][i].PeakRSS = peak
		}
	}
	return nil
}

// round puts a case's load on a broker; round 0 warms it up.
func (b *bench) round(whole context.Context, r *caseRun, broker *process, n int) (m measurement, err error) {
	if err := b.fillMemory(whole); err != nil {
		return m, err
	}
	ctx, cancel := context.WithTimeoutCause(whole, 2*(b.Warmup+4*b.Measure)+roundSlack, errors.New("the round takes too long"))
	defer cancel()
	free, err := freeBytes(b.dir)
	if err != nil {
		return m, err
	}
	if need := 2*max(b.MaxBytes, b.Backlog) + diskSlack; free < need {
		return m, fmt.Errorf("%s has %d MiB free and a round may need %d: give -dir, -max-mib or -backlog-mib", b.dir, free>>20, need>>20)
	}
	ctx, unbind := broker.bound(ctx)
	defer unbind(nil)
	window := loadgen.Window{Warmup: b.Settle, Measure: b.Measure, MaxBytes: b.MaxBytes}
	if r.long {
		window.Measure *= 3
	}
	if n == 0 {
		window.Measure = b.Warmup
	}
	m, err = b.offer(ctx, r, broker, n, window)
	switch {
	case whole.Err() != nil: // somebody ended it: the broker has nothing to say
		return m, context.Cause(whole)
	case ctx.Err() != nil:
		return m, broker.explain(errors.Join(context.Cause(ctx), err))
	case err != nil:
		return m, broker.explain(err)
	}
	return m, nil
}

// offer puts the load on a broker, and profiles a broker that can be.
func (b *bench) offer(ctx context.Context, r *caseRun, broker *process, n int, w loadgen.Window) (m measurement, err error) {
	books := &account{broker: broker, profiled: true}
	if n > 0 {
		w.Edge = books.edge
	}
	load := r.load
	load.Topic = fmt.Sprintf("bench-%d", n)
	var result loadgen.Result
	switch r.kind {
	case consume, catchUp:
		load.Topic = "bench" // one backlog serves all rounds
		if n == 0 {
			return m, b.writeBacklog(ctx, r.kind, broker, load)
		}
		result, err = b.readBacklog(ctx, r.kind, broker, load, books)
		err = errors.Join(err, broker.endProfile())
	case manyPartitions:
		if m.SoleBatchCPU, err = b.soleBatch(ctx, broker, load, w); err == nil {
			result, err = b.onTopic(ctx, r, broker, load, w)
			m.BatchCPU = books.total.brokerCPU / time.Duration(max(result.Batches, 1))
		}
	default:
		result, err = b.onTopic(ctx, r, broker, load, w)
	}
	if err = errors.Join(err, books.err); err != nil || n == 0 {
		return m, err
	}
	m.take(result, books)
	return m, broker.keepProfile(b.kept.profile(r.name, broker.name, n))
}

// soleBatch measures what a batch costs a broker where there is only one partition.
func (b *bench) soleBatch(ctx context.Context, broker *process, load loadgen.Load, w loadgen.Window) (time.Duration, error) {
	books := &account{broker: broker}
	if w.Edge != nil {
		w.Edge = books.edge
	}
	load.Topic, load.Partitions = load.Topic+"-sole", 1
	result, err := b.onTopic(ctx, &caseRun{benchCase: &benchCase{kind: manyPartitions}}, broker, load, w)
	if err = errors.Join(err, books.err); err != nil {
		return 0, err
	}
	return books.total.brokerCPU / time.Duration(max(result.Batches, 1)), nil
}

// onTopic puts a load on a topic that is there for it alone.
func (b *bench) onTopic(ctx context.Context, r *caseRun, broker *process, load loadgen.Load, w loadgen.Window) (result loadgen.Result, err error) {
	cluster := b.cluster(broker)
	if err := loadgen.CreateTopic(ctx, cluster, load); err != nil {
		return result, err
	}
	switch r.kind {
	case saturate:
		result, err = loadgen.Saturate(ctx, cluster, load, w)
	case replay:
		result, err = loadgen.Replay(ctx, cluster, load, w)
	case manyPartitions:
		if err := touchPartitions(ctx, broker, load); err != nil { // the first append to a file costs more
			return result, err
		}
		result, err = loadgen.Replay(ctx, cluster, load, w)
	case roundTrips:
		result, err = loadgen.RoundTrips(ctx, cluster, load, w)
	case stream:
		result, err = loadgen.Stream(ctx, cluster, load, w)
	default:
		result, err = r.client.offer(ctx, broker, cluster, load, w)
	}
	err = errors.Join(err, broker.endProfile())
	warmedUp := w.Edge == nil && errors.Is(err, loadgen.ErrTooShort) // which has done what it is for
	if err != nil && !warmedUp {
		return result, err
	}
	if err := loadgen.DeleteTopic(ctx, cluster, load); err != nil {
		return result, err
	}
	if !b.Gone {
		return result, nil
	}
	return result, awaitGone(ctx, broker, load.Topic)
}

// awaitGone waits until a deleted topic has no files, so that the next round does not pay for their
// writeback.
func awaitGone(ctx context.Context, broker *process, topic string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, goneTimeout, fmt.Errorf("the files of topic %s are still there %v after it was deleted", topic, goneTimeout))
	defer cancel()
	return again(ctx, 20*time.Millisecond, func() error {
		left, err := filepath.Glob(filepath.Join(broker.dir, "data", topic+"-*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%s is there", left[0])
		}
		return err
	})
}

// writeBacklog writes what the rounds read, and reads it until the warm-up has passed.
func (b *bench) writeBacklog(ctx context.Context, k kind, broker *process, load loadgen.Load) error {
	cluster := b.cluster(broker)
	if err := loadgen.CreateTopic(ctx, cluster, load); err != nil {
		return err
	}
	if err := loadgen.Fill(ctx, cluster, load, b.Backlog, nil); err != nil {
		return fmt.Errorf("write the backlog: %w", err)
	}
	for began := time.Now(); time.Since(began) < b.Warmup; {
		if _, err := b.pass(ctx, k, broker, load, loadgen.Window{}); err != nil {
			return err
		}
	}
	return nil
}

// readBacklog reads the backlog until as much time was measured as a round measures. Only the passes count,
// not what lies between them.
func (b *bench) readBacklog(ctx context.Context, k kind, broker *process, load loadgen.Load, books *account) (total loadgen.Result, err error) {
	for n := 0; total.Elapsed < b.Measure && n < maxPasses; n++ {
		result, err := b.pass(ctx, k, broker, load, loadgen.Window{Edge: books.edge})
		if err != nil {
			return total, err
		}
		total.Records += result.Records
		total.Bytes += result.Bytes
		total.Elapsed += result.Elapsed
	}
	return total, nil
}

func (b *bench) pass(ctx context.Context, k kind, broker *process, load loadgen.Load, w loadgen.Window) (loadgen.Result, error) {
	if k == catchUp {
		if err := dropCache(broker.dir); err != nil {
			return loadgen.Result{}, fmt.Errorf("throw the backlog out of the page cache: %w", err)
		}
	}
	return loadgen.CatchUp(ctx, b.cluster(broker), load, w)
}
