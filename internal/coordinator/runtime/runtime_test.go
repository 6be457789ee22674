package runtime_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// inBubble runs a test on a world whose goroutines must all have ended when it is stopped.
func inBubble(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, runtime.DefaultConfig(2))
		defer w.stop()
		test(w)
	})
}

func TestTurn_IsOneAppend(t *testing.T) {
	inBubble(t, func(w *world) {
		w.together(put{"a=1"}, put{"b=2 c=3"}, get{"a"}, put{"d=4"})
		w.expect("put a=1, put b=2 c=3, a=, put d=4")
		w.expectLog("a=1 b=2 c=3 d=4")
		w.submit(get{"c"})
		w.expect("c=3")
	})
}

func TestAnswers_WaitForTheCommit(t *testing.T) {
	inBubble(t, func(w *world) {
		w.log.set(func() { w.log.manual = true })
		w.submit(put{"a=1"})
		w.expect("")
		w.submit(get{"a"}) // sees what is replayed, and so waits for it
		w.submit(put{"a=2"})
		synctest.Wait() // in one turn, reads do not see the writes they overlap
		w.submit(get{"a"})
		w.expect("")
		w.log.commit(nil)
		w.expect("put a=1, a=1, put a=2, a=2")
		w.submit(get{"a"}) // nothing is on its way
		w.expect("a=2")
	})
}

func TestAnswers_LaterCommitCoversEarlier(t *testing.T) {
	inBubble(t, func(w *world) {
		w.log.set(func() { w.log.manual = true })
		w.submit(put{"a=1"})
		synctest.Wait()
		w.submit(put{"b=1"})
		synctest.Wait()
		w.log.set(func() { w.log.waiting[0], w.log.waiting[1] = w.log.waiting[1], w.log.waiting[0] })
		w.log.commit(nil)
		w.expect("put a=1, put b=1")
	})
}

func TestCommitTimeout(t *testing.T) {
	inBubble(t, func(w *world) {
		w.log.set(func() { w.log.manual = true })
		w.submit(put{"a=1"})
		synctest.Wait()
		w.sleep(3 * time.Second)
		w.submit(get{"a"})
		w.sleep(2*time.Second - 1)
		w.expect("")
		w.sleep(1)
		w.expect("COORDINATOR_NOT_AVAILABLE") // the put; the read has waited for two seconds only
		w.sleep(3 * time.Second)
		w.expect("COORDINATOR_NOT_AVAILABLE")
		w.log.commit(nil)
		w.expect("")
		w.submit(get{"a"})
		w.expect("a=1") // the record was written all the same
	})
}

func TestFailedAppend_ReplaysNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(put{"a=1"})
		w.expect("put a=1")
		w.log.set(func() { w.log.fail = kafkaerr.NotEnoughReplicas })
		w.together(put{"a=2"}, get{"a"}, put{"b=2"}, park{})
		w.expect(strings.TrimSuffix(strings.Repeat("COORDINATOR_NOT_AVAILABLE, ", 3), ", "))
		if want := "[a=2: NOT_ENOUGH_REPLICAS b=2: NOT_ENOUGH_REPLICAS]"; fmt.Sprint(w.undone) != want {
			t.Errorf("undone %v, want %s", w.undone, want)
		}
		w.together(get{"a"}, get{"b"})
		w.expect("a=1, b=")
		w.expectLog("a=1")
		if w.unloads.Load() != 0 {
			t.Errorf("the shard was thrown away")
		}
	})
}

func TestLostCommit_LoadsAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(put{"a=1"})
		w.expect("put a=1")
		w.log.set(func() { w.log.manual = true })
		w.submit(park{})
		w.submit(put{"a=2"})
		w.submit(get{"a"})
		synctest.Wait()
		w.log.set(func() { w.log.batches, w.log.manual = w.log.batches[:1], false }) // the log was cut
		w.log.commit(kafkaerr.KafkaStorageError)
		w.expect("NOT_COORDINATOR, NOT_COORDINATOR, unloaded")
		w.submit(get{"a"})
		w.expect("COORDINATOR_LOAD_IN_PROGRESS")
		w.sleep(time.Second)
		w.submit(get{"a"})
		w.expect("a=1")
		w.submit(put{"a=3"})
		w.expect("put a=3")
	})
}

