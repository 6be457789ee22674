package storage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// A load of five batches in flight per producer, with rolls, flushes and checkpoints at random places,
// then a power loss or a kill, again and again on the same directory.
func TestLog_CrashLoop(t *testing.T) {
	seeds := 300
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashLoop(t, uint64(seed)) })
	}
}

func crashLoop(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	mem := vfs.NewMem(seed)
	var n naive
	for i := range 4 {
		n.clients = append(n.clients, &client{id: int64(10 + i)})
	}
	epoch, must := int32(0), int64(0) // must: where the log may end at the least
	for range 6 {
		m := openManager(t, mem, "/a", "/b")
		l, _, err := m.Open(testTP, testTopicID, [16]byte{}, smallConfig())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		recovered := readAll(t, l, 700)
		if l.EndOffset() < must || l.EndOffset() > n.end {
			t.Fatalf("the log ends at %d; it had %d, of which %d must be there", l.EndOffset(), n.end, must)
		}
		for i, b := range recovered {
			if !bytes.Equal(b, n.batches[i]) {
				t.Fatalf("batch %d at offset %d is not what was written", i, b.BaseOffset())
			}
		}
		n.batches, n.end, n.durable = recovered, l.EndOffset(), max(n.durable, l.FlushedOffset())
		n.resume()
		epoch++
		if err := l.Lead(epoch); err != nil {
			t.Fatal(err)
		}
		for _, c := range n.clients {
			for _, b := range n.lastOf(c.id) {
				if a := appendOne(t, l, bytes.Clone(b)); !a.Duplicate || a.FirstOffset != b.BaseOffset() {
					t.Fatalf("retry of producer %d at %d was appended: %+v", c.id, b.BaseOffset(), a)
				}
			}
		}
		for range rng.IntN(40) {
			switch rng.IntN(8) {
			case 0:
				flush(t, l)
				n.durable = n.end
			case 1:
				checkpointAll(t, m)
			default:
				b := batchOf(t, n.clients[rng.IntN(4)], 1000+n.end, string(make([]byte, rng.IntN(300))))
				appendOne(t, l, b)
				n.batches, n.end = append(n.batches, b), b.LastOffset()+1
			}
		}
		if rng.IntN(3) == 0 {
			mem, must = mem.KillProcess(), n.end
			continue
		}
		must = n.durable
		mem = mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: []int{0, 50, 100}[rng.IntN(3)], TornWrites: rng.IntN(2) == 0, StaleBlocks: rng.IntN(2) == 0})
	}
}

// A batch above the recovery point whose bytes are not what was written is served by nobody, and neither is what follows.
func TestRecover_CutsAtTheFirstBadBatch(t *testing.T) {
	for _, tc := range []struct {
		name string
		at   func(size int64) int64 // which byte flips
		want int64                  // the end after recovery
	}{
		{"checksum of the last batch", func(size int64) int64 { return size - 1 }, 9},
		{"length of the last batch", func(size int64) int64 { return size - size/10 + 8 }, 9},
		{"magic in the middle", func(size int64) int64 { return size/2 + 16 }, 5},
		{"record in the first", func(size int64) int64 { return 61 }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem(1)
			m := openManager(t, mem, "/a")
			l := createLog(t, m, storage.DefaultLogConfig())
			for range 10 {
				appendOne(t, l, batchOf(t, nil, 5, "same size"))
			}
			mem = mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100})
			flip(t, mem, "/a/orders-3/00000000000000000000.log", tc.at(l.Size()))
			l = recoverLog(t, openManager(t, mem, "/a"), storage.DefaultLogConfig())
			if l.EndOffset() != tc.want || len(readAll(t, l, 1<<20)) != int(tc.want) {
				t.Fatalf("the log ends at %d with %d batches, want %d", l.EndOffset(), len(readAll(t, l, 1<<20)), tc.want)
			}
			// And it goes on from there.
			if err := l.Lead(2); err != nil {
				t.Fatal(err)
			}
			if a := appendOne(t, l, batchOf(t, nil, 6, "next")); a.FirstOffset != tc.want {
				t.Fatalf("the next append got offset %d", a.FirstOffset)
			}
		})
	}
}

func flip(t testing.TB, fsys vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fsys.OpenFile(name, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x20
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
