package storage

import "sync"

// scratch lends the buffer in which several batches become one write. It belongs to a directory: a
// buffer per log would stay with logs that are idle.
type scratch struct{ pool sync.Pool }

// maxScratch is the largest buffer that is kept.
const maxScratch = 1 << 20

func (s *scratch) get(n int) []byte {
	if b, ok := s.pool.Get().(*[]byte); ok && cap(*b) >= n {
		return (*b)[:0]
	}
	return make([]byte, 0, max(n, 64<<10))
}

// put takes back what stamp got; the one batch of an append that needed no buffer is the caller's.
func (s *scratch) put(b []byte, in *appending) {
	if len(in.batches) > 1 && cap(b) <= maxScratch {
		kept := b // only this branch pays for the slice header on the heap
		s.pool.Put(&kept)
	}
}
