package quorum

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/walser-io/walser/internal/xsync"
)

// raftLog gives raft's messages to slog. Raft's info is our debug. A message that repeats is written
// three times in a window, then counted: an unreachable peer must not fill a disk.
type raftLog struct {
	to    *slog.Logger
	limit *logLimit
	args  []any
}

const (
	logWindow   = 30 * time.Second
	logInWindow = 3
)

// logLimit counts each message, by its text.
type logLimit struct {
	now func() time.Time
	mu  struct {
		xsync.Mutex
		windows map[string]logCount
	}
}

type logCount struct {
	since      time.Time
	n, dropped int
}

// raft knows a few hundred messages; some carry no fixed text.
const maxLogWindows = 512

// allow reports whether to write a message, and how many of its kind were left out before it.
func (l *logLimit) allow(msg string) (dropped int, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c, known := l.mu.windows[msg]
	if known && now.Sub(c.since) < logWindow {
		if c.n++; c.n > logInWindow {
			c.dropped++
			l.mu.windows[msg] = c
			return 0, false
		}
		l.mu.windows[msg] = c
		return 0, true
	}
	if len(l.mu.windows) >= maxLogWindows {
		clear(l.mu.windows)
	}
	l.mu.windows[msg] = logCount{since: now, n: 1}
	return c.dropped, true
}

func newRaftLog(to *slog.Logger) *raftLog {
	limit := &logLimit{now: time.Now}
	limit.mu.windows = map[string]logCount{}
	return &raftLog{to: to, limit: limit}
}

// normal is a warning that every healthy start brings.
func normal(msg string) bool {
	return msg == "heartbeat timeout reached, starting election"
}

func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	at := slog.LevelDebug
	switch {
	case level == hclog.Error:
		at = slog.LevelError
	case level == hclog.Warn && !normal(msg):
		at = slog.LevelWarn
	}
	if level == hclog.Trace || !l.to.Enabled(context.Background(), at) {
		return
	}
	dropped, ok := l.limit.allow(msg)
	if !ok {
		return
	}
	attrs := make([]any, 0, len(l.args)+len(args)+2)
	attrs = append(append(attrs, l.args...), args...)
	for i := 1; i < len(attrs); i += 2 {
		if f, ok := attrs[i].(hclog.Format); ok && len(f) > 0 {
			attrs[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	if dropped > 0 {
		attrs = append(attrs, "left_out", dropped)
	}
	l.to.Log(context.Background(), at, "raft: "+msg, attrs...)
}

func (l *raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLog) enabled(level slog.Level) bool { return l.to.Enabled(context.Background(), level) }

func (l *raftLog) IsTrace() bool { return false }
func (l *raftLog) IsDebug() bool { return l.enabled(slog.LevelDebug) }
func (l *raftLog) IsInfo() bool  { return l.enabled(slog.LevelDebug) }
func (l *raftLog) IsWarn() bool  { return l.enabled(slog.LevelWarn) }
func (l *raftLog) IsError() bool { return l.enabled(slog.LevelError) }

func (l *raftLog) ImpliedArgs() []any { return l.args }

func (l *raftLog) With(args ...any) hclog.Logger {
	all := append(append(make([]any, 0, len(l.args)+len(args)), l.args...), args...)
	return &raftLog{to: l.to, limit: l.limit, args: all}
}

// Raft's names are left out: there is one raft.
func (l *raftLog) Name() string                   { return "" }
func (l *raftLog) Named(string) hclog.Logger      { return l }
func (l *raftLog) ResetNamed(string) hclog.Logger { return l }
func (l *raftLog) SetLevel(hclog.Level)           {}
func (l *raftLog) GetLevel() hclog.Level          { return hclog.Debug }
func (l *raftLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(nil), "", 0)
}

func (l *raftLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{l} }

type lineWriter struct{ l *raftLog }

func (w lineWriter) Write(line []byte) (int, error) {
	w.l.Info(string(line))
	return len(line), nil
}
