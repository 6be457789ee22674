package node

import (
	"math"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/walser-io/walser/internal/kafka/server"
)

// serverConfig gives the server what is fixed while it runs, with what depends on the machine filled in.
func (n *Node) serverConfig() server.Config {
	limits := &n.cfg.Limits
	c := server.Config{
		SocketRequestMaxBytes: int(limits.SocketRequestMaxBytes),
		QueuedMaxRequestBytes: limits.QueuedMaxRequestBytes,
		ConnectionsMaxIdle:    max(limits.ConnectionsMaxIdle, time.Millisecond),
		SendBuffer:            int(limits.SendBufferBytes),
		RecvBuffer:            int(limits.ReceiveBufferBytes),
	}
	if limits.ConnectionsMaxIdle < 0 || limits.ConnectionsMaxIdle > forever {
		c.ConnectionsMaxIdle = forever
	}
	if c.QueuedMaxRequestBytes < 0 {
		c.QueuedMaxRequestBytes = max(memoryLimit()/4, int64(c.SocketRequestMaxBytes))
	}
	return c
}

// forever is longer than a process lives, and can be added to its clock.
const forever = 100 * 365 * 24 * time.Hour

// memoryLimit is what this process may use: GOMEMLIMIT, else the cgroup's limit, else the machine's memory.
func memoryLimit() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit
	}
	for _, limit := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if bytes, err := limit(); err == nil && bytes > 0 && bytes < math.MaxInt64 {
			return int64(bytes)
		}
	}
	return 1 << 30
}
