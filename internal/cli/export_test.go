package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/loadgen"
)

// Admin is what a test plays the cluster with.
type Admin = admin

// MainWith is Main against a cluster that adm plays.
func MainWith(ctx context.Context, deps Deps, adm Admin, args []string) int {
	a := newApp(deps)
	a.connect = func(context.Context, []kgo.Opt) (*client, error) { return &client{admin: adm}, nil }
	return a.main(ctx, args)
}

// MainOn is Main against a cluster that dial connects to. wrap may put itself before the cluster's admin.
func MainOn(ctx context.Context, deps Deps, dial func(context.Context) (net.Conn, error), wrap func(Admin) Admin, args []string) int {
	a := newApp(deps)
	a.connect = func(ctx context.Context, opts []kgo.Opt) (*client, error) {
		dialer := kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) })
		c, err := connectKafka(ctx, append(opts, dialer, kgo.MetadataMinAge(10*time.Millisecond)))
		if err == nil && wrap != nil {
			c.admin = wrap(c.admin)
		}
		return c, err
	}
	return a.main(ctx, args)
}

// ParseSize reads a size as a flag does, and returns it in bytes and as a flag shows it.
func ParseSize(text string) (bytes int64, shown string, err error) {
	s := size[int64]{&bytes}
	err = s.Set(text)
	return bytes, s.String(), err
}

// MeterLines returns what is told of a load's progress, with an edge of its window after each.
func MeterLines(phases []string, all ...loadgen.Progress) string {
	var stderr strings.Builder
	m := meter{a: newApp(Deps{Stderr: &stderr}), phases: phases}
	for _, p := range all {
		m.tell(p)
		m.edge()
	}
	return stderr.String()
}

// ExplainBench explains a failure of bench produce.
func ExplainBench(maxBytes int64, err error) *Failure {
	q := newBenchmark(benchProduce)
	q.window.MaxBytes = maxBytes
	return newApp(Deps{}).explain(q.explain(err))
}

// NoteLag returns what is said of a generator's lag.
func NoteLag(lag, produce time.Duration) string {
	var stderr strings.Builder
	r := loadgen.Result{Lag: loadgen.NewLatency(), Produce: loadgen.NewLatency()}
	r.Lag.Record(lag)
	r.Produce.Record(produce)
	newApp(Deps{Stderr: &stderr}).noteLag(r)
	return stderr.String()
}

// PlaceRange parses a range and places it in a partition; times are found at time/1000.
func PlaceRange(text string, now time.Time, start, end int64) (string, error) {
	r, err := parseRange(text, now)
	if err != nil {
		return "", err
	}
	after := func(ms int64) (int64, error) { return ms / 1000, nil }
	from, err := r.from.place(start, end, after)
	if err != nil || r.to == nil {
		return fmt.Sprintf("%d:", from), err
	}
	to, err := r.to.place(start, end, after)
	return fmt.Sprintf("%d:%d", from, to), err
}

// ReadAll reads all records of an input as produce does.
func ReadAll(in io.Reader, format string) ([]*kgo.Record, error) {
	q := production{topic: "t", format: format, json: format == "json", partition: -1}
	next, err := q.source(in)
	for all := []*kgo.Record(nil); err == nil; {
		var r *kgo.Record
		if r, err = next(); errors.Is(err, io.EOF) {
			return all, nil
		}
		all = append(all, r)
	}
	return nil, err
}

// AnyLeft is anyLeft.
var AnyLeft = anyLeft

// LookFor is lookFor.
var LookFor = lookFor

// AsText is asText.
var AsText = asText
