//go:build synctests

package xsync

import "sync"

// Mutex is a mutual exclusion lock whose waiters wait on channels, which testing/synctest can see. The
// zero value is unlocked.
type Mutex struct {
	rw RWMutex
}

// Lock takes the lock, waiting for it.
func (m *Mutex) Lock() { m.rw.Lock() }

// TryLock takes the lock if it is free and says whether it did.
func (m *Mutex) TryLock() bool { return m.rw.TryLock() }

// Unlock gives the lock back. It panics where it is not held.
func (m *Mutex) Unlock() { m.rw.Unlock() }

// RWMutex is a reader/writer lock whose waiters wait on channels, which testing/synctest can see. The
// zero value is unlocked. The lock passes on in the order of arrival.
type RWMutex struct {
	// mu is held for a few instructions only, never while waiting, so it cannot hang a bubble.
	mu      sync.Mutex
	writer  bool     // a writer holds the lock
	readers int      // readers that hold the lock
	queue   []waiter // in order of arrival; never empty while the lock could be given to queue[0]
}

// waiter is one goroutine in the queue. Its channel is made by that goroutine, hence in its bubble, and
// closed by whoever hands it the lock.
type waiter struct {
	granted chan struct{}
	write   bool
}

// Lock takes the lock for writing, waiting until no one else holds it.
func (l *RWMutex) Lock() { l.lock(true) }

// RLock takes the lock for reading, waiting while a writer holds it or came first.
func (l *RWMutex) RLock() { l.lock(false) }

// TryLock takes the lock for writing if it is free and says whether it did.
func (l *RWMutex) TryLock() bool { return l.tryLock(true) }

// TryRLock takes the lock for reading if that needs no waiting and says whether it did.
func (l *RWMutex) TryRLock() bool { return l.tryLock(false) }

// Unlock gives the write lock back. It panics where it is not held.
func (l *RWMutex) Unlock() {
	l.mu.Lock()
	if !l.writer {
		l.mu.Unlock()
		panic("xsync: Unlock of an unlocked lock")
	}
	l.writer = false
	l.handOverLocked()
	l.mu.Unlock()
}

// RUnlock gives one read lock back. It panics where none is held.
func (l *RWMutex) RUnlock() {
	l.mu.Lock()
	if l.readers == 0 {
		l.mu.Unlock()
		panic("xsync: RUnlock of an unlocked lock")
	}
	l.readers--
	l.handOverLocked()
	l.mu.Unlock()
}

// RLocker returns a Locker whose Lock and Unlock are RLock and RUnlock.
func (l *RWMutex) RLocker() sync.Locker { return (*readLocker)(l) }

type readLocker RWMutex

func (r *readLocker) Lock()   { (*RWMutex)(r).RLock() }
func (r *readLocker) Unlock() { (*RWMutex)(r).RUnlock() }

func (l *RWMutex) lock(write bool) {
	l.mu.Lock()
	if len(l.queue) == 0 && l.takeLocked(write) {
		l.mu.Unlock()
		return
	}
	w := waiter{granted: make(chan struct{}), write: write}
	l.queue = append(l.queue, w)
	l.mu.Unlock()
	<-w.granted
}

func (l *RWMutex) tryLock(write bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) == 0 && l.takeLocked(write)
}

func (l *RWMutex) takeLocked(write bool) bool {
	if l.writer || write && l.readers > 0 {
		return false
	}
	if write {
		l.writer = true
	} else {
		l.readers++
	}
	return true
}

// handOverLocked gives the lock to the head of the queue: one writer, or all readers up to the next writer.
func (l *RWMutex) handOverLocked() {
	for len(l.queue) > 0 && l.takeLocked(l.queue[0].write) {
		close(l.queue[0].granted)
		l.queue[0] = waiter{}
		l.queue = l.queue[1:]
	}
}
