package quorum

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestRaftLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		to := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		l := newRaftLog(to)
		for range 100 {
			l.Warn("heartbeat failed", "peer", "b")
		}
		time.Sleep(logWindow)
		l.Warn("heartbeat failed", "peer", "b")
		l.Warn("heartbeat timeout reached, starting election") // every start brings it
		l.With("id", 7).Info("configuration", "servers", hclog.Fmt("%d of %d", 1, 3))
		l.Trace("never")
		want := strings.Repeat("level=WARN msg=\"raft: heartbeat failed\" peer=b\n", logInWindow) +
			"level=WARN msg=\"raft: heartbeat failed\" peer=b left_out=97\n" +
			"level=DEBUG msg=\"raft: heartbeat timeout reached, starting election\"\n" +
			"level=DEBUG msg=\"raft: configuration\" id=7 servers=\"1 of 3\"\n"
		if got := out.String(); got != want {
			t.Errorf("log\n%s\nwant\n%s", got, want)
		}
	})
}
