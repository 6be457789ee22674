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
	for _, queue := range []struct {
		name   string
		occupy func(replica.Validator) func()
		size   int // of what waits there
		beside int // of what does not
	}{
		{"large", replica.Validator.OccupyLarge, 4 << 20, 1 << 20},
		{"boundless", replica.Validator.OccupyBoundless, 20 << 20, 4 << 20},
	} {
		for _, codec := range []record.Codec{record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
			t.Run(queue.name+"/"+codec.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := replica.NewValidator()
					done := queue.occupy(v)
					producer := &replica.Append{Timeout: time.Minute}
					if verdict, err := v.Validate(producer, packed(t, codec, queue.beside), anyTime()); err != nil || verdict.InflatedBytes < int64(queue.beside) {
						t.Errorf("a batch of %d bytes beside one that inflates farther: %+v, %v", queue.beside, verdict, err)
					}
					validated := make(chan record.Verdict)
					go func() {
						verdict, err := v.Validate(producer, packed(t, codec, queue.size), anyTime())
						if err != nil {
							t.Errorf("a batch that inflates to %d bytes: %v", queue.size, err)
						}
						validated <- verdict
					}()
					synctest.Wait()
					select {
					case <-validated:
						t.Error("it did not wait for its turn")
					default:
					}
					done()
					if verdict := <-validated; verdict.InflatedBytes < int64(queue.size) || verdict.OverLimits {
						t.Errorf("a batch that inflates to %d bytes: %+v", queue.size, verdict)
					}
				})
			})
		}
	}
}

func TestValidator_WaitsNoLongerThanTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := replica.NewValidator()
		defer v.OccupyBoundless()()
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
