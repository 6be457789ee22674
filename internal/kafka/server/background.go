package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// background runs what handlers must not do on a connection's goroutine: ask the controller, walk files.
type background struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newBackground() *background {
	b := &background{}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// stop ends the context of what runs, and waits for it.
func (b *background) stop() {
	b.cancel()
	b.wg.Wait()
}

// Go runs fn on a goroutine of its own, which Server.Run waits for. The context ends with the server, not
// with the connection: what a client began in the cluster is carried through even if the client is gone.
// fn answers the request, or starts what does; a panic in it closes the connection.
func (r *Request) Go(fn func(ctx context.Context)) {
	s := r.Conn.srv
	s.background.wg.Go(func() {
		defer func() {
			if cause := recover(); cause != nil {
				s.log.Error("handler panicked in the background", "api", r.Header.Key, "panic", cause, "stack", string(debug.Stack()))
				r.CloseConnection(fmt.Errorf("handler panicked: %v", cause))
			}
		}()
		fn(s.background.ctx)
	})
}
