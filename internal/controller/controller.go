// Package controller runs the decisions of package control: one after the other, on the image that the
// decisions before them lead to, through the quorum.
//
//	caller ──► task ──► decide on the speculative image ──► one batch for all that wait ──► Propose
//	caller ◄── answer, once the published image of this node holds the change
//
// Guarantees. A decision takes effect only on the image it was made on. What is answered as done is
// committed, and handlers of this node see it. An answer of NotController or RequestTimedOut says that
// the change may or may not happen; the request can be sent again.
//
// Every node runs a controller; the one that leads the quorum is active. It activates itself behind all
// that its predecessors committed, and its epoch, the raft term, fences them.
package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/quorum"
)

// Config is what a controller needs to know of its node.
type Config struct {
	ClusterID string
	// Features are finalised when the cluster begins.
	Features []metadata.Feature
}

// Quorum is what a controller uses of quorum.Quorum.
type Quorum interface {
	Propose(ctx context.Context, batch []byte) (quorum.Committed, error)
	Leadership() (quorum.Leadership, <-chan struct{})
	Barrier(ctx context.Context) error
}

// Deps are what a controller works with.
type Deps struct {
	Quorum Quorum
	// Committed returns the image of the state machine.
	Committed func() *metadata.Image
	// Await returns when the published image of this node has come to an offset.
	Await func(ctx context.Context, offset int64) error
	// Rules returns the rules about configs as they hold at an image.
	Rules  func(*metadata.Image) control.ConfigRules
	Random io.Reader // for topic ids
	Logger *slog.Logger
}

// Controller decides on changes of the cluster. Its methods may be called from any goroutine; they wait
// while nobody leads the quorum, as long as their context lets them.
type Controller struct {
	cfg     Config
	deps    Deps
	tasks   chan *task
	stopped chan struct{}
}

// task is one request on its way.
type task struct {
	ctx context.Context
	// decide returns the records of the change; it keeps the answer for its caller.
	decide func(image *metadata.Image, env control.Env) ([]metadata.Record, error)
	done   chan outcome
}

// outcome says at which offset the answer of a task holds.
type outcome struct {
	offset int64
	err    error
}

// New returns a controller that does nothing until Run.
func New(cfg Config, deps Deps) *Controller {
	return &Controller{cfg: cfg, deps: deps, tasks: make(chan *task), stopped: make(chan struct{})}
}

// Run works until the context ends. An error says that this node must not lead.
func (c *Controller) Run(ctx context.Context) error {
	defer close(c.stopped)
	for ctx.Err() == nil {
		leadership, changed := c.deps.Quorum.Leadership()
		if !leadership.Leading {
			c.follow(ctx, leadership, changed)
			continue
		}
		if err := c.lead(ctx, leadership, changed); err != nil {
			return err
		}
	}
	return nil
}

// follow turns requests away where another node leads, and lets them wait where none does.
func (c *Controller) follow(ctx context.Context, leadership quorum.Leadership, changed <-chan struct{}) {
	tasks := c.tasks
	if leadership.Leader == "" {
		tasks = nil
	}
	for {
		select {
		case t := <-tasks:
			t.done <- outcome{err: kafkaerr.NotController}
		case <-changed:
			return
		case <-ctx.Done():
			return
		}
	}
}