// A commit that ends after its shard was thrown away belongs to nobody.
func TestLostCommit_OldFlightsDoNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		w.log.set(func() { w.log.manual = true })
		w.submit(put{"a=1"})
		synctest.Wait()
		w.submit(put{"b=1"})
		synctest.Wait()
		var late func(error)
		w.log.set(func() {
			late = w.log.waiting[1]
			w.log.waiting = w.log.waiting[:1]
			w.log.batches = nil
		})
		w.log.commit(kafkaerr.NotLeaderOrFollower)
		w.expect("NOT_COORDINATOR, NOT_COORDINATOR")
		w.sleep(time.Second)
		w.submit(put{"c=1"})
		w.expect("")
		late(kafkaerr.NotLeaderOrFollower)
		w.expect("")
		w.log.commit(nil)
		w.expect("put c=1")
		if w.unloads.Load() != 1 {
			t.Errorf("%d shards were thrown away, want 1", w.unloads.Load())
		}
	})
}

func TestAppend_AfterTheLeadershipWent(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(park{})
		w.submit(put{"a=1"})
		w.expect("put a=1")
		w.log.set(func() { w.log.epoch = 2 })
		w.together(put{"a=2"}, get{"a"})
		w.expect("NOT_COORDINATOR, NOT_COORDINATOR, unloaded")
		w.submit(get{"a"})
		w.expect("COORDINATOR_LOAD_IN_PROGRESS")
		if w.undone != nil {
			t.Errorf("undone %v on a shard that is gone", w.undone)
		}
		w.runtime.Elect(p0, 2, w.log)
		synctest.Wait()
		w.submit(put{"a=3"})
		w.expect("put a=3")
		w.expectLog("a=1 | a=3")
		w.sleep(time.Minute) // the old executor's retry finds nothing to do
		w.submit(get{"a"})
		w.expect("a=3")
	})
}

func TestResign(t *testing.T) {
	inBubble(t, func(w *world) {
		w.log.set(func() { w.log.manual = true })
		w.submit(park{})
		w.submit(put{"a=1"})
		synctest.Wait()
		w.runtime.Resign(p0, 0) // older than the election
		w.expect("")
		w.runtime.Resign(p0, 1)
		w.submit(get{"a"})
		w.expect("NOT_COORDINATOR, NOT_COORDINATOR, unloaded")
		w.log.commit(nil)
		w.expect("")
		if got := w.runtime.Partitions("kv"); len(got) != 0 {
			t.Errorf("partitions %v after the resignation", got)
		}
	})
}

func TestElect_OrderedByEpoch(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(put{"a=1"})
		w.submit(park{})
		w.expect("put a=1")
		w.runtime.Elect(p0, 1, w.log)
		w.runtime.Elect(p0, 0, w.log)
		w.expect("")
		w.log.set(func() { w.log.epoch = 3 })
		w.runtime.Elect(p0, 3, w.log)
		w.expect("unloaded")
		w.runtime.Resign(p0, 2) // late news of an older epoch
		w.submit(get{"a"})
		w.expect("a=1")
	})
}

func TestLoad_ChunkByChunk(t *testing.T) {
	inBubble(t, func(w *world) {
		loading := &fakeLog{epoch: 4, maxBytes: 1 << 20, start: 100, manual: true}
		for i := range 50 {
			loading.batches = append(loading.batches, records(fmt.Sprintf("k%d=%d", i%7, i)))
		}
		loading.entered = func() { // on the worker, in the first chunk
			loading.entered = nil
			w.submitTo(p1, get{"k1"})
			w.runtime.Notify("kv", noticed{"early"})
		}
		w.runtime.Elect(p1, 4, loading)
		w.expect("COORDINATOR_LOAD_IN_PROGRESS")
		if loading.reads != 50 {
			t.Errorf("%d chunks were read, want 50", loading.reads)
		}
		w.submitTo(p1, get{"k0"})
		w.submitTo(p1, get{"noticed"})
		loading.commit(nil)
		w.expect("k0=49, noticed=early")
	})
}

// What was loaded may not be committed: whoever reads it waits.
func TestLoad_AnswersWaitForTheCommit(t *testing.T) {
	inBubble(t, func(w *world) {
		loading := &fakeLog{epoch: 4, maxBytes: 1 << 20, manual: true, batches: [][]coordinator.Record{records("a=1")}}
		w.runtime.Elect(p1, 4, loading)
		synctest.Wait()
		w.submitTo(p1, get{"a"})
		w.expect("")
		loading.commit(nil)
		w.expect("a=1")
	})
}

