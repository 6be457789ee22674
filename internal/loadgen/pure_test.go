package loadgen

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func TestSchedule_DueCountsWhatIsDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Schedule{Rate: rapid.IntRange(1, maxRate).Draw(t, "rate")}
		i := rapid.Int64Range(0, int64(s.Rate)*3600).Draw(t, "record")
		at := s.At(i)
		if got := s.Due(at); got <= i {
			t.Fatalf("record %d is due at %v, by then Due counts %d", i, at, got)
		}
		if got := s.Due(at - 1); got > i {
			t.Fatalf("record %d is due at %v, but Due counts %d before", i, at, got)
		}
		if at < time.Duration(i)*time.Second/time.Duration(s.Rate+1) {
			t.Fatalf("record %d is due at %v: too early for %d a second", i, at, s.Rate)
		}
	})
}

func TestSchedule_RateHolds(t *testing.T) {
	for _, rate := range []int{1, 3, 1000, 20_000, 333_333, maxRate} {
		if got, want := (Schedule{Rate: rate}).Due(time.Hour-1), int64(rate)*3600; got != want {
			t.Errorf("at %d a second, %d records are due in an hour, want %d", rate, got, want)
		}
	}
	if got := (Schedule{Rate: 10}).Due(-1); got != 0 {
		t.Errorf("%d records are due before the start", got)
	}
}

// The bytes of a seed are part of what a published figure means: they must not change with a release.
func TestPayloads_OfASeedStayTheSame(t *testing.T) {
	digest := func(seed uint64) string {
		sum := sha256.New()
		p := NewPayloads(seed, 100, 0.5)
		for i := range int64(1000) {
			sum.Write(p.At(i))
		}
		return hex.EncodeToString(sum.Sum(nil))[:16]
	}
	if got, want := digest(1), "d8816da9968d458f"; got != want {
		t.Errorf("seed 1 makes other bytes: digest %s, want %s", got, want)
	}
	if digest(1) == digest(2) {
		t.Error("two seeds make the same bytes")
	}
}

func TestPayloads_CompressByTheirRedundancy(t *testing.T) {
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	for _, redundancy := range []float64{0, 0.25, 0.5, 0.9} {
		p := NewPayloads(7, 1024, redundancy)
		var batch []byte
		for i := range int64(1024) { // a batch of a MiB
			batch = append(batch, p.At(i)...)
		}
		left := float64(len(encoder.EncodeAll(batch, nil))) / float64(len(batch))
		if want := 1 - redundancy; left < want-0.01 || left > want+0.03 {
			t.Errorf("redundancy %v: zstd leaves %.3f, want about %.2f", redundancy, left, want)
		}
	}
}

func TestPayloads_Numbered(t *testing.T) {
	p := NewPayloads(1, 100, 0)
	before := slices.Clone(p.At(41))
	value := p.Numbered(41)
	if n, ok := number(value); !ok || n != 41 || len(value) != 100 {
		t.Errorf("a value of %d bytes carries number %d, %v", len(value), n, ok)
	}
	if !bytes.Equal(p.At(41), before) {
		t.Error("numbering a record wrote to the shared values")
	}
	if !bytes.Equal(value[8:], before[8:]) {
		t.Error("a numbered value is not the record's own")
	}
	if _, ok := number(value[:7]); ok {
		t.Error("seven bytes carry a number")
	}
}

func TestLatency_QuantilesAreThoseOfTheSorted(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	latency := NewLatency()
	var all []time.Duration
	for range 200_000 {
		d := time.Duration(float64(time.Millisecond) * (0.2 + rng.ExpFloat64()))
		all = append(all, d)
		latency.Record(d)
	}
	slices.Sort(all)
	q := latency.Quantiles()
	if q.Count != int64(len(all)) {
		t.Errorf("counted %d of %d", q.Count, len(all))
	}
	for _, tc := range []struct {
		name string
		got  time.Duration
		want time.Duration
	}{
		{"p50", q.P50, all[len(all)/2-1]},
		{"p99", q.P99, all[len(all)*99/100-1]},
		{"p99.9", q.P999, all[len(all)*999/1000-1]},
		{"max", q.Max, all[len(all)-1]},
	} {
		if off := (tc.got - tc.want).Abs(); off > tc.want/500 {
			t.Errorf("%s is %v, of the sorted values %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestLatency_WhatLiesOutsideCounts(t *testing.T) {
	latency := NewLatency()
	latency.Record(-time.Second)
	latency.Record(time.Hour)
	if q := latency.Quantiles(); q.Count != 2 || q.P50 > 2*shortest || q.Max < longest {
		t.Errorf("got %+v", q)
	}
}

func TestLoad_ValidateListsEveryFault(t *testing.T) {
	err := (&Load{Redundancy: 2, Acks: "0", Linger: -1, Codec: "brotli", Rate: -1, PerRequest: 1, Consumers: -1}).Validate()
	if err == nil {
		t.Fatal("nothing is wrong with it")
	}
	for _, field := range []string{
		"Topic", "Partitions", "RecordBytes", "Redundancy", "Producers", "Acks", "InFlight", "Linger", "BatchBytes",
		"Codec", "Rate", "PerRequest", "Consumers",
	} {
		if !strings.Contains(err.Error(), field+" is ") {
			t.Errorf("no word on %s in:\n%v", field, err)
		}
	}
	load := testLoad()
	if err := load.Validate(); err != nil {
		t.Errorf("a good load: %v", err)
	}
	load.Acks = "1"
	if err := load.Validate(); err == nil {
		t.Error("an idempotent producer with acks=1 was accepted")
	}
	load = testLoad()
	load.BatchBytes = 100<<20 + 1
	if err := load.Validate(); err == nil {
		t.Error("a batch that the client does not send was accepted")
	}
	load = testLoad()
	load.InFlight = 1
	if err := load.Validate(); err == nil {
		t.Error("an idempotent producer with one request in flight was accepted: the client would ignore it")
	}
}

func TestNumbers_TakesEachOnce(t *testing.T) {
	seen := newNumbers(3)
	for _, n := range []int64{2, 0} {
		if err := seen.add(n); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []int64{2, 3, -1} {
		if seen.add(n) == nil {
			t.Errorf("took %d", n)
		}
	}
	if seen.missing != 1 {
		t.Errorf("%d are missing, want 1", seen.missing)
	}
}

func TestReader_SeesGapsAndRepeats(t *testing.T) {
	r := newReader([]int64{0, 5})
	for _, record := range []kgo.Record{{Partition: 0, Offset: 0}, {Partition: 1, Offset: 5}, {Partition: 0, Offset: 1}} {
		if err := r.follows(&record); err != nil {
			t.Error(err)
		}
	}
	for _, record := range []kgo.Record{{Partition: 0, Offset: 1}, {Partition: 1, Offset: 7}} {
		if r.follows(&record) == nil {
			t.Errorf("took offset %d of partition %d", record.Offset, record.Partition)
		}
	}
}

// On a busy machine the run that waits for a milestone may be woken when the load is over: it lies where it was counted.
func TestProduction_MilestonesLieWhereTheyAreCounted(t *testing.T) {
	p := &production{}
	var at []int64
	note := func() { at = append(at, p.acknowledged.Load()) }
	quarter, all := newMilestone(25, note), newMilestone(100, note)
	quarter.next = all
	p.awaited.Store(quarter)
	for range 120 { // and nobody waits
		p.count(1)
	}
	if !slices.Equal(at, []int64{25, 100}) {
		t.Errorf("milestones at 25 and 100 were reached at %d", at)
	}
}
