package fetch_test

import (
	"testing"
	"time"
)

// A connection may go while a handler serves its next request, on the goroutine of whoever answered the one
// before. What the handler then parks must not wait out a MaxWait of up to 24 days.
func TestFetch_HangUpBeforeItWaits(t *testing.T) {
	b := newBroker(t)
	b.parks = true
	b.looksUp = b.server.Close // closes the connection that is being served
	c, ended := b.dial()
	req := ask(4, 0, 0, 0)
	req.MaxWaitMs = 1<<31 - 1
	c.send(4, req)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection is not let go of")
	}
	if n := b.waiting(); n != 0 {
		t.Errorf("%d fetches wait for a connection that has gone", n)
	}
}

func TestFetch_HangUpWhileItWaits(t *testing.T) {
	b := newBroker(t)
	b.parks = true
	c, ended := b.dial()
	req := ask(4, 0, 0, 0)
	req.MaxWaitMs = 1<<31 - 1
	c.send(4, req)
	for began := time.Now(); b.waiting() == 0; {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the fetch does not wait")
		}
	}
	c.conn.Close()
	<-ended
	if n := b.waiting(); n != 0 {
		t.Errorf("%d fetches wait for a connection that has gone", n)
	}
}
