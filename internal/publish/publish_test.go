package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/publish"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// batch creates a topic on top of the machine's image.
func batch(t *testing.T, m *publish.Machine, topic string) []byte {
	t.Helper()
	b, err := metadata.EncodeBatch([]metadata.Record{&metadata.TopicRecord{Name: topic, ID: model.UUID{0: topic[0], 1: byte(len(topic))}}},
		metadata.Fence{ControllerEpoch: m.Image().ControllerEpoch(), Offset: m.Image().Offset()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func commit(t *testing.T, m *publish.Machine, topic string) {
	t.Helper()
	if _, rejected, fatal := m.Apply(batch(t, m, topic)); rejected != nil || fatal != nil {
		t.Fatal(rejected, fatal)
	}
}

// recorder writes down what it is told, and what Current says at that moment.
type recorder struct {
	name  string
	p     *publish.Publisher
	heard *[]string
	err   error
	gate  chan struct{} // waits for it, if there is one
}

func (r *recorder) OnMetadata(ctx context.Context, image *metadata.Image, delta *metadata.Delta) error {
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	*r.heard = append(*r.heard, fmt.Sprintf("%s %d→%d +%d (current %d)", r.name, delta.From.Offset(), image.Offset(), len(delta.Topics), r.p.Current().Offset()))
	return r.err
}

func run(t *testing.T, p *publish.Publisher) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func TestPublisher_StagesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := publish.New()
		m := publish.NewMachine(p)
		var heard []string
		p.Subscribe(publish.Watchers, &recorder{name: "watcher", p: p, heard: &heard})
		p.Subscribe(publish.Coordinators, &recorder{name: "coordinator", p: p, heard: &heard})
		p.Subscribe(publish.Logs, &recorder{name: "logs", p: p, heard: &heard})
		stop := run(t, p)
		// The past is one step, and nothing is handed out before the node's own place in it.
		commit(t, m, "a")
		p.Begin(1)
		synctest.Wait()
		if len(heard) > 0 {
			t.Fatalf("heard %q before the image came to offset 1", heard)
		}
		commit(t, m, "bb")
		if err := p.Await(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		commit(t, m, "ccc")
		synctest.Wait()
		want := []string{
			"logs -1→1 +2 (current -1)", "coordinator -1→1 +2 (current -1)", "watcher -1→1 +2 (current 1)",
			"logs 1→2 +1 (current 1)", "coordinator 1→2 +1 (current 1)", "watcher 1→2 +1 (current 2)",
		}
		if !slices.Equal(heard, want) {
			t.Errorf("heard\n%q, want\n%q", heard, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := p.Await(t.Context(), 99); err == nil {
			t.Error("Await returned nil for an offset that will never come")
		}
	})
}

func TestPublisher_AwaitWaitsForTheWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := publish.New()
		m := publish.NewMachine(p)
		var heard []string
		gate := make(chan struct{})
		p.Subscribe(publish.Watchers, &recorder{name: "watcher", p: p, heard: &heard, gate: gate})
		p.Begin(-1)
		stop := run(t, p)
		commit(t, m, "a")
		told := make(chan error, 1)
		go func() { told <- p.Await(t.Context(), 0) }()
		synctest.Wait()
		if p.Current().Offset() != 0 || len(told) > 0 {
			t.Errorf("current %d, %d answers before the watcher had heard", p.Current().Offset(), len(told))
		}
		close(gate)
		if err := <-told; err != nil || len(heard) != 1 {
			t.Errorf("Await: %v, heard %q", err, heard)
		}
		_ = stop()
	})
}

func TestPublisher_FoldsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := publish.New()
		m := publish.NewMachine(p)
		var heard []string
		gate := make(chan struct{})
		p.Subscribe(publish.Logs, &recorder{name: "logs", p: p, heard: &heard, gate: gate})
		p.Begin(-1)
		stop := run(t, p)
		for i := range 41 {
			commit(t, m, fmt.Sprint("t", string(bytes.Repeat([]byte("x"), i))))
			synctest.Wait()
		}
		close(gate)
		if err := p.Await(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
		if want := []string{"logs -1→0 +1 (current -1)", "logs 0→40 +40 (current 0)"}; !slices.Equal(heard, want) {
			t.Errorf("heard %q, want %q", heard, want)
		}
		_ = stop()
	})
}

func TestPublisher_ListenerFailureEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := publish.New()
		m := publish.NewMachine(p)
		var heard []string
		broken := errors.New("no space for a log")
		p.Subscribe(publish.Logs, &recorder{name: "logs", p: p, heard: &heard, err: broken})
		p.Begin(-1)
		commit(t, m, "a")
		done := make(chan error, 1)
		go func() { done <- p.Run(t.Context()) }()
		if err := p.Await(t.Context(), 0); !errors.Is(err, broken) {
			t.Errorf("Await: %v, want the listener's error", err)
		}
		if err := <-done; !errors.Is(err, broken) {
			t.Errorf("Run: %v, want the listener's error", err)
		}
		if p.Current().Offset() != -1 {
			t.Error("handlers got an image whose logs could not be opened")
		}
	})
}

func TestMachine_RestoreAndStale(t *testing.T) {
	m := publish.NewMachine(publish.New())
	stale := batch(t, m, "b")
	commit(t, m, "a")
	if _, rejected, fatal := m.Apply(stale); rejected == nil || fatal != nil {
		t.Errorf("stale batch: rejected %v, fatal %v", rejected, fatal)
	}
	if _, rejected, fatal := m.Apply([]byte("junk")); rejected != nil || fatal == nil {
		t.Errorf("malformed batch: rejected %v, fatal %v", rejected, fatal)
	}
	var file bytes.Buffer
	offset, write := m.Snapshot()
	if err := write(&file); err != nil {
		t.Fatal(err)
	}
	other := publish.NewMachine(publish.New())
	if err := other.Restore(&file); err != nil {
		t.Fatal(err)
	}
	if other.Image().Offset() != offset || other.Image().TopicCount() != 1 {
		t.Errorf("restored offset %d with %d topics, want %d with 1", other.Image().Offset(), other.Image().TopicCount(), offset)
	}
}
