package storage_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// Retention that gives the whole log up rolls the active segment first. What is appended between its look and
// the roll stands in that segment and is not expired: it stays.
func TestRetention_AppendBetweenTheLookAndTheRoll(t *testing.T) {
	mem := vfs.NewMem(1)
	cfg := smallConfig()
	m := openManager(t, mem, "/a")
	l := createLog(t, m, cfg)
	for range 3 {
		appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 1000)))
	}
	if err := m.CleanShutdown(1); err != nil {
		t.Fatal(err)
	}
	// The look at a sealed segment reads its time index. A record comes meanwhile.
	var appendNow func()
	m = openManager(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
		if fn := appendNow; fn != nil && op.Kind == vfs.OpOpen && strings.HasSuffix(op.Name, "1.timeindex") {
			appendNow = nil
			fn()
		}
		return nil
	}), "/a")
	l = recoverLog(t, m, cfg)
	if err := l.Lead(2); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(3)
	appendNow = func() { appendOne(t, l, batchOf(t, nil, 1000, "not committed yet")) }
	if err := l.ApplyRetention(wallMs + cfg.RetentionMs + 1); err != nil {
		t.Fatal(err)
	}
	if appendNow != nil {
		t.Fatal("the look read no time index")
	}
	if l.EndOffset() != 4 || l.StartOffset() > l.HighWatermark() || len(readAll(t, l, 1<<20)) != 2 {
		t.Errorf("the log spans %d..%d, high watermark %d: a record above it is gone", l.StartOffset(), l.EndOffset(), l.HighWatermark())
	}
	l.SetHighWatermark(4)
	if err := l.ApplyRetention(wallMs + cfg.RetentionMs + 1); err != nil {
		t.Fatal(err)
	}
	if l.StartOffset() != 4 {
		t.Errorf("the log spans %d..%d once all of it is committed and expired", l.StartOffset(), l.EndOffset())
	}
}

// A segment that has rotted has no age: retention by time leaves it, and the rest of the directory, alone.
func TestRetention_DamagedSegment(t *testing.T) {
	mem := vfs.NewMem(1)
	cfg := smallConfig()
	m := openManager(t, mem, "/a")
	l := createLog(t, m, cfg)
	for range 3 {
		appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 1000)))
	}
	if err := m.CleanShutdown(1); err != nil {
		t.Fatal(err)
	}
	flip(t, mem, "/a/orders-3/00000000000000000000.log", 16) // the magic byte
	m = openManager(t, mem, "/a")
	l = recoverLog(t, m, cfg)
	if err := l.Lead(2); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(3)
	if err := l.ApplyRetention(wallMs + cfg.RetentionMs + 1); !errors.Is(err, storage.ErrCorruptSegment) {
		t.Errorf("ApplyRetention = %v", err)
	}
	if err := l.Err(); err != nil {
		t.Errorf("the log: %v", err)
	}
	if s, err := l.Read(2, 2000, true, 3); err != nil || s.Size == 0 {
		t.Errorf("a read of another segment: %v", err)
	} else {
		s.Release()
	}
	cfg.RetentionMs, cfg.RetentionBytes = -1, 0 // by size it goes
	l.SetConfig(cfg)
	if err := l.ApplyRetention(wallMs); err != nil || l.StartOffset() != 3 {
		t.Errorf("by size: %v, the log begins at %d", err, l.StartOffset())
	}
}

func TestExpireProducers(t *testing.T) {
	m := openManager(t, vfs.NewMem(1), "/a")
	l := createLog(t, m, smallConfig())
	sent := batchOf(t, &client{id: 7}, wallMs-60_000, "x") // a minute ago
	first := appendOne(t, l, sent).FirstOffset
	again := func() int64 { return appendOne(t, l, append(sent[:0:0], sent...)).FirstOffset }
	for _, expiration := range []time.Duration{0, time.Minute} { // 0: the one of the start, a day
		if expiration > 0 {
			m.SetProducerExpiration(expiration)
		}
		m.ExpireProducers()
		if offset := again(); offset != first {
			t.Fatalf("with an expiration of %v the batch sent again is at %d, want %d", expiration, offset, first)
		}
	}
	m.SetProducerExpiration(time.Minute - time.Millisecond)
	m.ApplyRetention()
	if offset := again(); offset != first {
		t.Fatalf("retention forgot the producer: the batch is at %d", offset)
	}
	m.ExpireProducers()
	if offset := again(); offset == first {
		t.Error("the producer is not forgotten")
	}
}
