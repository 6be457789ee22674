// Package xsync holds the locks of Walser.
//
// In normal builds Mutex and RWMutex are those of package sync: an alias, no cost. Under the build tag
// `synctests` they wait on channels instead. A goroutine that waits for a sync.Mutex is not "durably
// blocked" in the sense of testing/synctest, so one that waits while the lock's holder sleeps on the
// bubble's clock would hang the bubble; one that waits on a channel of the bubble is seen, and virtual
// time moves on.
//
// Both builds give the methods of package sync, a usable zero value and the same rules: not copied after
// first use, unlocked once per lock. The channel build hands the lock over in the order of arrival, so a
// waiting writer holds up later readers and nobody starves.
//
// A lock may be first used outside a bubble and then used inside one, but the goroutines that contend
// for it at one moment must be of the same bubble, or all outside.
package xsync
