package segment_test

import (
	"slices"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
)

const mib = 1 << 20

// grow appends one batch of about a quarter of a MiB.
func grow(t *testing.T, s *segment.Segment) {
	t.Helper()
	b := record.NewBuilder(record.BuilderOptions{BaseOffset: s.State().Next})
	b.Append(1, nil, make([]byte, mib/4), nil)
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	if err := s.Append(h, batch, 4096); err != nil {
		t.Fatal(err)
	}
}

// Blocks are there before a segment grows into them: not for one that is small, as much as it holds for others, 4 MiB
// at most, asked for once. When it takes no more it keeps what it holds.
func TestSegment_AllocatesAheadOfAppends(t *testing.T) {
	mem := vfs.NewMem(1)
	var asked []vfs.Op
	fsys := vfs.NewFaulty(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpPreallocate {
			asked = append(asked, op)
		}
		return nil
	})
	s, err := segment.Create(segment.NewFileCache(fsys, 4), "/", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	spare := func() int64 {
		usage, err := mem.Usage("/")
		if err != nil {
			t.Fatal(err)
		}
		return usage.TotalBytes - usage.FreeBytes - s.State().Size
	}
	for s.State().Size < 16*mib {
		before := s.State().Size
		grow(t, s)
		// A quarter of a MiB was just written, into what was there.
		if got := spare(); before < mib && got > 4096 || before >= mib && (got < 0 || got > min(before, 4*mib)+4096) {
			t.Fatalf("%d bytes are allocated beyond the %d there are", got, s.State().Size)
		}
	}
	if len(asked) < 4 || len(asked) > 6 {
		t.Errorf("asked for blocks %d times, want a few: %v", len(asked), asked)
	}
	for i := range asked[1:] {
		if end := asked[i].Offset + int64(asked[i].Len); asked[i+1].Offset != end {
			t.Errorf("asked for blocks from %d, want from %d: what was there is walked over in vain", asked[i+1].Offset, end)
		}
	}
	s.Seal()
	if got := spare(); got > 4096 {
		t.Errorf("a sealed segment keeps %d bytes that it does not need", got)
	}
}

// Where there is no room ahead, records are taken as long as they fit themselves.
func TestSegment_AppendsWithoutRoomAhead(t *testing.T) {
	asked := 0
	fsys := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if op.Kind == vfs.OpPreallocate {
			asked++
			return syscall.ENOSPC
		}
		return nil
	})
	s, err := segment.Create(segment.NewFileCache(fsys, 4), "/", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		grow(t, s)
	}
	if asked != 1 {
		t.Errorf("a full file system was asked %d times for room ahead", asked)
	}
	if sizes := []int64{s.State().Next, s.State().Size / mib}; !slices.Equal(sizes, []int64{40, 10}) {
		t.Errorf("offset and MiB %v", sizes)
	}
}
