package xsync_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/xsync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Both builds give what package sync gives.
var (
	_ interface {
		sync.Locker
		TryLock() bool
	} = (*xsync.Mutex)(nil)
	_ interface {
		sync.Locker
		RLock()
		RUnlock()
		TryLock() bool
		TryRLock() bool
		RLocker() sync.Locker
	} = (*xsync.RWMutex)(nil)
)

func TestMutex_Excludes(t *testing.T) {
	var mu struct {
		xsync.Mutex
		n int
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				mu.Lock()
				mu.n++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if mu.n != 8000 {
		t.Fatalf("n = %d", mu.n)
	}
	mu.Lock()
	if mu.TryLock() {
		t.Fatal("TryLock took a held lock")
	}
	mu.Unlock()
	if !mu.TryLock() {
		t.Fatal("TryLock did not take a free lock")
	}
	mu.Unlock()
}

func TestRWMutex_ExcludesWriters(t *testing.T) {
	var mu struct {
		xsync.RWMutex
		a, b int
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				mu.Lock()
				mu.a++
				mu.b++
				mu.Unlock()
			}
		})
		wg.Go(func() {
			for range 500 {
				mu.RLock()
				a, b := mu.a, mu.b
				mu.RUnlock()
				if a != b {
					t.Errorf("read %d and %d", a, b)
				}
			}
		})
	}
	wg.Wait()
	if mu.a != 2000 {
		t.Fatalf("a = %d", mu.a)
	}
}

func TestRWMutex_ReadersShare(t *testing.T) {
	var mu xsync.RWMutex
	mu.RLock()
	if !mu.TryRLock() {
		t.Fatal("a second reader was refused")
	}
	if mu.TryLock() {
		t.Fatal("a writer was let in beside readers")
	}
	mu.RLocker().Unlock()
	mu.RUnlock()
	if !mu.TryLock() {
		t.Fatal("a writer was refused a free lock")
	}
	if mu.TryRLock() {
		t.Fatal("a reader was let in beside a writer")
	}
	mu.Unlock()
}

// A waiting writer goes before readers that come later, so that readers cannot starve it.
func TestRWMutex_WriterIsNotStarved(t *testing.T) {
	var mu xsync.RWMutex
	mu.RLock()
	written := make(chan struct{})
	go func() {
		mu.Lock()
		close(written)
		mu.Unlock()
	}()
	for mu.TryRLock() { // until the writer waits
		mu.RUnlock()
	}
	mu.RUnlock()
	mu.RLock()
	select {
	case <-written:
	default:
		t.Error("a later reader went before the waiting writer")
	}
	mu.RUnlock()
	<-written
}

// Locks made and used outside of a bubble are usable in one, uncontended, in both builds.
func TestMutex_InBubble(t *testing.T) {
	var mu xsync.Mutex
	mu.Lock()
	mu.Unlock() //nolint:staticcheck // the empty section is the test
	synctest.Test(t, func(t *testing.T) {
		mu.Lock()
		time.Sleep(time.Hour)
		mu.Unlock()
	})
}
