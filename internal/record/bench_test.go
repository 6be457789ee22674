package record_test

import (
	"fmt"
	"testing"

	"github.com/walser-io/walser/internal/record"
)

// benchBatch is about a MiB of records with values of the given size, half of whose bytes are random.
func benchBatch(b testing.TB, codec record.Codec, valueSize int) record.Batch {
	recs, _ := plainRecords(b, (1<<20)/(valueSize+10), valueSize)
	for i := range recs {
		recs[i].TS = now + int64(i/1000)
	}
	return build(b, record.BuilderOptions{Codec: codec, ProducerID: 1}, recs...)
}

// BenchmarkValidate: 0 allocs/op is the budget for every codec once a Scratch is warm. MB/s is of inflated records.
func BenchmarkValidate(b *testing.B) {
	for _, codec := range codecs {
		for _, size := range []int{100, 1024} {
			b.Run(fmt.Sprintf("%v/%d", codec, size), func(b *testing.B) {
				batch := benchBatch(b, codec, size)
				s := record.NewScratch(record.Limits{})
				r := rules(func(r *record.Rules) { r.MaxMessageBytes = 0 })
				v, err := record.Validate(batch, r, s)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(v.InflatedBytes)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := record.Validate(batch, r, s); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(batch.Count())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
			})
		}
	}
}

// BenchmarkValidateKgoLZ4: kgo's frames carry a content checksum, which we verify.
func BenchmarkValidateKgoLZ4(b *testing.B) {
	recs, plain := plainRecords(b, 1000, 1024)
	packed, err := kgoCompress(record.LZ4, plain)
	if err != nil {
		b.Fatal(err)
	}
	batch := rawBatch(b, record.LZ4, int32(len(recs)), packed)
	s := record.NewScratch(record.Limits{})
	r := rules(func(r *record.Rules) { r.MaxMessageBytes = 0 })
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.Validate(batch, r, s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkValidateOne: a batch of one record, what a request of 64 partitions holds 64 times.
func BenchmarkValidateOne(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			batch := build(b, record.BuilderOptions{Codec: codec}, rec{TS: now, Value: make([]byte, 100)})
			s := record.NewScratch(record.Limits{})
			r := rules()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.Validate(batch, r, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkIterate(b *testing.B) {
	for _, codec := range []record.Codec{record.None, record.LZ4} {
		for _, size := range []int{100, 1024} {
			b.Run(fmt.Sprintf("%v/%d", codec, size), func(b *testing.B) {
				batch := benchBatch(b, codec, size)
				s := record.NewScratch(record.Limits{})
				b.SetBytes(1 << 20)
				b.ReportAllocs()
				for b.Loop() {
					it := batch.Records(s)
					for _, ok := it.Next(); ok; _, ok = it.Next() {
					}
					if it.Err() != nil {
						b.Fatal(it.Err())
					}
				}
				b.ReportMetric(float64(batch.Count())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			recs, plain := plainRecords(b, 1000, 1024)
			s := record.NewScratch(record.Limits{})
			bl := record.NewBuilder(record.BuilderOptions{})
			var dst []byte
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				bl.Reset(record.BuilderOptions{Codec: codec, Scratch: s})
				for i := range recs {
					bl.Append(recs[i].TS, recs[i].Key, recs[i].Value, nil)
				}
				out, err := bl.Build(dst[:0])
				if err != nil {
					b.Fatal(err)
				}
				dst = out
			}
		})
	}
}

func BenchmarkCheckCRC(b *testing.B) {
	batch := benchBatch(b, record.None, 1024)
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if !batch.CheckCRC() {
			b.Fatal("checksum")
		}
	}
}
