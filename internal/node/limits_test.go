package node_test

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestConnectionsMaxIdle(t *testing.T) {
	for _, tc := range []struct {
		ms     string
		idle   time.Duration
		served bool
	}{
		{"60000", 59 * time.Second, true},
		{"60000", 61 * time.Second, false},
		{"-1", time.Hour, true},
		{"9223372036854775807", time.Hour, true},
		{"0", time.Second, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := boot(t, "connections.max.idle.ms="+tc.ms)
			c := n.expectCall("127.0.0.1:1", true)
			n.pass(tc.idle)
			if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if err := ask(c.conn); (err == nil) != tc.served {
				t.Errorf("connections.max.idle.ms=%s: after %v a request is answered with %v, want served: %v", tc.ms, tc.idle, err, tc.served)
			}
		})
	}
}
