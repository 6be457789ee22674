// Package sysmon keeps the thread by which Go's runtime watches its scheduler from being put to sleep and woken for
// every request.
//
// The thread, sysmon in the runtime's source, sleeps while all of the scheduler's processors are idle. The next goroutine
// that enters a system call wakes it, with a futex call on the way of its request, and it looks around every 20 µs until
// all are idle again. A node that is asked some thousand times a second is idle as often, and paid a fifth of its CPU for
// that (docs/adr/0004-keep-sysmon-awake.md).
//
//	quiet ──► Run looks ten times a second, on a timer
//	  ▲ │ threads of the process fall asleep often
//	  │ ▼
//	busy  ──► one goroutine naps in system calls, and holds a processor: not all are idle, and sysmon looks every 10 ms
//
// Guarantees. The processor that is held is one more than there were, so that no other goroutine waits for it. Nothing is
// called that the runtime does not document; where a later one does otherwise, a thread naps for nothing.
package sysmon
