package vfstest

import (
	"flag"
	"fmt"
	"maps"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

var (
	number    = regexp.MustCompile(`\d+`)
	partition = regexp.MustCompile(`^.+-#(-#)?$`)
)

// Site names the line that asked for a sync by its function, and the kind of file: "sync pkg.fn #.log".
func Site(op vfs.Op) string {
	file := strings.TrimSuffix(number.ReplaceAllString(path.Base(op.Name), "#"), ".deleted") // while it was synced
	if partition.MatchString(file) {
		file = "<partition>"
	}
	caller := op.Caller
	if i := strings.LastIndexByte(caller, ':'); i > 0 {
		caller = caller[:i]
	}
	return fmt.Sprintf("%s %s %s", op.Kind, caller, file)
}

var (
	syncSeeds = flag.Uint64("syncs", 0, "how many seeds to try for each sync that is taken out; 0 skips such tests")
	syncSite  = flag.String("site", "", "a regular expression: take out only the syncs whose name it matches")
)

// DroppedSyncs shows which syncs a model needs. It runs seeds from 0 on to learn every Site, then takes out the
// syncs of one site after the other and runs seeds until one fails. A site that none misses is an error, unless
// known says what makes up for it, or which other test misses it. It takes minutes, so it skips the test unless
// -syncs says how many seeds to run.
//
// run holds a model against what a disk has after power losses, and fails its t where they differ. It gives
// drop to every vfs.Faulty that it makes. drop may be called by several goroutines, t only by the one that
// called run.
func DroppedSyncs(t *testing.T, known map[string]string, run func(t testing.TB, seed uint64, drop func(vfs.Op) bool)) {
	t.Helper()
	seeds := *syncSeeds
	if seeds == 0 {
		t.Skip("takes minutes: run with -syncs 1000 -timeout 2h")
	}
	wanted := regexp.MustCompile(*syncSite)
	for _, site := range learnSites(t, min(seeds, 200), run) {
		if !wanted.MatchString(site) {
			continue
		}
		seed, why := uint64(0), ""
		for ; seed < seeds && why == ""; seed++ {
			why = attempt(t, func(t testing.TB) {
				run(t, seed, func(op vfs.Op) bool { return Site(op) == site })
			})
		}
		switch reason, ok := known[site]; {
		case why == "" && !ok:
			t.Errorf("%s: none of %d seeds", site, seeds)
		case why == "":
			t.Logf("%s: none, %s", site, reason)
		default:
			t.Logf("%s: seed %d: %.200s", site, seed-1, strings.Join(strings.Fields(why), " "))
		}
	}
}

// learnSites runs seeds with every sync done.
func learnSites(t *testing.T, seeds uint64, run func(t testing.TB, seed uint64, drop func(vfs.Op) bool)) []string {
	t.Helper()
	var mu sync.Mutex
	sites := map[string]bool{}
	for seed := range seeds {
		run(t, seed, func(op vfs.Op) bool {
			mu.Lock()
			defer mu.Unlock()
			sites[Site(op)] = true
			return false
		})
	}
	return slices.Sorted(maps.Keys(sites))
}

// attempt runs fn with a t of its own, and returns how it failed, "" if it did not.
func attempt(t *testing.T, fn func(testing.TB)) (why string) {
	quiet := &quietTB{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(quiet) {
			why = fmt.Sprintf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	defer func() { why = quiet.why }()
	fn(quiet)
	return ""
}

// quietTB takes the failures of a test that is expected to fail.
type quietTB struct {
	testing.TB
	why string
}

func (q *quietTB) Failed() bool { return q.why != "" }

func (q *quietTB) Fail() { q.Errorf("failed") }

func (q *quietTB) FailNow() {
	q.Fail()
	panic(q)
}

func (q *quietTB) Errorf(format string, args ...any) {
	if q.why == "" {
		q.why = fmt.Sprintf(format, args...)
	}
}

func (q *quietTB) Error(args ...any) { q.Errorf("%s", fmt.Sprintln(args...)) }

func (q *quietTB) Fatalf(format string, args ...any) {
	q.Errorf(format, args...)
	panic(q)
}

func (q *quietTB) Fatal(args ...any)   { q.Fatalf("%s", fmt.Sprintln(args...)) }
func (q *quietTB) Log(...any)          {}
func (q *quietTB) Logf(string, ...any) {}
