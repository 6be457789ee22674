package replica_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/replica"
)

// packed returns a batch of one record of zeros.
func packed(t *testing.T, codec record.Codec, bytes int) record.Batch {
	t.Helper()
	b := record.NewBuilder(record.BuilderOptions{Codec: codec})
	b.Append(1, nil, make([]byte, bytes), nil)
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func anyTime() record.Rules {
	return record.Rules{TimestampBeforeMaxMs: 1 << 62, TimestampAfterMaxMs: 1 << 62}
}

func TestValidator_BatchesThatInflateFarTakeTurns(t *testing.T) {
	for _, codec := range []record.Codec{record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := replica.NewValidator()
				done := v.Occupy()
				producer := &replica.Append{Timeout: time.Minute}
				if verdict, err := v.Validate(producer, packed(t, codec, 1<<20), anyTime()); err != nil || verdict.InflatedBytes < 1<<20 {
					t.Errorf("a batch of 1 MiB beside one that inflates far: %+v, %v", verdict, err)
				}
				validated := make(chan record.Verdict)
				go func() {
					verdict, err := v.Validate(producer, packed(t, codec, 20<<20), anyTime())
					if err != nil {
						t.Errorf("a batch that inflates to 20 MiB: %v", err)
					}
					validated <- verdict
				}()
				synctest.Wait()
				select {
				case <-validated:
					t.Error("two batches that inflate far were validated at a time")
				default:
				}
				done()
				if verdict := <-validated; verdict.InflatedBytes < 20<<20 || verdict.OverLimits {
					t.Errorf("a batch that inflates to 20 MiB: %+v", verdict)
				}
			})
		})
	}
}

func TestValidator_WaitsNoLongerThanTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := replica.NewValidator()
		defer v.Occupy()()
		far := packed(t, record.Zstd, 20<<20)
		began := time.Now()
		ended := make(chan error)
		for range replica.HeavyWaiters {
			go func() {
				_, err := v.Validate(&replica.Append{Timeout: 3 * time.Second}, far, anyTime())
				ended <- err
			}()
		}
		synctest.Wait()
		if _, err := v.Validate(&replica.Append{Timeout: time.Hour}, far, anyTime()); !errors.Is(err, kafkaerr.RequestTimedOut) {
			t.Errorf("one more than may wait: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it was told after %v", took)
		}
		for range replica.HeavyWaiters {
			if err := <-ended; !errors.Is(err, kafkaerr.RequestTimedOut) {
				t.Errorf("one that waited too long: %v", err)
			}
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("they waited %v, want 3s", took)
		}
	})
}

func TestValidator_DoesNothingForAProducerThatHasGone(t *testing.T) {
	v := replica.NewValidator()
	gone := &replica.Append{Timeout: time.Minute, Abandoned: func() bool { return true }}
	if _, err := v.Validate(gone, packed(t, record.Zstd, 20<<20), anyTime()); !errors.Is(err, kafkaerr.RequestTimedOut) {
		t.Errorf("validated for nobody: %v", err)
	}
	if _, err := v.Validate(gone, packed(t, record.Zstd, 1<<20), anyTime()); err != nil {
		t.Errorf("a batch of ordinary size is not worth asking for: %v", err)
	}
}