// lead is one term as the active controller, or what is left of it after a proposal went wrong.
func (c *Controller) lead(ctx context.Context, leadership quorum.Leadership, changed <-chan struct{}) error {
	image, err := c.activate(ctx, leadership.Term)
	if errors.Is(err, kafkaerr.InconsistentClusterID) {
		return fmt.Errorf("activate the controller: %w", err)
	}
	if err != nil {
		if ctx.Err() == nil {
			c.deps.Logger.Warn("the controller could not be activated", "term", leadership.Term, "err", err)
		}
		wait(ctx, changed, retryAfter) // raft has lost the term, or will; or it is busy
		return nil
	}
	for {
		select {
		case t := <-c.tasks:
			image, err = c.work(ctx, image, t)
			if err == nil {
				continue
			}
			if ctx.Err() == nil {
				c.deps.Logger.Warn("a metadata proposal failed", "term", leadership.Term, "err", err)
			}
			return nil // begin again on what is committed, if this node still leads
		case <-changed:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// retryAfter is the time between tries to activate in one term.
const retryAfter = 100 * time.Millisecond

func wait(ctx context.Context, changed <-chan struct{}, atMost time.Duration) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	}
}

// activate brings this controller's epoch into the log, behind all that was committed before.
func (c *Controller) activate(ctx context.Context, term uint64) (*metadata.Image, error) {
	if err := c.deps.Quorum.Barrier(ctx); err != nil {
		return nil, err
	}
	image := c.deps.Committed()
	if image.ControllerEpoch() == int32(term) {
		return image, nil // a proposal went wrong, the term did not
	}
	records, err := control.DecideActivate(image, control.Activate{Epoch: int32(term), ClusterID: c.cfg.ClusterID, Features: c.cfg.Features})
	if err != nil {
		return nil, err
	}
	next, err := c.propose(ctx, image, image, records)
	if err != nil {
		return nil, err
	}
	c.deps.Logger.Info("the controller is active", "epoch", term, "offset", next.Offset())
	return next, nil
}

// Work for one batch ends at so many records; what still waits goes into the next.
const batchRecords = 10_000

// work decides the task and those that wait behind it, each on what the ones before lead to, and
// proposes the records of all as one batch. It returns the image after it.
func (c *Controller) work(ctx context.Context, image *metadata.Image, t *task) (*metadata.Image, error) {
	var tasks []*task
	var records []metadata.Record
	next := image
	for t != nil {
		if t.ctx.Err() == nil { // else its caller has gone
			after, added, err := c.decide(next, t)
			if err != nil {
				t.done <- outcome{offset: image.Offset(), err: err}
			} else {
				tasks = append(tasks, t)
				next, records = after, append(records, added...)
			}
		}
		t = nil
		if len(records) < batchRecords {
			select {
			case t = <-c.tasks:
			default:
			}
		}
	}
	var err error
	if len(records) > 0 {
		next, err = c.propose(ctx, image, next, records)
	}
	for _, t := range tasks {
		if err != nil {
			t.done <- outcome{err: kafkaerr.New(kafkaerr.NotController, "the controller could not commit the change; it may still happen")}
			continue
		}
		t.done <- outcome{offset: next.Offset()}
	}
	return next, err
}

// decide makes one decision and checks it by applying it.
func (c *Controller) decide(image *metadata.Image, t *task) (*metadata.Image, []metadata.Record, error) {
	records, err := t.decide(image, control.Env{Rules: c.deps.Rules(image), Random: c.deps.Random})
	if err != nil || len(records) == 0 {
		return image, nil, err
	}
	next, _, err := image.Apply(image.Offset()+1, records)
	if err != nil {
		// A fault in package control: better refused here than fatal on every node.
		c.deps.Logger.Error("a decision does not apply to the image it was made on", "err", err)
		return nil, nil, kafkaerr.New(kafkaerr.UnknownServerError, "the controller made an impossible decision")
	}
	return next, records, nil
}

// propose commits records that were decided on image and lead to next.
func (c *Controller) propose(ctx context.Context, image, next *metadata.Image, records []metadata.Record) (*metadata.Image, error) {
	batch, err := metadata.EncodeBatch(records, metadata.Fence{ControllerEpoch: image.ControllerEpoch(), Offset: image.Offset()})
	if err != nil {
		return nil, err
	}
	committed, err := c.deps.Quorum.Propose(ctx, batch)
	if err != nil {
		return nil, err
	}
	if next == image { // nobody applied the records here
		return c.deps.Committed(), nil
	}
	if committed.Offset != next.Offset() {
		return nil, fmt.Errorf("a batch that leads to offset %d was committed at %d", next.Offset(), committed.Offset)
	}
	return next, nil
}

// ask brings a decision before the active controller and waits for its commit.
func (c *Controller) ask(ctx context.Context, decide func(*metadata.Image, control.Env) ([]metadata.Record, error)) (offset int64, err error) {
	t := &task{ctx: ctx, decide: decide, done: make(chan outcome, 1)}
	select {
	case c.tasks <- t:
	case <-c.stopped:
		return 0, kafkaerr.NotController
	case <-ctx.Done():
		return 0, timedOut(ctx)
	}
	select {
	case o := <-t.done:
		return o.offset, o.err
	case <-c.stopped:
		return 0, kafkaerr.NotController
	case <-ctx.Done():
		return 0, timedOut(ctx)
	}
}

// askAndShow is ask, and waits until handlers of this node see the answer's image.
func (c *Controller) askAndShow(ctx context.Context, decide func(*metadata.Image, control.Env) ([]metadata.Record, error)) error {
	offset, err := c.ask(ctx, decide)
	if err != nil {
		return err
	}
	if err := c.deps.Await(ctx, offset); err != nil {
		if ctx.Err() != nil {
			return timedOut(ctx)
		}
		return fmt.Errorf("wait for metadata offset %d: %w", offset, err)
	}
	return nil
}

func timedOut(ctx context.Context) error {
	return kafkaerr.New(kafkaerr.RequestTimedOut, "the controller did not answer in time (%v); the change may still happen", context.Cause(ctx))
}

// CreateTopics creates topics; see control.DecideCreateTopics. The error is about the request as a whole.
func (c *Controller) CreateTopics(ctx context.Context, req control.CreateTopics) (results []control.TopicResult, err error) {
	return answered(ctx, c, func(image *metadata.Image, env control.Env) ([]metadata.Record, []control.TopicResult) {
		return control.DecideCreateTopics(image, req, env)
	})
}

// DeleteTopics deletes topics; see control.DecideDeleteTopics.
func (c *Controller) DeleteTopics(ctx context.Context, topics []control.DeleteTopic) ([]control.DeleteTopicResult, error) {
	return answered(ctx, c, func(image *metadata.Image, env control.Env) ([]metadata.Record, []control.DeleteTopicResult) {
		return control.DecideDeleteTopics(image, topics, env)
	})
}

// CreatePartitions adds partitions to topics; see control.DecideCreatePartitions.
func (c *Controller) CreatePartitions(ctx context.Context, req control.CreatePartitions) ([]control.PartitionsResult, error) {
	return answered(ctx, c, func(image *metadata.Image, env control.Env) ([]metadata.Record, []control.PartitionsResult) {
		return control.DecideCreatePartitions(image, req, env)
	})
}

// AlterConfigs changes configs, in the legacy or the incremental way; see control.DecideAlterConfigs.
func (c *Controller) AlterConfigs(ctx context.Context, req control.AlterConfigs) ([]control.ConfigResult, error) {
	return answered(ctx, c, func(image *metadata.Image, env control.Env) ([]metadata.Record, []control.ConfigResult) {
		return control.DecideAlterConfigs(image, req, env)
	})
}

// answered runs a decision whose faults are among its results, and returns these once they are visible.
func answered[R any](ctx context.Context, c *Controller, decide func(*metadata.Image, control.Env) ([]metadata.Record, []R)) ([]R, error) {
	var results []R
	err := c.askAndShow(ctx, func(image *metadata.Image, env control.Env) (records []metadata.Record, _ error) {
		records, results = decide(image, env)
		return records, nil
	})
	if err != nil {
		return nil, err // results may be written to still
	}
	return results, nil
}

// RegisterBroker registers a process of a broker; see control.DecideRegisterBroker. It returns when the
// registration is committed: the broker publishes nothing before that.
func (c *Controller) RegisterBroker(ctx context.Context, req control.RegisterBroker) (control.Registration, error) {
	var registration control.Registration
	_, err := c.ask(ctx, func(image *metadata.Image, _ control.Env) (records []metadata.Record, err error) {
		records, registration, err = control.DecideRegisterBroker(image, req)
		return records, err
	})
	if err != nil {
		return control.Registration{}, err
	}
	return registration, nil
}

// FenceBroker takes a broker out of service; see control.DecideFence.
func (c *Controller) FenceBroker(ctx context.Context, id model.BrokerID) error {
	return c.askAndShow(ctx, func(image *metadata.Image, _ control.Env) ([]metadata.Record, error) {
		return control.DecideFence(image, id)
	})
}

// UnfenceBroker puts a broker into service; see control.DecideUnfence.
func (c *Controller) UnfenceBroker(ctx context.Context, id model.BrokerID, epoch int64) error {
	return c.askAndShow(ctx, func(image *metadata.Image, _ control.Env) ([]metadata.Record, error) {
		return control.DecideUnfence(image, id, epoch)
	})
}

// AllocateProducerIDs gives a broker a block of producer ids. It returns when the block is committed.
func (c *Controller) AllocateProducerIDs(ctx context.Context, id model.BrokerID, epoch int64) (control.ProducerIDs, error) {
	var block control.ProducerIDs
	_, err := c.ask(ctx, func(image *metadata.Image, _ control.Env) (records []metadata.Record, err error) {
		records, block, err = control.DecideProducerIDs(image, id, epoch)
		return records, err
	})
	if err != nil {
		return control.ProducerIDs{}, err
	}
	return block, nil
}