// Whatever comes between an election and a resignation, a request is answered once.
func TestSubmit_AnsweredOnceInTheStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, runtime.DefaultConfig(4))
		const senders, each = 8, 500
		var answered [senders][each]atomic.Int32
		var sending sync.WaitGroup
		for i := range senders {
			sending.Go(func() {
				for j := range each {
					var body any = put{"a=1"}
					if j%3 == 0 {
						body = park{}
					}
					c := w.runtime.Submit(p0, body, func(any) { answered[i][j].Add(1) })
					if j%5 == 0 {
						c.Cancel()
					}
				}
			})
		}
		for epoch := int32(2); epoch < 200; epoch++ {
			w.log.set(func() { w.log.epoch = epoch })
			w.runtime.Elect(p0, epoch, w.log)
			if epoch%7 == 0 {
				w.log.set(func() { w.log.fail = kafkaerr.KafkaStorageError })
			}
			if epoch%3 == 0 {
				w.runtime.Resign(p0, epoch)
			}
		}
		sending.Wait()
		w.stop()
		for i := range senders {
			for j := range each {
				if n := answered[i][j].Load(); n != 1 {
					t.Fatalf("request %d of sender %d was answered %d times", j, i, n)
				}
			}
		}
	})
}

func TestLoad_FailsAndTriesAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		loading := &fakeLog{epoch: 1, maxBytes: 1 << 20, batches: [][]coordinator.Record{records("a=1")}}
		loading.failRead = kafkaerr.KafkaStorageError
		w.runtime.Elect(p1, 1, loading)
		synctest.Wait()
		w.submitTo(p1, get{"a"})
		w.expect("COORDINATOR_NOT_AVAILABLE")
		loading.set(func() { loading.failRead = kafkaerr.KafkaStorageError })
		w.sleep(time.Second)
		w.submitTo(p1, get{"a"})
		w.expect("COORDINATOR_NOT_AVAILABLE")
		w.sleep(2*time.Second - 1) // the wait doubles
		w.submitTo(p1, get{"a"})
		w.expect("COORDINATOR_NOT_AVAILABLE")
		w.sleep(1)
		w.submitTo(p1, get{"a"})
		w.expect("a=1")
	})
}

func TestLoad_RefusesDamagedRecords(t *testing.T) {
	inBubble(t, func(w *world) {
		loading := &fakeLog{epoch: 1, maxBytes: 1 << 20, batches: [][]coordinator.Record{records("a=1 bad=1")}}
		w.runtime.Elect(p1, 1, loading)
		synctest.Wait()
		w.submitTo(p1, get{"a"})
		w.expect("COORDINATOR_NOT_AVAILABLE")
		w.submit(get{"a"})
		w.expect("a=") // the other partition is fine
	})
}

func TestPanic_TakesOnePartitionOffline(t *testing.T) {
	inBubble(t, func(w *world) {
		other := &fakeLog{epoch: 1, maxBytes: 1 << 20}
		w.runtime.Elect(p1, 1, other)
		w.submit(park{})
		synctest.Wait()
		w.together(put{"a=1"}, boom{}, get{"a"})
		if got := w.answers.take(); strings.Count(got, "COORDINATOR_NOT_AVAILABLE") != 4 {
			t.Errorf("answers %q, want four times COORDINATOR_NOT_AVAILABLE", got)
		}
		w.submitTo(p1, put{"b=1"})
		w.expect("put b=1")
		w.log.set(func() { w.log.epoch = 2 })
		w.runtime.Elect(p0, 2, w.log)
		synctest.Wait()
		w.submit(put{"a=2"})
		w.expect("put a=2")
	})
}

func TestCancel(t *testing.T) {
	inBubble(t, func(w *world) {
		c := w.submit(park{})
		w.expect("")
		c.Cancel()
		w.expect("COORDINATOR_NOT_AVAILABLE")
		c.Cancel()
		w.expect("")
		w.runtime.Resign(p0, 1)
		w.expect("") // the shard had forgotten it
		c.Cancel()
		w.expect("")
	})
}

func TestTick_AtItsDeadline(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(alarm{10 * time.Second})
		synctest.Wait()
		w.submit(alarm{4 * time.Second})
		synctest.Wait()
		w.sleep(4*time.Second - 1)
		w.expect("")
		w.sleep(1)
		w.expect("alarm")
		w.sleep(6*time.Second - 1)
		w.expect("")
		w.sleep(1)
		w.expect("alarm")
	})
}

