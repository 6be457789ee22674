package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// keepFree is the memory that filling leaves free.
const keepFree = 512 << 20

// filler keeps free memory full of page cache, as it is on a machine that has been up for a while. On a fresh one
// the first touch of a page may cost many times what a broker does with it, most of all where a host gives a
// virtual machine its memory page by page and takes back what is free: a broker would be charged 4 s of CPU for
// each GiB that it writes, which says nothing of the broker and hides the difference to its peer.
//
// The cache is that of a file of holes. Reading it costs no disk, and the kernel drops such pages before others.
type filler struct {
	holes       *os.File
	at, size    int64
	buffer      []byte
	memoryBytes int64
}

func newFiller(dir string) (*filler, error) {
	total, err := memoryOf("MemTotal")
	if err != nil {
		return nil, err
	}
	f := &filler{size: 2 * total, memoryBytes: total, buffer: make([]byte, 1<<20)}
	if f.holes, err = os.Create(filepath.Join(dir, "holes")); err != nil {
		return nil, err
	}
	if err := f.holes.Truncate(f.size); err != nil {
		return nil, fmt.Errorf("make a file of holes: %w", err)
	}
	return f, nil
}

// fill reads holes until little memory is free. It is called before each round: what the last round deleted is
// free again.
func (f *filler) fill(ctx context.Context) error {
	for read := int64(0); read < f.memoryBytes && ctx.Err() == nil; {
		free, err := memoryOf("MemFree")
		if err != nil {
			return err
		}
		if free <= keepFree {
			return nil
		}
		for range 64 {
			n, err := f.holes.ReadAt(f.buffer, f.at)
			if err != nil && n == 0 {
				return fmt.Errorf("read holes: %w", err)
			}
			f.at = (f.at + int64(len(f.buffer))) % (f.size - int64(len(f.buffer)))
			read += int64(n)
		}
	}
	return context.Cause(ctx)
}

// memoryOf returns a line of /proc/meminfo, in bytes.
func memoryOf(name string) (int64, error) {
	kib, err := field(read("/proc/meminfo"), name)
	return kib << 10, err
}
