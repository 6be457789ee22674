package epoch_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/walser-io/walser/internal/storage/epoch"
	"pgregory.net/rapid"
)

func cacheOf(entries ...epoch.Entry) *epoch.Cache {
	c := &epoch.Cache{}
	for _, e := range entries {
		c.Assign(e.Epoch, e.Start)
	}
	return c
}

func TestCache_EndOffsetFor(t *testing.T) {
	c := cacheOf(epoch.Entry{2, 10}, epoch.Entry{4, 20}, epoch.Entry{7, 35})
	for _, tc := range []struct {
		name      string
		requested int32
		epoch     int32
		end       int64
	}{
		{"undefined", -1, -1, -1},
		{"below all known", 1, 1, 10},
		{"known", 2, 2, 20},
		{"between two", 3, 2, 20},
		{"between two later", 6, 4, 35},
		{"newest ends at the log end", 7, 7, 50},
		{"above all known", 8, -1, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if e, end := c.EndOffsetFor(tc.requested, 50); e != tc.epoch || end != tc.end {
				t.Errorf("EndOffsetFor(%d) = %d, %d; want %d, %d", tc.requested, e, end, tc.epoch, tc.end)
			}
		})
	}
	if e, end := (&epoch.Cache{}).EndOffsetFor(3, 50); e != -1 || end != -1 {
		t.Errorf("an empty cache answered %d, %d", e, end)
	}
}

// model keeps for every offset the epoch that wrote it, and the newest epoch even when it wrote nothing.
type model struct {
	start  int64
	wrote  []int32 // by offset - start
	latest int32   // -1 none
}

func (m *model) end() int64 { return m.start + int64(len(m.wrote)) }

func TestCache_AgreesWithAnEpochPerOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := model{latest: -1}
		c := &epoch.Cache{}
		t.Repeat(map[string]func(*rapid.T){
			"lead": func(t *rapid.T) {
				m.latest += rapid.Int32Range(1, 3).Draw(t, "bump")
				c.Assign(m.latest, m.end())
			},
			"append": func(t *rapid.T) {
				if m.latest < 0 {
					t.Skip()
				}
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					c.Assign(m.latest, m.end()) // a follower assigns at each batch; only the first matters
					m.wrote = append(m.wrote, m.latest)
				}
			},
			"truncate end": func(t *rapid.T) {
				to := rapid.Int64Range(m.start, m.end()).Draw(t, "to")
				c.TruncateFromEnd(to)
				m.wrote = m.wrote[:to-m.start]
				if last, ok := c.Latest(); ok {
					m.latest = last.Epoch
				} else {
					m.latest = -1
				}
			},
			"truncate start": func(t *rapid.T) {
				to := rapid.Int64Range(m.start, m.end()).Draw(t, "to")
				c.TruncateFromStart(to)
				m.wrote = slices.Clone(m.wrote[to-m.start:])
				m.start = to
			},
			"reload": func(t *rapid.T) {
				back, err := epoch.Decode(c.Append(nil))
				if err != nil {
					t.Fatal(err)
				}
				c = &back
			},
			"": func(t *rapid.T) {
				for i, want := range m.wrote {
					if got := c.ForOffset(m.start + int64(i)); got != want {
						t.Fatalf("offset %d was written by epoch %d, cache says %d: %v", m.start+int64(i), want, got, c.Entries())
					}
				}
				if m.latest < 0 {
					return
				}
				for e := int32(0); e <= m.latest; e++ {
					// By definition: the end of e is the first offset of a higher epoch.
					_, got := c.EndOffsetFor(e, m.end())
					want := m.end()
					for i, w := range m.wrote {
						if w > e {
							want = m.start + int64(i)
							break
						}
					}
					// An epoch that is known but wrote nothing may begin earlier than the first record above it, never later.
					if got > want || got < want && !slices.ContainsFunc(c.Entries(), func(x epoch.Entry) bool { return x.Start == got && x.Epoch > e }) {
						t.Fatalf("EndOffsetFor(%d) = %d, want %d: %v", e, got, want, c.Entries())
					}
				}
			},
		})
	})
}

func TestDecode_RefusesWhatNoCacheWrites(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"version":          "1\n0\n",
		"count too large":  "0\n2\n1 2\n",
		"count negative":   "0\n-1\n",
		"count huge":       "0\n999999999999\n1 2\n",
		"cut":              "0\n1\n1 2",
		"trailing":         "0\n1\n1 2\n3 4\n",
		"epoch decreasing": "0\n2\n2 0\n1 5\n",
		"start equal":      "0\n2\n1 5\n2 5\n",
		"zeros":            "\x00\x00\x00\x00",
	} {
		if _, err := epoch.Decode([]byte(text)); !errors.Is(err, epoch.ErrCorrupt) {
			t.Errorf("%s: Decode(%q) = %v, want ErrCorrupt", name, text, err)
		}
	}
}

//fuzz:decoder epoch/checkpoint[.]go
func FuzzEpochCheckpoint(f *testing.F) {
	f.Add([]byte("0\n2\n0 0\n3 17\n"))
	f.Add([]byte("0\n0\n"))
	f.Add([]byte("0\n1\n4294967296 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := epoch.Decode(text)
		if err != nil {
			return
		}
		again, err := epoch.Decode(c.Append(nil))
		if err != nil || !slices.Equal(again.Entries(), c.Entries()) {
			t.Fatalf("%q decodes to %v, which decodes again to %v, %v", text, c.Entries(), again.Entries(), err)
		}
		if !bytes.HasPrefix(text, []byte("0\n")) {
			t.Fatalf("accepted %q", text)
		}
	})
}