func TestBatches_KeepTheirSize(t *testing.T) {
	inBubble(t, func(w *world) {
		// Room for four records of 26 bytes, and the overhead.
		w.log.set(func() { w.log.maxBytes = 256 + 4*26 })
		w.together(put{"a=1 b=1 c=1"}, put{"d=1 e=1"}, put{"f=1"})
		w.expect("put a=1 b=1 c=1, put d=1 e=1, put f=1")
		w.expectLog("a=1 b=1 c=1 | d=1 e=1 f=1") // each request whole
		w.log.set(func() { w.log.batches = nil })
		w.together(put{"a=2"}, putAll{"b=2 c=2 d=2 e=2 f=2 g=2"}, put{"h=2"})
		w.expect("put a=2, put b=2 c=2 d=2 e=2 f=2 g=2, put h=2")
		w.expectLog("a=2 | b=2 c=2 d=2 e=2 | f=2 g=2 | h=2")
	})
}

func TestDivided_FailsInTheMiddle(t *testing.T) {
	inBubble(t, func(w *world) {
		w.log.set(func() {
			w.log.maxBytes = 256 + 2*26
			w.log.fail = kafkaerr.KafkaStorageError
		})
		w.submit(putAll{"a=1 b=1 c=1"})
		w.expect("NOT_COORDINATOR")
		w.expectLog("")
		if len(w.undone) != 1 {
			t.Errorf("undone %v, want the one request", w.undone)
		}
		w.submit(get{"c"})
		w.expect("c=")
	})
}

func TestGather_AsksEveryShard(t *testing.T) {
	inBubble(t, func(w *world) {
		other := &fakeLog{epoch: 1, maxBytes: 1 << 20, batches: [][]coordinator.Record{records("a=other")}}
		w.runtime.Elect(p1, 1, other)
		w.submit(put{"a=this"})
		synctest.Wait()
		gather := func(topic string) {
			w.runtime.Gather(topic, get{"a"}, func(responses []any) { w.answers.add(fmt.Sprint(len(responses), responses)) })
		}
		w.answers.take()
		gather("kv")
		if got := w.answers.take(); got != "2 [a=this a=other]" && got != "2 [a=other a=this]" {
			t.Errorf("gathered %s", got)
		}
		gather("unknown")
		w.expect("0 []")
	})
}

// A shard that fails in its last turn holds up nobody: the node ends, and who waits is answered once.
func TestRun_EndsThoughAShardPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, runtime.DefaultConfig(2))
		other := &fakeLog{epoch: 1, maxBytes: 1 << 20}
		w.runtime.Elect(p1, 1, other)
		synctest.Wait()
		w.submit(park{})
		w.submit(curse{})
		w.submitTo(p1, park{})
		w.expect("")
		w.stop()
		if got := w.answers.take(); strings.Count(got, "COORDINATOR_NOT_AVAILABLE") != 2 || strings.Count(got, "unloaded") != 1 {
			t.Errorf("answers %q, want twice COORDINATOR_NOT_AVAILABLE and once unloaded", got)
		}
	})
}

func TestRun_AnswersEveryoneBeforeItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, runtime.DefaultConfig(2))
		w.log.set(func() { w.log.manual = true })
		w.submit(park{})
		w.submit(put{"a=1"})
		w.submit(alarm{time.Hour})
		w.expect("")
		w.stop()
		w.expect("NOT_COORDINATOR, unloaded, NOT_COORDINATOR")
		w.submit(get{"a"})
		w.expect("COORDINATOR_NOT_AVAILABLE")
		w.runtime.Elect(p1, 1, w.log)
		w.submitTo(p1, get{"a"})
		w.expect("COORDINATOR_NOT_AVAILABLE")
	})
}

// What clients bring about is counted in full, and logged within bounds.
func TestEvents(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(gossip{50})
		w.expect("ok")
		w.sleep(time.Second)
		w.submit(gossip{3})
		w.expect("ok")
		if n := w.logged.count("msg=gossip"); n != 23 {
			t.Errorf("%d lines, want 20 of the first second and 3 of the next", n)
		}
		if n := w.logged.count("count=30"); n != 1 {
			t.Errorf("%d lines say that 30 were not logged, want 1", n)
		}
		families, err := w.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "walser_coordinator_events_total" {
				if got := family.GetMetric()[0].GetCounter().GetValue(); got != 53 {
					t.Errorf("%v events are counted, want 53", got)
				}
				return
			}
		}
		t.Error("events are not counted")
	})
}

func TestNew_SaysWhatIsWrong(t *testing.T) {
	_, err := runtime.New(runtime.Config{}, runtime.Deps{})
	for _, name := range []string{"workers", "offsets.commit.timeout.ms", "backoff"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New of a zero config: %v, want word of %s", err, name)
		}
	}
}
