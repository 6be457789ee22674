package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/walser-io/walser/internal/xsync"
)

// PanicError is a panic that was caught where its goroutine ends.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // of the goroutine, as debug.Stack gives it
}

// Error returns the value and the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Unwrap returns the value where it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Protect calls fn and turns a panic in it into a PanicError.
func Protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn()
}

// Group owns the goroutines of one Run: it starts them, ends all when one fails, and waits for all.
//
//	func (m *Manager) Run(ctx context.Context) error {
//		g := lifecycle.NewGroup(ctx)
//		g.Go("flusher", m.flusher.Run)
//		g.Go("cleaner", m.cleaner.Run)
//		return g.Wait()
//	}
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     struct {
		xsync.Mutex
		errs []error
	}
}

// NewGroup returns a group without goroutines. Its Wait must be called, or ctx must end, to free it.
func NewGroup(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Context is what the goroutines get: done when the parent is, when one of them failed, or by Stop.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs fn in a goroutine. An error or a panic ends the group's context; nil does not, so a goroutine
// may finish its work early. It may be called from the group's own goroutines, and by others before Wait.
func (g *Group) Go(name string, fn func(ctx context.Context) error) {
	g.wg.Go(func() {
		err := Protect(func() error { return fn(g.ctx) })
		if err == nil || g.ctx.Err() != nil && errors.Is(err, g.ctx.Err()) {
			return // done, or ended as it was asked to
		}
		g.mu.Lock()
		g.mu.errs = append(g.mu.errs, fmt.Errorf("%s: %w", name, err))
		g.mu.Unlock()
		g.cancel()
	})
}

// Stop asks all goroutines to end and does not wait.
func (g *Group) Stop() { g.cancel() }

// Wait waits until all goroutines have ended, and returns their errors joined in the order they came, each
// with its name. The end of the context is not an error: Wait returns nil when all ended because they were
// asked to.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.mu.errs...)
}
