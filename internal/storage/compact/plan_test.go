package compact_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/compact"
)

func TestLog_Groups(t *testing.T) {
	seg := func(base, next, size, index int64) compact.Segment {
		return compact.Segment{Base: base, Next: next, Size: size, IndexBytes: index}
	}
	for _, tc := range []struct {
		name string
		segs []compact.Segment
		upTo int64
		want []int
	}{
		{"by size", []compact.Segment{seg(0, 10, 60, 0), seg(10, 20, 40, 0), seg(20, 30, 1, 0)}, 30, []int{2, 1}},
		{"by index", []compact.Segment{seg(0, 10, 1, 9), seg(10, 20, 1, 1), seg(20, 30, 1, 1)}, 30, []int{2, 1}},
		{"by offset span", []compact.Segment{seg(0, 10, 1, 0), seg(10, 1<<31, 1, 0), seg(1<<31, 1<<31+1, 1, 0)}, math.MaxInt64, []int{2, 1}},
		{"empty ones join", []compact.Segment{seg(0, 10, 100, 0), seg(10, 20, 0, 0), seg(20, 30, 0, 0)}, 30, []int{3}},
		{"only below the end", []compact.Segment{seg(0, 10, 1, 0), seg(10, 20, 1, 0), seg(20, 30, 1, 0)}, 15, []int{2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := compact.Log{Segments: tc.segs, Policy: compact.Policy{SegmentBytes: 100, IndexBytes: 10}}
			if got := l.Groups(tc.upTo); !slices.Equal(got, tc.want) {
				t.Fatalf("groups %v, want %v", got, tc.want)
			}
		})
	}
}

// A round whose last offsets are a gap ends past the gap: else the next would begin in it, for ever.
func TestRound_PassesGaps(t *testing.T) {
	r := compact.NewRound(10, compact.NewOffsetMap(1<<10), record.NewScratch(record.Limits{}))
	if r.Passed(20); r.End() != 20 {
		t.Fatalf("the round ends at %d, want 20", r.End())
	}
}

func TestOffsetMap_AgreesWithAMapAndStaysInBounds(t *testing.T) {
	const budget = 1 << 20
	m, want := compact.NewOffsetMap(budget), map[string]int64{}
	for i := int64(0); ; i++ {
		key := fmt.Sprint(i * i % 100_003)
		if !m.Put([]byte(key), i) {
			break
		}
		want[key] = i
	}
	if m.Len() != len(want) || m.Bytes() > budget || m.Bytes() < budget*3/4 {
		t.Fatalf("%d keys in %d bytes, want %d in at most %d", m.Len(), m.Bytes(), len(want), budget)
	}
	for key, offset := range want {
		if got, ok := m.Get([]byte(key)); !ok || got != offset {
			t.Fatalf("%s is at %d (%v), want %d", key, got, ok, offset)
		}
	}
	if _, ok := m.Get([]byte("not there")); ok {
		t.Fatal("found a key that was never put")
	}
	if m.Reset(); m.Len() != 0 {
		t.Fatal("not empty after Reset")
	}
}
