//go:build !linux

package loadgen

import "time"

// pause waits for about d.
func pause(d time.Duration) { <-time.After(d) }
