package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrEnded is the error of a part whose Run returned nil although no one had asked it to stop.
var ErrEnded = errors.New("it ended by itself")

// Part is something that is started and stopped. Each function may be nil; at least one is set.
type Part struct {
	// Name says in errors which part it is.
	Name string
	// Start makes the part ready for those after it in the list, and then returns. Its context is done
	// when the start is given up. If it fails, the part is not stopped: it cleans up itself.
	Start func(ctx context.Context) error
	// Run does the part's work until its context is done, and returns after its last goroutine has ended.
	// It is called when Start has returned. If it returns before it is asked to, everything stops.
	Run func(ctx context.Context) error
	// Stop ends the part in good order while its Run still works: drain, flush, hand over. Its context is
	// done when the time for that is over. Then the context of Run is cancelled and Run is waited for.
	Stop func(ctx context.Context) error
}

// Options are the bounds of a run.
type Options struct {
	// StopTimeout bounds each part's Stop. 0 is no bound. Run is waited for without bound: a part that
	// does not end when its context is done is a bug that must be seen.
	StopTimeout time.Duration
	// Started is called when all parts have started; nil where no one asks.
	Started func()
}

// Run starts parts in order, waits until ctx is done or a part ends, and stops them in reverse order, so
// that each part has those before it for as long as it lives. It returns when all have ended: nil if that
// was because ctx was done and every part ended well, else the errors of all parts joined, each with the
// part's name.
func Run(ctx context.Context, opts Options, parts ...Part) error {
	// The parts must not all see the end of ctx at once: each lives until those after it have stopped.
	base := context.WithoutCancel(ctx)
	s := &stack{opts: opts, ended: make(chan struct{}, len(parts))}
	all, err := s.start(ctx, base, parts)
	if all {
		if opts.Started != nil {
			opts.Started()
		}
		select {
		case <-ctx.Done():
		case <-s.ended:
		}
	}
	return errors.Join(err, s.stop(base))
}

// stack is the parts that have started, in order.
type stack struct {
	opts    Options
	running []*running
	ended   chan struct{} // a token for each Run that returned; never full
}

// running is a part that has started.
type running struct {
	Part
	cancel context.CancelFunc
	done   chan struct{} // closed when Run has returned
	err    error         // of Run; readable when done is closed
}

// start says whether all parts have started. Where not and there is no error, stop has it.
func (s *stack) start(ctx, base context.Context, parts []Part) (all bool, err error) {
	for _, p := range parts {
		if s.over(ctx) {
			return false, nil
		}
		if p.Start != nil {
			if err := Protect(func() error { return p.Start(ctx) }); err != nil {
				if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					return false, nil // given up because it was asked to
				}
				return false, fmt.Errorf("start %s: %w", p.Name, err)
			}
		}
		s.launch(base, p)
	}
	return !s.over(ctx), nil
}

// over says whether it is time to stop.
func (s *stack) over(ctx context.Context) bool { return ctx.Err() != nil || len(s.ended) > 0 }

func (s *stack) launch(base context.Context, p Part) {
	r := &running{Part: p, done: make(chan struct{})}
	s.running = append(s.running, r)
	if p.Run == nil {
		r.cancel = func() {}
		close(r.done)
		return
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(base)
	go func() {
		defer func() {
			close(r.done)
			s.ended <- struct{}{}
		}()
		r.err = Protect(func() error { return p.Run(ctx) })
	}()
}

func (s *stack) stop(base context.Context) error {
	var errs []error
	for i := len(s.running) - 1; i >= 0; i-- {
		errs = append(errs, s.stopOne(base, s.running[i]))
	}
	return errors.Join(errs...)
}

func (s *stack) stopOne(base context.Context, r *running) error {
	defer r.cancel()
	early := false
	if r.Run != nil {
		select {
		case <-r.done:
			early = true
		default:
		}
	}
	var stopErr error
	if r.Stop != nil {
		stopErr = s.callStop(base, r)
	}
	r.cancel()
	<-r.done
	runErr := r.err
	switch {
	case early && runErr == nil:
		runErr = ErrEnded
	case !early && errors.Is(runErr, context.Canceled):
		runErr = nil // the end that was asked for
	}
	if runErr != nil {
		runErr = fmt.Errorf("run %s: %w", r.Name, runErr)
	}
	return errors.Join(runErr, stopErr)
}

func (s *stack) callStop(base context.Context, r *running) error {
	ctx, cancel := base, context.CancelFunc(func() {})
	if s.opts.StopTimeout > 0 {
		ctx, cancel = context.WithTimeout(base, s.opts.StopTimeout)
	}
	defer cancel()
	if err := Protect(func() error { return r.Stop(ctx) }); err != nil {
		return fmt.Errorf("stop %s: %w", r.Name, err)
	}
	return nil
}
