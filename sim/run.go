package sim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/walser-io/walser/internal/vfs"
)

// Options change a run. The zero value is the plain one.
type Options struct {
	// Drop makes the syncs that it holds for do nothing.
	Drop   func(vfs.Op) bool
	Logger *slog.Logger
	// Patience is how long the seed may take until it counts as stuck. The zero value is a minute, about a
	// thousand times what it takes.
	Patience time.Duration
}

// Report is what became of a seed.
type Report struct {
	Seed       uint64
	Load       string
	Faults     []Fault // of the lives so far
	Violations []string
	Figures
}

// String names the seed, the load and the faults, what went wrong, and how to see it again.
func (r *Report) String() string {
	s := fmt.Sprintf("seed %d: %s\n", r.Seed, r.Load)
	for i, f := range r.Faults {
		s += fmt.Sprintf("  life %d ends by %v\n", i+1, f)
	}
	for _, v := range r.Violations {
		s += "  VIOLATION " + v + "\n"
	}
	return s + fmt.Sprintf("  again: go test ./sim -run Simulation -seed %d -seeds 1 (or -count=20: the schedule is not in the seed)", r.Seed)
}

// Run runs one seed.
func Run(ctx context.Context, seed uint64, opts Options) *Report {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Patience == 0 {
		opts.Patience = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Patience)
	defer cancel()
	r := newRun(seed, opts, cancel)
	r.lives(ctx)
	r.report.Violations = r.ledger.found()
	cycles := r.report.Cycles
	r.report.Figures = r.ledger.figures()
	r.report.Cycles = cycles
	return r.report
}

// run is one seed on its way.
type run struct {
	Options
	report  *Report
	rng     *rand.Rand
	ledger  *ledger
	gate    *gate
	load    load
	gapless map[int]bool
	files   *vfs.Mem
}

func newRun(seed uint64, opts Options, broken func()) *run {
	rng := rand.New(rand.NewPCG(seed, 0x5eed))
	r := &run{
		Options: opts, report: &Report{Seed: seed}, rng: rng, gate: newGate(),
		gapless: make(map[int]bool), files: vfs.NewMem(seed),
	}
	r.load = drawLoad(rng)
	r.ledger = newLedger(r.load.kinds(), broken)
	r.report.Load = r.load.String()
	return r
}

// lives lets the node live and die, and at last stop in good order.
func (r *run) lives(ctx context.Context) {
	clients := r.start(ctx)
	for range r.load.lives {
		if !r.life(ctx, drawFault(r.rng), clients) {
			break
		}
	}
	clients.stop()
	if ctx.Err() == nil && len(r.ledger.found()) == 0 {
		r.last(ctx, clients)
	}
	if ctx.Err() != nil && len(r.ledger.found()) == 0 {
		r.ledger.violation("stuck: the seed took more than %v", r.Patience)
	}
	clients.cancel()
	clients.group.Wait()
	r.gate.shut()
}

// life is one life of the node, and its end. It returns false when there is no use in another.
func (r *run) life(ctx context.Context, fault Fault, clients *clients) bool {
	r.report.Faults = append(r.report.Faults, fault)
	r.report.Cycles++
	l := newLife(r.files, fault, r.Drop, fork(r.rng))
	defer func() { r.files = l.next }()
	want := r.promised()
	b, err := startBroker(l, r.load.settings(r.report.Cycles-1), r.Logger)
	if err == nil {
		r.gate.open(b.network, l.dying)
		r.live(ctx, l, clients, want)
	}
	if err != nil && !isClosed(l.cut) && !isClosed(l.half) {
		r.ledger.violation("the node does not start: %v", err)
	}
	if fault.Ending.inOrder() && b != nil {
		// Clients are served to the end: what they are told then counts as well.
		if err := b.stop(); err != nil {
			r.ledger.violation("the node does not stop in good order: %v", err)
		}
	}
	l.crash()
	r.gate.shut()
	if b != nil {
		_ = b.stop() // its disk is gone: how it ends is no one's business
	}
	return ctx.Err() == nil && len(r.ledger.found()) == 0
}

// live lets clients work until the end is due.
func (r *run) live(ctx context.Context, l *life, clients *clients, want map[partition]promised) {
	cutCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-l.cut:
		case <-l.half:
		case <-cutCtx.Done():
		}
		if isClosed(l.cut) || isClosed(l.half) {
			cancel()
			r.gate.shut()
		}
	})
	clients.admin.close()
	if !clients.admin.inspect(cutCtx, r.load.partitions(), want, r.gapless) {
		return
	}
	clients.begin()
	for left := l.fault.AfterAcks; left > 0; {
		select {
		case <-r.ledger.progress:
			if l.fault.AtOp == 0 {
				left--
			}
			if r.rng.IntN(r.load.meddling()) == 0 {
				clients.meddle(cutCtx, r.rng, r.load)
			}
		case <-cutCtx.Done():
			return
		}
	}
}

