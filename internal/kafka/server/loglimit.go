package server

import (
	"time"

	"github.com/walser-io/walser/internal/xsync"
)

// logLimit lets a few lines about peers through per second, so that nobody outside can fill the log, and
// counts those it holds back.
type logLimit struct {
	perSecond int

	mu struct {
		xsync.Mutex
		began time.Duration
		lines int
		held  int
	}
}

// allow says whether a line may be written now, and how many were held back since the last one.
func (l *logLimit) allow(now time.Duration) (held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.lines == 0 || now-l.mu.began >= time.Second {
		l.mu.began, l.mu.lines = now, 0
	}
	if l.mu.lines == l.perSecond {
		l.mu.held++
		return 0, false
	}
	l.mu.lines++
	held, l.mu.held = l.mu.held, 0
	return held, true
}
