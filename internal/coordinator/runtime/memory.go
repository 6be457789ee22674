package runtime

import "sync/atomic"

// memory counts what the shards of all kinds hold together.
type memory struct {
	limit int64 // 0: none
	used  atomic.Int64
}

// account is what one shard holds. Its executor closes it when it throws the shard away.
type account struct {
	of   *memory
	held int64
}

// Fits implements coordinator.Memory. Shards of other workers may take the room that it saw: what is held may
// pass the limit by one request for each worker.
func (a *account) Fits(bytes int) bool {
	return a.of.limit == 0 || a.of.used.Load()+int64(bytes) <= a.of.limit
}

// Hold implements coordinator.Memory.
func (a *account) Hold(bytes int) {
	a.held += int64(bytes)
	a.of.used.Add(int64(bytes))
}

// close gives back what is held.
func (a *account) close() { a.Hold(-int(a.held)) }