func (r *run) promised() map[partition]promised {
	want := make(map[partition]promised)
	for _, p := range r.load.partitions() {
		want[p] = r.ledger.snapshot(p)
	}
	return want
}

// last is the life at whose end every client is content, and the node stops.
func (r *run) last(ctx context.Context, clients *clients) {
	l := newLife(r.files, Fault{Ending: StopThenPowerLoss}, r.Drop, fork(r.rng))
	want := r.promised()
	b, err := startBroker(l, r.load.settings(r.report.Cycles), r.Logger)
	if err != nil {
		r.ledger.violation("the node does not start: %v", err)
		return
	}
	r.gate.open(b.network, l.dying)
	clients.admin.close()
	if !clients.admin.inspect(ctx, r.load.partitions(), want, r.gapless) && ctx.Err() == nil {
		r.ledger.violation("the node hung up on its own")
	}
	clients.begin()
	clients.group.Wait()
	want = r.promised()
	for _, p := range r.load.partitions() {
		clients.admin.look(ctx, p, want[p], r.gapless)
	}
	if err := b.stop(); err != nil {
		r.ledger.violation("the node does not stop in good order: %v", err)
	}
	r.gate.shut()
	l.crash()
}

// clients are all who talk to the node. They outlive it.
type clients struct {
	admin  admin
	ledger *ledger
	cancel context.CancelFunc
	end    chan struct{}
	stop   func()
	group  sync.WaitGroup
	begin  func() // lets the workers begin, once
	made   int    // topics
	shrunk bool   // the segments of the groups' positions
}

func (r *run) start(ctx context.Context) *clients {
	ctx, cancel := context.WithCancel(ctx)
	c := &clients{ledger: r.ledger, cancel: cancel, end: make(chan struct{})}
	c.stop = sync.OnceFunc(func() { close(c.end) })
	c.admin = admin{client: client{gate: r.gate}, ledger: r.ledger}
	var workers []func(context.Context)
	for i, load := range r.load.producers {
		rng := rand.New(rand.NewPCG(r.report.Seed, uint64(i)))
		p := &producer{
			client: client{gate: r.gate}, id: i, idempotent: load.idempotent, depth: load.depth, records: load.records,
			valueBytes: load.valueBytes, patience: load.patience, ledger: r.ledger, draw: rng.IntN, stopping: c.end,
		}
		for _, t := range load.targets {
			p.targets = append(p.targets, &target{partition: t, topicLoad: r.load.topic(t)})
		}
		r.gapless[i] = load.idempotent
		workers = append(workers, p.run)
	}
	for _, load := range r.load.consumers {
		s := &consumer{client: client{gate: r.gate}, partition: load.partition, group: load.group, ledger: r.ledger, stopping: c.end}
		workers = append(workers, s.run)
	}
	setup := admin{client: client{gate: r.gate}, ledger: r.ledger}
	c.begin = sync.OnceFunc(func() {
		c.group.Go(func() {
			defer setup.close()
			for _, t := range r.load.topics {
				if !setup.create(ctx, t.name, t.partitions, t.configs) {
					return
				}
			}
			for _, work := range workers {
				c.group.Go(func() { work(ctx) })
			}
		})
	})
	return c
}

// meddle does one thing that an administrator does.
func (c *clients) meddle(ctx context.Context, rng *rand.Rand, load load) {
	if load.compactOffsets && !c.shrunk {
		c.shrunk = c.admin.alter(ctx, "__consumer_offsets", map[string]string{
			"segment.index.bytes": "24", "index.interval.bytes": "0", "min.cleanable.dirty.ratio": "0.01", "file.delete.delay.ms": "0",
		})
	}
	choices := 3
	if load.trims {
		choices = 9
	}
	switch rng.IntN(choices) {
	default:
		some := load.trimmable()
		if len(some) == 0 {
			return
		}
		p := some[rng.IntN(len(some))]
		if end := c.ledger.end(p); end > 0 {
			before := 1 + rng.Int64N(end)
			if load.trims && rng.IntN(2) == 0 {
				before = end
			}
			c.admin.trim(ctx, p, before)
		}
	case 1:
		c.made++
		c.admin.create(ctx, "extra"+strconv.Itoa(c.made), 1, nil)
	case 2:
		if name := "extra" + strconv.Itoa(1+rng.IntN(c.made+1)); c.ledger.undecided(name) {
			c.admin.remove(ctx, name)
		}
	}
}

// fork returns a generator of its own for the disk, whose goroutines draw beside this one.
func fork(rng *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) }
