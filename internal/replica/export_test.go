package replica

import "github.com/walser-io/walser/internal/storage"

// Log returns the replica's log.
func (r *Replica) Log() *storage.Log { return r.log }
