package partition_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/partition"
)

// TestScripts drives the machine by hand. Commands are the inputs; the output is the effects and the
// state after them.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		var p *partition.Partition
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			num := func(key string, missing int64) int64 {
				v := missing
				d.MaybeScanArgs(t, key, &v)
				return v
			}
			brokers := func(key string) []model.BrokerID {
				ids := make([]model.BrokerID, num(key, 1))
				for i := range ids {
					ids[i] = model.BrokerID(i + 1)
				}
				return ids
			}
			var in partition.Input
			switch d.Cmd {
			case "new":
				p = partition.New(1, num("hw", 0))
				return "ok\n"
			case "lead":
				in = partition.Lead{
					LeaderEpoch: int32(num("epoch", 0)), PartitionEpoch: int32(num("pepoch", 0)),
					Replicas: brokers("replicas"), ISR: brokers("isr"), End: num("end", 0), Flushed: num("flushed", 0),
				}
			case "follow":
				in = partition.Follow{LeaderEpoch: int32(num("epoch", 0)), PartitionEpoch: int32(num("pepoch", 0)), Leader: 2}
			case "offline":
				in = partition.GoOffline{}
			case "configure":
				in = partition.Configure{WriteCaching: partition.WriteCaching(num("caching", 0)), MinISR: int(num("min-isr", 1))}
			case "appended":
				in = partition.Appended{End: num("end", 0)}
			case "flushed":
				in = partition.Flushed{Offset: num("offset", 0)}
			case "follower":
				in = partition.FollowerFetched{Broker: model.BrokerID(num("id", 2)), End: num("end", 0)}
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			var b strings.Builder
			for _, e := range p.Step(time.Time{}, in, nil) {
				switch e.Kind {
				case partition.MoveHighWatermark:
					fmt.Fprintf(&b, "move hw to %d\n", e.Offset)
				case partition.QueueFlush:
					fmt.Fprintln(&b, "queue flush")
				case partition.ReleaseWaiters:
					fmt.Fprintln(&b, "release waiters")
				}
			}
			role := [...]string{"offline", "leader", "follower"}[p.Role()]
			fmt.Fprintf(&b, "%s epoch=%d hw=%d\n", role, p.LeaderEpoch(), p.HighWatermark())
			return b.String()
		})
	})
}

// Whatever comes in whatever order, the high watermark never moves back, never passes the end, and under
// durable rules never passes what was flushed.
func TestStep_HighWatermarkIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := partition.New(1, 0)
		var end, flushed, hw, epoch int64
		isr := 1
		followers := map[model.BrokerID]int64{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			var in partition.Input
			switch rapid.IntRange(0, 6).Draw(t, "input") {
			case 0:
				if bump := rapid.Int64Range(0, 1).Draw(t, "bump"); bump == 1 || p.Role() != partition.Leader {
					epoch += bump
					clear(followers)
				}
				isr = rapid.IntRange(1, 3).Draw(t, "isr")
				in = partition.Lead{
					LeaderEpoch: int32(epoch), PartitionEpoch: int32(epoch), Replicas: []model.BrokerID{1, 2, 3},
					ISR: []model.BrokerID{1, 2, 3}[:isr], End: end, Flushed: flushed,
				}
			case 1, 2:
				end += rapid.Int64Range(0, 9).Draw(t, "records")
				in = partition.Appended{End: end - rapid.Int64Range(0, min(end, 3)).Draw(t, "late")}
			case 3:
				flushed = rapid.Int64Range(flushed, end).Draw(t, "flushed")
				in = partition.Flushed{Offset: flushed}
			case 4:
				minISR := rapid.IntRange(1, 3).Draw(t, "min isr")
				in = partition.Configure{WriteCaching: partition.WriteCaching(rapid.IntRange(0, 2).Draw(t, "caching")), MinISR: minISR}
			case 5:
				in = partition.GoOffline{}
			case 6:
				id := model.BrokerID(rapid.IntRange(2, 3).Draw(t, "follower"))
				if p.Role() == partition.Leader {
					followers[id] = rapid.Int64Range(followers[id], max(end, followers[id])).Draw(t, "fetched")
				}
				in = partition.FollowerFetched{Broker: id, End: followers[id]}
			}
			wasUnder := p.UnderMinISR()
			for _, e := range p.Step(time.Time{}, in, nil) {
				if e.Kind != partition.MoveHighWatermark {
					continue
				}
				if e.Offset <= hw || e.Offset > end {
					t.Fatalf("moved from %d to %d with end %d", hw, e.Offset, end)
				}
				if p.Durable() && e.Offset > flushed {
					t.Fatalf("moved to %d with only %d flushed", e.Offset, flushed)
				}
				for _, id := range []model.BrokerID{2, 3}[:isr-1] {
					if e.Offset > followers[id] {
						t.Fatalf("moved to %d, but broker %d of the ISR holds %d", e.Offset, id, followers[id])
					}
				}
				if p.UnderMinISR() {
					t.Fatalf("moved to %d under min ISR (before: %v)", e.Offset, wasUnder)
				}
				hw = e.Offset
			}
			if p.HighWatermark() != hw {
				t.Fatalf("the state says %d, the effects %d", p.HighWatermark(), hw)
			}
		}
	})
}

func TestStep_AppendAllocatesNothing(t *testing.T) {
	p := partition.New(1, 0)
	p.Step(time.Time{}, partition.Lead{Replicas: []model.BrokerID{1}, ISR: []model.BrokerID{1}}, nil)
	out := make([]partition.Effect, 0, 4)
	var end int64
	allocs := testing.AllocsPerRun(100, func() {
		end++
		out = p.Step(time.Time{}, partition.Appended{End: end}, out[:0])
		out = p.Step(time.Time{}, partition.Flushed{Offset: end}, out[:0])
	})
	if allocs != 0 || p.HighWatermark() != end {
		t.Errorf("%v allocations per append, hw %d of %d", allocs, p.HighWatermark(), end)
	}
}
