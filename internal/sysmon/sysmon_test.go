package sysmon

import (
	"context"
	"runtime"
	"slices"
	"testing"
)

// The processor is held from the look after threads fell asleep often, until they no longer do: the naps are no reason.
func TestWatch_HoldsWhileBusy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	script := []int64{10, 500, 500, int64(look/nap) + 10, 10} // sleeps of threads in each look
	var (
		sleeps int64
		naps   int
		did    []string
	)
	passed := func(what string) {
		did = append(did, what)
		sleeps += script[0]
		if script = script[1:]; len(script) == 0 {
			cancel()
		}
	}
	watch{
		sleeps: func() int64 { return sleeps },
		nap: func() {
			if naps++; naps%int(look/nap) == 0 {
				passed("held")
			}
		},
		pause: func(context.Context) { passed("quiet") },
	}.run(ctx)
	if want := []string{"quiet", "quiet", "held", "held", "quiet"}; !slices.Equal(did, want) {
		t.Errorf("it %v, want %v", did, want)
	}
}

func TestRun_GivesTheProcessorBack(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Run(ctx)
	if after := runtime.GOMAXPROCS(0); after != before {
		t.Errorf("GOMAXPROCS is %d, was %d", after, before)
	}
}
