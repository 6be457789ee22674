package node_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/wire"
)

// Whatever the fields of a request say, no handler panics over them: every key and version with fields drawn from
// values that have a meaning somewhere.
func TestNode_OddRequestsPanicNowhere(t *testing.T) {
	said := &lines{}
	n := nodetest.Start(t, nodetest.Options{Logger: slog.New(slog.NewTextHandler(said, nil)), Set: []string{"offsets.topic.num.partitions=3"}})
	produce(t, n, "t", 0, 10)
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	sent, answered := map[wire.Key]bool{}, map[wire.Key]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	// Those that the machine was too slow for are asked again.
	const served = 28
	for ctx := within(t); rounds > 0 || len(answered) < served && ctx.Err() == nil; rounds-- {
		for _, key := range wire.Keys() {
			versions, _ := wire.VersionsOf(key)
			for version := versions.Min; version <= versions.Max; version++ {
				req := wire.NewRequest(key)
				fill(random, reflect.ValueOf(req).Elem(), 0)
				var w wire.Writer
				wire.EncodeRequest(&w, &wire.RequestHeader{Version: version, CorrelationID: 1}, req)
				if w.Err() != nil {
					continue // the version cannot say that
				}
				conn, err := n.Dial(within(t))
				if err != nil {
					t.Fatal(err)
				}
				sent[key] = true
				if answersTo(conn, w.Bytes()) {
					answered[key] = true
				}
				if text := said.String(); strings.Contains(text, "panicked") || strings.Contains(text, "does not encode") || strings.Contains(text, "offline") {
					t.Fatalf("%v v%d %+v:\n%s", key, version, reflect.ValueOf(req).Elem(), text)
				}
			}
		}
	}
	if len(answered) < served {
		t.Errorf("only %d keys were answered, of %d that were sent", len(answered), len(sent))
	}
	produce(t, n, "afterwards", 0, 10)
	consume(t, n, "afterwards", 10)
}

// answersTo sends a request and waits for its answer, unless it parks, and says whether one came.
func answersTo(conn net.Conn, frame []byte) bool {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := conn.Write(frame); err != nil {
		return false
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return false
	}
	_, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:])))
	return err == nil
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := string(p); strings.Contains(text, "panicked") || strings.Contains(text, "encode") || strings.Contains(text, "offline") {
		l.b.WriteString(text)
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func pick[T any](random *rand.Rand, values ...T) T { return values[random.IntN(len(values))] }

// fill gives every field a value that means something somewhere.
func fill(random *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "UnknownTags" && random.IntN(4) > 0 {
				fill(random, v.Field(i), depth)
			}
		}
	case reflect.Pointer:
		if random.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(random, v.Elem(), depth)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(pick(random, nil, []byte{}, []byte("t"), []byte("__consumer_offsets"), []byte("g"), make([]byte, 61), []byte("0123456789012345")))
			return
		}
		count := pick(random, 0, 1, 1, 2, 3)
		if depth == 0 {
			count = pick(random, 0, 1, 2, 5)
		}
		v.Set(reflect.MakeSlice(v.Type(), count, count))
		for i := range count {
			fill(random, v.Index(i), depth+1)
		}
	case reflect.Array:
		if v.Type() == reflect.TypeFor[model.UUID]() {
			v.Set(reflect.ValueOf(pick(random, model.UUID{}, model.UUID{1}, model.UUID{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})))
		}
	case reflect.String:
		v.SetString(pick(random, "", "t", "g", "new", "__consumer_offsets", "1", "-1", "..", "a b", "retention.ms", "consumer", "range", strings.Repeat("x", 300)))
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 0)
	case reflect.Int8:
		v.SetInt(pick[int64](random, -128, -1, 0, 1, 2, 3, 4, 8, 16, 32, 127))
	case reflect.Int16:
		v.SetInt(pick[int64](random, math.MinInt16, -1, 0, 1, 2, 3, math.MaxInt16))
	case reflect.Int32:
		v.SetInt(pick[int64](random, math.MinInt32, -2, -1, 0, 0, 0, 1, 1, 2, 5, 1000, 10_000, math.MaxInt32))
	case reflect.Int64:
		v.SetInt(pick[int64](random, math.MinInt64, -6, -5, -4, -3, -2, -1, 0, 1, 5, 10, 11, 1_000_000, math.MaxInt64))
	case reflect.Float64:
		v.SetFloat(pick(random, 0, -1, math.NaN(), math.Inf(1)))
	}
}
