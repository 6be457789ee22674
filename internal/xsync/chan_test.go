//go:build synctests

package xsync_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/walser-io/walser/internal/xsync"
)

// The reason for this package: the holder sleeps on virtual time while others wait for its lock. With
// locks of package sync this bubble hangs.
func TestWaitersAreDurablyBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu xsync.Mutex
		var rw xsync.RWMutex
		start := time.Now()
		mu.Lock()
		rw.RLock()
		var order []string
		go func() {
			mu.Lock()
			order = append(order, "mutex")
			mu.Unlock()
		}()
		go func() {
			rw.Lock()
			mu.Lock()
			order = append(order, "writer")
			mu.Unlock()
			rw.Unlock()
		}()
		time.Sleep(time.Hour)
		mu.Unlock()
		synctest.Wait()
		rw.RUnlock()
		synctest.Wait()
		if len(order) != 2 || order[0] != "mutex" || order[1] != "writer" {
			t.Errorf("order is %v", order)
		}
		if got := time.Since(start); got != time.Hour {
			t.Errorf("virtual time moved by %v", got)
		}
	})
}

func TestMutex_HandsOverInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu xsync.Mutex
		mu.Lock()
		var order []int
		for i := range 10 {
			go func() {
				mu.Lock()
				order = append(order, i)
				time.Sleep(time.Second)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		mu.Unlock()
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for i, got := range order {
			if got != i {
				t.Fatalf("order is %v", order)
			}
		}
		if len(order) != 10 {
			t.Fatalf("order is %v", order)
		}
	})
}

func TestRWMutex_LaterReaderWaitsBehindWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu xsync.RWMutex
		var order []string
		mu.RLock()
		go func() {
			mu.Lock()
			order = append(order, "writer")
			mu.Unlock()
		}()
		synctest.Wait()
		for range 2 {
			go func() {
				mu.RLock()
				defer mu.RUnlock()
				time.Sleep(time.Second) // both at once
			}()
		}
		synctest.Wait()
		if len(order) != 0 {
			t.Fatal("the writer did not wait for the reader")
		}
		start := time.Now()
		mu.RUnlock()
		synctest.Wait()
		if len(order) != 1 {
			t.Error("a reader that came later went before the writer")
		}
		mu.Lock()
		if got := time.Since(start); got != time.Second {
			t.Errorf("two readers that sleep 1s each held the lock for %v together", got)
		}
		mu.Unlock()
	})
}

func TestUnlockOfUnlockedPanics(t *testing.T) {
	var rw xsync.RWMutex
	for name, unlock := range map[string]func(){"write": rw.Unlock, "read": rw.RUnlock} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			unlock()
		})
	}
	rw.Lock() // and the lock still works
	rw.Unlock()
}
