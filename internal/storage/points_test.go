package storage_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/vfs"
)

// running is a manager with its background, whose recovery points are stored by no clock.
type running struct {
	*storage.Manager
	registry *prometheus.Registry
	end      func()
}

func startManager(t *testing.T, fsys vfs.FS) running {
	t.Helper()
	r := running{registry: prometheus.NewRegistry()}
	deps := testDeps(fsys)
	deps.Registerer = r.registry
	m, err := storage.Open(deps, storage.ManagerConfig{
		NodeID: 1, ClusterID: "cluster", Dirs: []string{"/a"}, RecoveryPointInterval: 1000 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	r.Manager, r.end = m, func() { cancel(); <-done }
	return r
}

// counted returns the value of a counter.
func counted(t *testing.T, registry *prometheus.Registry, name string) int64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return int64(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func otherTP() model.TopicPartition { return model.TopicPartition{Topic: "other"} }

// A node that is killed again right after a start reads what came since, and not what that start has read.
func TestRecoveryPoints_AreStoredOnceAStartHasFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(1)
		cfg := smallConfig()
		cfg.SegmentBytes = 100_000
		r := startManager(t, mem)
		l := createLog(t, r.Manager, cfg)
		other, err := r.Create(otherTP(), testTopicID, cfg, model.UUID{})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Lead(1); err != nil {
			t.Fatal(err)
		}
		p := &client{id: 7}
		for range 300 {
			appendOne(t, l, batchOf(t, p, l.EndOffset(), strings.Repeat("x", 1000)))
			appendOne(t, other, batchOf(t, nil, l.EndOffset(), strings.Repeat("x", 1000)))
		}
		mem = mem.KillProcess()
		r.end()

		for life := range 3 {
			r := startManager(t, mem)
			l := recoverLog(t, r.Manager, cfg)
			synctest.Wait()
			points, err := checkpoint.ReadOffsets(mem, "/a", checkpoint.RecoveryPoints)
			if err != nil || life == 0 && points[testTP] != 0 {
				t.Errorf("recovery points %v, %v: one log is not recovered yet", points, err)
			}
			if _, err := r.Recover(otherTP(), cfg); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			points, err = checkpoint.ReadOffsets(mem, "/a", checkpoint.RecoveryPoints)
			if err != nil || points[testTP] != l.EndOffset() || points[otherTP()] != 300 {
				t.Fatalf("life %d: recovery points %v, %v; want %d and 300", life, points, err, l.EndOffset())
			}
			all, again := 2*300*1000, counted(t, r.registry, "walser_storage_recovered_bytes_total")
			if life == 0 && again < int64(all) || life > 0 && again > int64(all)/20 {
				t.Errorf("life %d: the start went through %d bytes, there are more than %d", life, again, all)
			}
			if err := l.Lead(int32(2 + life)); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				appendOne(t, l, batchOf(t, p, l.EndOffset(), "little"))
			}
			if want := int64(300 + 5*(life+1)); l.EndOffset() != want {
				t.Fatalf("life %d: the log ends at %d, want %d", life, l.EndOffset(), want)
			}
			mem = mem.KillProcess()
			r.end()
			lost := recoverLog(t, openManager(t, mem.CrashClone(vfs.CrashOptions{}), "/a"), cfg)
			if lost.EndOffset() < points[testTP] {
				t.Fatalf("life %d: a power loss leaves %d, below the recovery point %d", life, lost.EndOffset(), points[testTP])
			}
			readAll(t, lost, 5000)
		}
	})
}

// A segment that is sealed is flushed at once, asked for by nobody, and the point that is stored next is what
// was flushed in memory by then.
func TestRecoveryPoints_RolledSegmentsAreFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(1)
		r := startManager(t, mem)
		l := createLog(t, r.Manager, smallConfig())
		var rolled int64
		for range 50 {
			appendOne(t, l, batchOf(t, nil, l.EndOffset(), strings.Repeat("x", 600))) // two in a segment
			synctest.Wait()
			if flushed := l.FlushedOffset(); flushed < rolled {
				t.Fatalf("flushed up to %d, but a segment began at %d", flushed, rolled)
			}
			if end := l.EndOffset(); end%2 == 0 {
				rolled = end
			}
		}
		if flushed := l.FlushedOffset(); flushed < 48 || flushed == l.EndOffset() {
			t.Fatalf("flushed up to %d of %d, want the sealed segments and not the last record", flushed, l.EndOffset())
		}
		checkpointAll(t, r.Manager)
		points, err := checkpoint.ReadOffsets(mem, "/a", checkpoint.RecoveryPoints)
		if err != nil || points[testTP] != l.FlushedOffset() {
			t.Errorf("the recovery point is %d, %v; %d is flushed", points[testTP], err, l.FlushedOffset())
		}
		r.end()
	})
}
