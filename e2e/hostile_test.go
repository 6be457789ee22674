package e2e

import (
	"context"
	enc "encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a node with GOMEMLIMIT=256MiB may not exceed while it is attacked: memory, and how much slower than
// in calm another client may find it. A p99 below the floor is as good as the floor: three times half a
// millisecond is what the scheduler of a busy two-core machine takes at any time, attack or none.
const (
	hostileMaxRSS   = 512 << 20
	hostileMaxRatio = 3
	hostileFloor    = 2 * time.Millisecond
)

// TestHostile attacks a node while a client of good will works on it, and holds the node to its memory and
// that client's p99 to what it was in the calm before each. The attackers are paced where they would otherwise only show
// that they share the machine's cores with the node. E2E_HOSTILE is the length of each calm and of each
// attack: 30s for the full run, which holds every p99 to its proportion. In CI, on a machine that others use too, it
// is 5s, 30s for the bombs, and shows that the node and the client live through it: a p99 below the short
// floor is as good as that.
func TestHostile(t *testing.T) {
	const full, short = 30 * time.Second, 5 * time.Second
	period, floor := short, 20*time.Millisecond
	if text := os.Getenv("E2E_HOSTILE"); text != "" {
		var err error
		if period, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if period >= full {
		floor = hostileFloor
	}
	raiseFileLimit(t, 8192)
	bombs := makeBombs(t)
	t.Setenv("GOMEMLIMIT", "256MiB")
	n := startNode(t)
	admin := kadm.NewClient(newClient(t, n.addr))
	if _, err := admin.CreateTopic(deadline(t), 1, 1, nil, "good"); err != nil {
		t.Fatal(err)
	}
	createBombTopics(t, admin)

	good := startGoodClient(t, n.addr)
	for _, a := range []struct {
		name string
		run  func(ctx context.Context, addr string) fmt.Stringer
	}{
		{"trickle", announcers{size: 100 << 20, prefix: 1, step: 1}.run},
		{"trickle after a burst", announcers{size: 100 << 20, prefix: 60 << 10, step: 1}.run},
		{"trickle at the least rate", announcers{size: 100 << 20, prefix: 4 << 10, step: 5 << 10}.run},
		{"trickle of small frames", announcers{size: 64 << 10, prefix: 60 << 10, step: 1}.run},
		{"counts", claimers{}.run},
		{"bombs", bombs.run},
	} {
		t.Run(a.name, func(t *testing.T) {
			period := period
			if a.name == "bombs" {
				period = max(period, full)
			}
			good.during(time.Second) // to begin, or to get over the attack before
			calm := good.during(period)
			t.Logf("calm: %v", calm)
			ctx, cancel := context.WithCancel(t.Context())
			said := make(chan fmt.Stringer, 1)
			go func() { said <- a.run(ctx, n.addr) }()
			attacked := good.during(period)
			cancel()
			t.Logf("%v; %v; %d MiB at most", <-said, attacked, peakRSS(t, n)>>20)
			attacked.within(t, calm, floor)
		})
		select {
		case <-n.exited:
			t.Fatalf("walser ended under %q:\n%s", a.name, n.log.Tail(4000))
		default:
		}
	}
	bombs.oneByOne(t, n.addr)
	if rss := peakRSS(t, n); rss >= hostileMaxRSS {
		t.Errorf("resident memory came to %d MiB, want less than %d MiB", rss>>20, hostileMaxRSS>>20)
	}
}

// goodClient produces a record every few milliseconds and consumes it again, whatever else goes on. A
// record's clock starts when it was due, so that a stall counts for every record that it held up.
type goodClient struct {
	mu      sync.Mutex
	since   time.Time // only records due from here on count
	latency latencies
}

const goodInterval = 5 * time.Millisecond

func startGoodClient(t *testing.T, addr string) *goodClient {
	g := &goodClient{}
	producer := newClient(t, addr, kgo.DefaultProduceTopic("good"), kgo.ProducerLinger(0), kgo.RecordRetries(1<<30))
	consumer := newClient(t, addr, kgo.ConsumeTopics("good"), kgo.FetchMaxWait(time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for due := time.Now(); ctx.Err() == nil; due = due.Add(goodInterval) {
			time.Sleep(time.Until(due))
			value := enc.BigEndian.AppendUint64(make([]byte, 0, 512), uint64(due.UnixNano()))
			producer.Produce(ctx, kgo.SliceRecord(value[:512]), func(_ *kgo.Record, err error) {
				switch {
				case err == nil:
					g.note(due, &g.latency.produce)
				case ctx.Err() == nil:
					t.Errorf("the good client's produce: %v", err)
				}
			})
		}
	}()
	go func() {
		for ctx.Err() == nil {
			fetches := consumer.PollFetches(ctx)
			if err := fetches.Err(); err != nil && ctx.Err() == nil {
				t.Errorf("the good client's fetch: %v", err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				g.note(time.Unix(0, int64(enc.BigEndian.Uint64(r.Value))), &g.latency.fetch)
			})
		}
	}()
	return g
}

func (g *goodClient) note(due time.Time, into *[]time.Duration) {
	took := time.Since(due)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !due.Before(g.since) {
		*into = append(*into, took)
	}
}

// during returns the latencies of the records that come due within d. It waits for the last of them, so
// that what never comes is seen, not left out.
func (g *goodClient) during(d time.Duration) latencies {
	g.mu.Lock()
	g.since, g.latency = time.Now(), latencies{}
	g.mu.Unlock()
	time.Sleep(d)
	want := int(d/goodInterval) - 1
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		g.mu.Lock()
		done := len(g.latency.produce) >= want && len(g.latency.fetch) >= want
		g.mu.Unlock()
		if done {
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.latency
	for _, of := range []*[]time.Duration{&seen.produce, &seen.fetch} {
		for len(*of) < want {
			*of = append(*of, time.Since(g.since)) // never came
		}
		slices.Sort(*of)
	}
	g.latency = latencies{}
	return seen
}

// latencies are those of a period, sorted: until a record was acknowledged, and until it was consumed.
type latencies struct{ produce, fetch []time.Duration }

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Round(10 * time.Microsecond)
}

func (l latencies) String() string {
	of := func(d []time.Duration) string {
		return fmt.Sprintf("p50 %v p99 %v max %v", quantile(d, 0.5), quantile(d, 0.99), quantile(d, 1))
	}
	return fmt.Sprintf("%d records, produce %s, fetch %s", len(l.produce), of(l.produce), of(l.fetch))
}

// within fails the test if the p99 is out of proportion to that of the calm before, or to floor.
func (l latencies) within(t *testing.T, calm latencies, floor time.Duration) {
	t.Helper()
	for _, side := range []struct {
		name      string
		now, calm []time.Duration
	}{{"produce", l.produce, calm.produce}, {"fetch", l.fetch, calm.fetch}} {
		now, base := quantile(side.now, 0.99), max(quantile(side.calm, 0.99), floor)
		if now > hostileMaxRatio*base {
			t.Errorf("%s p99 is %v, more than %d × %v (calm %v)", side.name, now, hostileMaxRatio, base, quantile(side.calm, 0.99))
		}
	}
}

// peakRSS returns the most memory that the node's process ever had resident.
func peakRSS(t *testing.T, n *node) int64 { return procStatus(t, n, "VmHWM") << 10 }

// procStatus returns a number of /proc/<pid>/status.
func procStatus(t *testing.T, n *node, field string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, field+":"); ok {
			number, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("no %s in:\n%s", field, status)
	return 0
}

// raiseFileLimit sees to it that this process and those it starts may have so many descriptors.
func raiseFileLimit(t *testing.T, want uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= want {
		return
	}
	limit.Cur, limit.Max = want, max(limit.Max, want)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("this test needs %d descriptors: %v", want, err)
	}
}
