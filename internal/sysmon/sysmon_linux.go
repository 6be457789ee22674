package sysmon

import (
	"context"
	"runtime"
	"syscall"
	"time"
)

// Run keeps sysmon awake while the process is busy, until ctx ends. GOMAXPROCS is one higher meanwhile. One is enough for
// a process.
func Run(ctx context.Context) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1))
	watch{sleeps: sleeps, nap: sleepInSyscall, pause: pause}.run(ctx)
}

// sleeps counts the voluntary context switches of all threads.
func sleeps() int64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0 // and so never busy
	}
	return usage.Nvcsw
}

func sleepInSyscall() {
	t := syscall.NsecToTimespec(int64(nap))
	_ = syscall.Nanosleep(&t, nil) // a signal ends it early, which does no harm
	runtime.Gosched()              // a goroutine that runs for 10 ms loses its processor as well, whatever it runs
}

func pause(ctx context.Context) {
	timer := time.NewTimer(look)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
