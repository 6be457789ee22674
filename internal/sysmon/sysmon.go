package sysmon

import (
	"context"
	"time"
)

const (
	// look is the time between two looks at how busy the process is.
	look = 100 * time.Millisecond
	// nap is how long one system call holds the processor. The runtime takes it away after 10 ms.
	nap = 5 * time.Millisecond
	// often is from how many sleeps of threads in a look on the process is busy. Naps and what sysmon sleeps meanwhile
	// come to some 30.
	often = 150
)

// watch is what Run does, over a process.
type watch struct {
	sleeps func() int64              // how often threads of the process have fallen asleep since its start
	nap    func()                    // a system call that takes nap
	pause  func(ctx context.Context) // lets a look pass, holding nothing
}

func (w watch) run(ctx context.Context) {
	before := w.sleeps()
	for busy := false; ctx.Err() == nil; {
		if busy {
			for i := look / nap; i > 0 && ctx.Err() == nil; i-- {
				w.nap()
			}
		} else {
			w.pause(ctx)
		}
		now := w.sleeps()
		busy, before = now-before >= often, now
	}
}
