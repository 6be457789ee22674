package fetch_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/kafka/api/fetch"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
)

// expect fetches and compares what the answer says of the session and which partitions it has, in order.
func (c *client) expect(version int16, req *wire.FetchRequest, session int32, partitions ...int32) {
	c.t.Helper()
	resp, _ := c.fetch(version, req)
	if resp.ErrorCode != kafkaerr.None || resp.SessionID != session {
		c.t.Fatalf("error %v, session %d, want session %d", resp.ErrorCode, resp.SessionID, session)
	}
	if got := answered(resp); !slices.Equal(got, partitions) && len(got)+len(partitions) > 0 {
		c.t.Fatalf("partitions %v, want %v", got, partitions)
	}
}

// expectError fetches and compares the error of the whole answer.
func (c *client) expectError(version int16, req *wire.FetchRequest, want kafkaerr.Code) {
	c.t.Helper()
	if resp, _ := c.fetch(version, req); resp.ErrorCode != want || resp.SessionID != 0 {
		c.t.Fatalf("error %v, session %d, want %v and no session", resp.ErrorCode, resp.SessionID, want)
	}
}

// What sessions are for: a consumer of a thousand partitions in which nothing happens asks and is answered
// in a few bytes.
func TestSession_IdleFetchOfManyPartitionsIsSmall(t *testing.T) {
	for _, version := range []int16{7, 11, 12, 13, 18} {
		b := newBroker(t)
		c, _ := b.dial()
		full, size := c.fetch(version, ask(version, 0, 0, upTo(1000)...))
		if n := len(answered(full)); n != 1000 || size < 20_000 {
			t.Fatalf("v%d: the first answer has %d partitions in %d bytes", version, n, size)
		}
		for epoch := int32(1); epoch <= 3; epoch++ {
			idle, size := c.fetch(version, ask(version, full.SessionID, epoch))
			if len(idle.Responses) != 0 || idle.SessionID != full.SessionID {
				t.Errorf("v%d: an idle answer has %d topics in session %d", version, len(idle.Responses), idle.SessionID)
			}
			if size >= 200 {
				t.Errorf("v%d: an idle answer takes %d bytes", version, size)
			}
		}
		b.hold("t", 7, replica.FetchResult{HighWatermark: 1})
		c.expect(version, ask(version, full.SessionID, 4), full.SessionID, 7)
	}
}

func TestSession_TellsWhatIsNew(t *testing.T) {
	b := newBroker(t)
	c, _ := b.dial()
	c.expect(11, ask(11, 0, 0, 0, 1, 2), 1, 0, 1, 2)
	c.expect(11, ask(11, 1, 1), 1)
	b.hold("t", 0, replica.FetchResult{HighWatermark: 5})
	c.expect(11, ask(11, 1, 2), 1, 0)
	b.hold("t", 0, replica.FetchResult{HighWatermark: 5, LogStartOffset: 3})
	c.expect(11, ask(11, 1, 3), 1, 0)

	b.hold("t", 2, replica.FetchResult{Err: kafkaerr.OffsetOutOfRange, HighWatermark: -1, LogStartOffset: -1})
	c.expect(11, ask(11, 1, 4), 1, 2)
	c.expect(11, ask(11, 1, 5), 1, 2) // an error is told as long as it lasts
	b.hold("t", 2, replica.FetchResult{})
	c.expect(11, ask(11, 1, 6), 1, 2) // and its end
	c.expect(11, ask(11, 1, 7), 1)
}

// A partition that was served goes behind those that were not.
func TestSession_ServesInTurn(t *testing.T) {
	b := newBroker(t)
	c, _ := b.dial()
	c.expect(11, ask(11, 0, 0, 0, 1, 2), 1, 0, 1, 2)
	b.hold("t", 0, records(t, 100))
	c.expect(11, ask(11, 1, 1), 1, 0)
	b.hold("t", 1, records(t, 100))
	b.hold("t", 2, records(t, 100))
	c.expect(11, ask(11, 1, 2), 1, 1, 2, 0)
}

func TestSession_AddsAndForgets(t *testing.T) {
	b := newBroker(t)
	c, _ := b.dial()
	c.expect(11, ask(11, 0, 0, 0, 1), 1, 0, 1)
	c.expect(11, ask(11, 1, 1, 2), 1, 2)
	c.expect(11, forget(ask(11, 1, 2), 0, 9), 1)
	for p := range int32(3) {
		b.hold("t", p, replica.FetchResult{HighWatermark: 1})
	}
	c.expect(11, ask(11, 1, 3), 1, 1, 2)
	// With its last partition the session goes too.
	c.expect(11, forget(ask(11, 1, 4), 1, 2), 0)
	c.expectError(11, ask(11, 1, 5), kafkaerr.FetchSessionIDNotFound)
}

