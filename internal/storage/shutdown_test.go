package storage_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/vfs"
)

// A clean shutdown syncs several files per log. It works on several logs at once: one after the other a
// thousand partitions take longer than anyone who stops a node will wait.
func TestCleanShutdown_SeveralLogsAtOnce(t *testing.T) {
	const logs = 3
	for _, suffix := range []string{".snapshot", "leader-epoch-checkpoint"} {
		var stopping atomic.Bool
		var waiting, alone atomic.Int32
		together := make(chan struct{})
		fsys := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
			if !stopping.Load() || op.Kind != vfs.OpSync || !strings.Contains(op.Name, suffix) {
				return nil
			}
			if waiting.Add(1) == logs {
				close(together)
			}
			select { // no sync ends before every log's has begun
			case <-together:
			case <-time.After(time.Minute):
				alone.Add(1)
			}
			return nil
		})
		m := openManager(t, fsys, "/a")
		for p := range logs {
			l, err := m.Create(model.TopicPartition{Topic: "many", Partition: int32(p)}, testTopicID, smallConfig(), model.UUID{})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Lead(1); err != nil {
				t.Fatal(err)
			}
			appendOne(t, l, batchOf(t, &client{id: 7}, 1, "x"))
		}
		stopping.Store(true)
		if err := m.CleanShutdown(1); err != nil {
			t.Error(err)
		}
		if alone.Load() > 0 || waiting.Load() != logs {
			t.Errorf("%d of %d syncs of a %s waited for no other", alone.Load(), waiting.Load(), suffix)
		}
	}
}
