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

// A partition that is named twice is answered once, by its last entry.
func TestFetch_RepeatedPartitions(t *testing.T) {
	b := newBroker(t)
	c, _ := b.dial()
	req := ask(4, 0, -1, 0, 1, 0, 0)
	again := ask(4, 0, -1, 1, 2)
	req.Topics = append(req.Topics, again.Topics...)
	c.expect(4, req, 0, 0, 1, 2)
	if got := b.asked[0].partitions; got != 3 {
		t.Errorf("%d partitions are read", got)
	}
}

// Nobody waits for more bytes than the answer may have.
func TestFetch_MinBytesAboveMaxBytes(t *testing.T) {
	b := newBroker(t)
	c, _ := b.dial()
	req := ask(4, 0, -1, 0)
	req.MinBytes, req.MaxBytes = 1000, 100
	c.expect(4, req, 0, 0)
	req.MinBytes, req.MaxBytes = 1<<30, 1<<30
	c.expect(4, req, 0, 0)
	if b.asked[0].minBytes != 100 || b.asked[1].minBytes != 50<<20 {
		t.Errorf("the fetches wait for %d and %d bytes", b.asked[0].minBytes, b.asked[1].minBytes)
	}
}