func TestSession_Errors(t *testing.T) {
	b := newBroker(t)
	c, _ := b.dial()
	c.expectError(11, ask(11, 9, 1), kafkaerr.FetchSessionIDNotFound)
	c.expectError(11, ask(11, 0, 1), kafkaerr.FetchSessionIDNotFound)
	c.expect(11, ask(11, 0, 0, 0), 1, 0)
	c.expectError(11, ask(11, 1, 2), kafkaerr.InvalidFetchSessionEpoch)
	c.expectError(13, ask(13, 1, 1), kafkaerr.FetchSessionTopicIDError)
	c.expect(11, ask(11, 1, 1), 1) // which errors did not move on
	c.expectError(11, ask(11, 1, 1), kafkaerr.InvalidFetchSessionEpoch)

	c.expect(11, ask(11, 1, 0, 0), 2, 0) // asks for a new one instead
	c.expectError(11, ask(11, 1, 2), kafkaerr.FetchSessionIDNotFound)
	c.expect(11, ask(11, 2, -1, 0), 0, 0) // ends it
	c.expectError(11, ask(11, 2, 1), kafkaerr.FetchSessionIDNotFound)
	c.expect(4, ask(4, 0, -1, 0), 0, 0) // before there were sessions
}

func TestSession_Eviction(t *testing.T) {
	b := newBroker(t)
	c, _ := b.dial()
	for id := int32(1); id <= maxSessions; id++ {
		c.expect(11, ask(11, 0, 0, upTo(10*id)...), id, upTo(10*id)...)
	}
	c.expect(11, ask(11, 0, 0, upTo(100)...), 0, upTo(100)...) // all are young
	b.now = b.now.Add(119 * time.Second)
	for id := int32(2); id <= maxSessions; id++ {
		c.expect(11, ask(11, id, 1), id)
	}
	b.now = b.now.Add(2 * time.Second)
	c.expect(11, ask(11, 0, 0, 0), 5, 0) // in the place of 1, which rests for too long
	c.expectError(11, ask(11, 1, 1), kafkaerr.FetchSessionIDNotFound)
	c.expect(11, ask(11, 0, 0, upTo(20)...), 0, upTo(20)...) // none is stale, none that has had its time is smaller
	c.expect(11, ask(11, 0, 0, upTo(21)...), 6, upTo(21)...) // but now 2 is
	c.expectError(11, ask(11, 2, 2), kafkaerr.FetchSessionIDNotFound)
	c.expect(11, ask(11, 3, 2), 3)
}

// What sessions cost is their partitions, which may name nothing that exists: they are bounded together.
func TestSession_PartitionsAreBounded(t *testing.T) {
	const most = maxSessions * 256
	b := newBroker(t)
	c, _ := b.dial()
	all := upTo(most + 1)
	c.expect(11, ask(11, 0, 0, all...), 0, all...)
	c.expect(11, ask(11, 0, 0, all[:most-1]...), 1, all[:most-1]...)
	c.expect(11, ask(11, 0, 0, 0, 1), 0, 0, 1)
	c.expect(11, ask(11, 0, 0, 0), 2, 0)
	// A session that grows over the bound begins anew, and finds no room.
	c.expectError(11, ask(11, 1, 1, most), kafkaerr.FetchSessionIDNotFound)
	c.expect(11, ask(11, 0, 0, all[:most]...), 0, all[:most]...)
	// What it had is free again.
	c.expect(11, ask(11, 0, 0, all[:most-1]...), 3, all[:most-1]...)
	c.expect(11, forget(ask(11, 3, 1), all[1:most-1]...), 3)
	c.expect(11, ask(11, 0, 0, all[:most-2]...), 4, all[:most-2]...)
	// A stale session makes room, one that is only small does not.
	b.now = b.now.Add(121 * time.Second)
	c.expect(11, ask(11, 2, 1), 2)
	c.expect(11, ask(11, 3, 2), 3)
	c.expect(11, ask(11, 0, 0, all[:most-2]...), 5, all[:most-2]...)
	b.now = b.now.Add(119 * time.Second)
	c.expect(11, ask(11, 5, 1), 5)
	c.expect(11, ask(11, 0, 0, all[:most]...), 0, all[:most]...)
	c.expect(11, ask(11, 2, 2), 2)
}

func TestSession_EpochsWrapPastZero(t *testing.T) {
	for epoch, want := range map[int32]int32{0: 1, 1: 2, math.MaxInt32 - 1: math.MaxInt32, math.MaxInt32: 1} {
		if got := fetch.NextEpoch(epoch); got != want {
			t.Errorf("after %d comes %d, want %d", epoch, got, want)
		}
	}
}
