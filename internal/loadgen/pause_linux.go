package loadgen

import (
	"syscall"
	"time"
)

// pause waits for about d. A timer of the Go runtime is up to a millisecond late, since an idle process
// waits in epoll_wait(2) by the millisecond; nanosleep(2) is late by some 60 µs, at the cost of a thread.
func pause(d time.Duration) {
	spec := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&spec, nil) // cut short by a signal: the caller looks at the clock again
}
