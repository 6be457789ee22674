package segment_test

import (
	"testing"

	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
)

// The cache serves those who come now, whatever was opened before: files of segments that nobody asks for any
// more make room.
func TestFileCache_ForgetsWhatIsIdle(t *testing.T) {
	opens := 0
	files := segment.NewFileCache(vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if op.Kind == vfs.OpOpen || op.Kind == vfs.OpCreate {
			opens++
		}
		return nil
	}), 4)
	var segs []*segment.Segment
	for base := range int64(8) {
		s, err := segment.Create(files, "/", base, 0)
		if err != nil {
			t.Fatal(err)
		}
		segs = append(segs, s)
	}
	opens = 0
	for range 10 {
		for _, s := range segs[3:6] {
			h, err := s.Acquire()
			if err != nil {
				t.Fatal(err)
			}
			h.Release()
		}
	}
	if opens > 6 || files.Open() > 4 {
		t.Errorf("3 files of a cache of 4 were opened %d times; it holds %d", opens, files.Open())
	}
}
