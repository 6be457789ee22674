//go:build unix

package node

import "golang.org/x/sys/unix"

// descriptorLimit is how many files and sockets this process may have open. Go raises the soft limit to
// the hard one at start.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<30))
}
