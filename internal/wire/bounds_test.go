package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/wire"
)

// The bound of the package comment: what a frame of n bytes may make the decoder allocate.
func heapBound(n int) int { return 32*n + 64<<10 }

// heapOf returns the bytes that hang off v: capacities of slices, copied strings, pointees. What aliases
// the frame does not count.
func heapOf(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return 0
		}
		return int(v.Type().Elem().Size()) + heapOf(v.Elem())
	case reflect.String:
		return v.Len()
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return 0
		}
		total := v.Cap() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			total += heapOf(v.Index(i))
		}
		return total
	case reflect.Struct:
		total := 0
		for i := range v.NumField() {
			total += heapOf(v.Field(i))
		}
		return total
	default:
		return 0
	}
}

// uvarint returns the varint of v.
func uvarint(v uint64) string { return string(binary.AppendUvarint(nil, v)) }

func TestHostileFrames(t *testing.T) {
	const (
		i16 = "\x00\x01"
		i32 = "\x00\x00\x00\x01"
	)
	tests := []struct {
		name    string
		message codec
		version int16
		frame   string
		want    string // part of the error
	}{
		{"count of 2^31-1", &wire.MetadataRequest{}, 4, "\x7f\xff\xff\xff", "array of length 2147483647 where at most 0"},
		{"count below -1", &wire.MetadataRequest{}, 4, "\xff\xff\xff\xfe", "array of length -2"},
		{"null array before it is nullable", &wire.MetadataRequest{}, 0, "\xff\xff\xff\xff", "null array"},
		{"compact count of 2^32-1", &wire.MetadataRequest{}, 12, uvarint(math.MaxUint32), "array of length 4294967294"},
		{"count that the bytes hold only at size 1", &wire.ProduceRequest{}, 9, "\x00" + i16 + i32 + uvarint(1+10) + strings.Repeat("\x00", 29), "array of length 10 where at most 9"},
		{"count in a nested struct", &wire.ProduceRequest{}, 3, "\xff\xff" + i16 + i32 + i32 + "\x00\x01t" + "\x00\x00\x00\x02" + strings.Repeat("\x00", 11), "array of length 2 where at most 1"},
		{"count of a list of numbers", &wire.OffsetFetchRequest{}, 1, "\x00\x00" + i32 + "\x00\x00" + "\x00\x00\x00\x03" + strings.Repeat("\x00", 11), "array of length 3 where at most 2"},
		{"tag count of 2^32-1", &wire.MetadataRequest{}, 12, "\x00\x00\x00" + uvarint(math.MaxUint32), "list of tagged fields of length 4294967295"},
		{"tag count above half the bytes", &wire.MetadataRequest{}, 12, "\x00\x00\x00\x03" + "\x05\x00\x06\x00\x07", "list of tagged fields of length 3 where at most 2"},
		{"tag longer than the frame", &wire.MetadataRequest{}, 12, "\x00\x00\x00\x01" + "\x05\x02x", "tagged field of length 2 where at most 1"},
		{"known tag with bytes left over", &wire.FetchRequest{}, 12, fetchV12 + "\x01" + "\x00\x03\x02cx", "1 bytes left over in a tagged field"},
		{"known tag that ends early", &wire.FetchRequest{}, 12, fetchV12 + "\x01" + "\x00\x01\x02c", "string of length 1 where at most 0"},
		{"string longer than the frame", &wire.HeartbeatRequest{}, 0, "\x00\x05abcd", "string of length 5 where at most 4"},
		{"string below null", &wire.HeartbeatRequest{}, 0, "\xff\xfeabcd", "string of length -2"},
		{"null for a string that is never null", &wire.HeartbeatRequest{}, 0, "\xff\xff", "null string"},
		{"compact string above 32767", &wire.HeartbeatRequest{}, 4, uvarint(32769) + strings.Repeat("a", 32768), "string of length 32768 where at most 32767"},
		{"varint of 6 bytes", &wire.HeartbeatRequest{}, 4, "\x80\x80\x80\x80\x80\x00", "varint does not end within 5 bytes"},
		{"varint above 32 bits", &wire.HeartbeatRequest{}, 4, "\xff\xff\xff\xff\x1f", "exceeds 32 bits"},
		{"bytes longer than the frame", &wire.SaslAuthenticateRequest{}, 0, "\x7f\xff\xff\xffab", "bytes of length 2147483647 where at most 2"},
		{"nothing at all", &wire.ProduceRequest{}, 3, "", "2 bytes wanted, 0 left"},
		{"version above the last", &wire.ProduceRequest{}, 14, "", "unsupported version: ProduceRequest version 14, known are 3 to 13"},
		{"version below the first", &wire.ProduceRequest{}, 2, "", "unsupported version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := decode(tt.message, []byte(tt.frame), tt.version)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if tt.want != "" && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrUnsupportedVersion) {
				t.Errorf("%v is neither malformed nor of an unsupported version", err)
			}
		})
	}
}

// fetchV12 is a FetchRequest of version 12 up to its tagged fields.
const fetchV12 = "\xff\xff\xff\xff" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x01" + "\x01" + "\x01"

// A tagged field that a later version brings does not decode in an earlier one: it is not unknown, it is wrong.
func TestTagOfLaterVersion(t *testing.T) {
	endpoints, leader := &wire.ProduceResponse{}, &wire.ProduceResponse{}
	wire.Add(&endpoints.NodeEndpoints).NodeID = 1
	wire.Add(&wire.Add(&leader.Responses).PartitionResponses).CurrentLeader.LeaderID = 4
	directory, watermark := &wire.FetchRequest{ReplicaID: -1}, &wire.FetchRequest{ReplicaID: -1}
	wire.Add(&wire.Add(&directory.Topics).Partitions).ReplicaDirectoryID[0] = 1
	wire.Add(&wire.Add(&watermark.Topics).Partitions).HighWatermark = 9
	fetched := &wire.FetchResponse{}
	wire.Add(&fetched.NodeEndpoints).NodeID = 1
	tests := []struct {
		name    string
		message codec
		since   int16
		want    string
	}{
		{"endpoints of a produce response", endpoints, 10, "tagged field 0, which version 9 does not have"},
		{"leader of a produced partition", leader, 10, "tagged field 0, which version 9 does not have"},
		{"directory of a fetched partition", directory, 17, "tagged field 0, which version 16 does not have"},
		{"high watermark of a fetched partition", watermark, 18, "tagged field 1, which version 17 does not have"},
		{"endpoints of a fetch response", fetched, 16, "tagged field 0, which version 15 does not have"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w wire.Writer
			tt.message.Encode(&w, tt.since)
			if w.Err() != nil {
				t.Fatal(w.Err())
			}
			frame := bytes.Clone(w.Bytes())
			if err := decode(tt.message, frame, tt.since); err != nil {
				t.Errorf("version %d: %v", tt.since, err)
			}
			err := decode(tt.message, frame, tt.since-1)
			if !errors.Is(err, wire.ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	replica := strings.TrimPrefix(fetchV12, "\xff\xff\xff\xff") + "\x01" + "\x01\x0d" + strings.Repeat("\x00", 13)
	if err := decode(&wire.FetchRequest{}, []byte(replica), 15); err != nil {
		t.Errorf("replica state in version 15: %v", err)
	}
	if err := decode(&wire.FetchRequest{}, []byte("\xff\xff\xff\xff"+replica), 14); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("replica state in version 14: %v", err)
	}
}

// A frame of the smallest elements there are, by the million: what the decoder allocates stays within the
// bound for every array of every request, and most are refused before they are looked at.
func TestHostileFramesStayInBounds(t *testing.T) {
	size := 4 << 20
	if testing.Short() {
		size = 256 << 10
	}
	for _, k := range wire.Keys() {
		versions, _ := wire.VersionsOf(k)
		for _, version := range []int16{versions.Min, versions.Max} {
			for name, frame := range map[string][]byte{
				"zeros": make([]byte, size),
				"ones":  []byte(strings.Repeat("\x01", size)),
				"topics without names": append([]byte("\x00\x00\x01\x00\x00\x00\x01"+uvarint(uint64(size/3))),
					strings.Repeat("\x01\x01\x00", size/3)...),
				"big count": append([]byte("\x00\x0f\x00\x00"), make([]byte, size)...),
			} {
				m := wire.NewRequest(k)
				var r wire.Reader
				r.Reset(frame)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				m.Decode(&r, version)
				runtime.ReadMemStats(&after)
				// Size classes round up by an eighth at most.
				if got, bound := int(after.TotalAlloc-before.TotalAlloc), heapBound(len(frame))*9/8; got > bound {
					t.Errorf("%v v%d, %s: allocated %d bytes for a frame of %d, bound %d", k, version, name, got, len(frame), bound)
				}
			}
		}
	}
}

// A tag bomb must cost nothing: the count is refused before the loop.
func TestHeaderTagBomb(t *testing.T) {
	frame := "\x00\x03\x00\x0c\x00\x00\x00\x01\xff\xff" + uvarint(math.MaxUint32) + "\x00\x00"
	var (
		r wire.Reader
		h wire.RequestHeader
	)
	r.Reset([]byte(frame))
	h.Decode(&r)
	if !errors.Is(r.Err(), wire.ErrMalformed) {
		t.Errorf("got %v", r.Err())
	}
}

func TestEncoderRefuses(t *testing.T) {
	long := strings.Repeat("x", 32768)
	text := "set"
	null := &wire.MetadataResponse{Topics: []wire.MetadataResponseTopic{{TopicAuthorizedOperations: math.MinInt32}}}
	null.ClusterAuthorizedOperations = math.MinInt32
	tagged := &wire.ProduceResponse{}
	wire.Add(&wire.Add(&tagged.Responses).PartitionResponses).CurrentLeader.LeaderID = 4
	tests := []struct {
		name    string
		message codec
		version int16
		want    string
	}{
		{"null name before it is nullable", null, 11, "MetadataResponseTopic.Name is null, which version 11 does not allow"},
		{"null array before it is nullable", &wire.MetadataRequest{AllowAutoTopicCreation: true}, 0, "MetadataRequest.Topics is null"},
		{"null text before it is nullable", &wire.JoinGroupResponse{}, 6, "JoinGroupResponse.ProtocolName is null"},
		{"string of 32768 bytes", &wire.FindCoordinatorRequest{CoordinatorKey: long}, 0, "string of 32768 bytes"},
		{"string of 32768 bytes in a flexible version", &wire.FindCoordinatorRequest{CoordinatorKey: long}, 3, "string of 32768 bytes"},
		{"name of 32768 bytes", &wire.HeartbeatRequest{GroupID: []byte(long)}, 0, "string of 32768 bytes"},
		{"field of a later version", &wire.HeartbeatRequest{GroupInstanceID: []byte(text)}, 2, "HeartbeatRequest.GroupInstanceID is set, which version 2 cannot carry"},
		{"field of an earlier version", &wire.FindCoordinatorRequest{CoordinatorKey: text}, 4, "FindCoordinatorRequest.CoordinatorKey is set"},
		{"tagged field of a later version", tagged, 9, "PartitionProduceResponse.CurrentLeader is set"},
		{"unknown tags in a version without", &wire.HeartbeatRequest{UnknownTags: wire.Tags{{ID: 1}}}, 3, "tagged fields in a version that has none"},
		{"unknown tag that the version knows", &wire.APIVersionsResponse{FinalizedFeaturesEpoch: 3, UnknownTags: wire.Tags{{ID: 1}}}, 3, "tag 1 stands among the unknown tags"},
		{"version above the last", &wire.HeartbeatRequest{}, 5, "HeartbeatRequest version 5, known are 0 to 4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w wire.Writer
			tt.message.Encode(&w, tt.version)
			if err := w.Err(); err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, wire.ErrUnencodable) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Fields that Kafka calls ignorable are dropped where a version lacks them.
func TestEncoderDropsIgnorable(t *testing.T) {
	var w wire.Writer
	(&wire.HeartbeatResponse{ThrottleTimeMs: 5, ErrorCode: 27}).Encode(&w, 0)
	if got := string(w.Bytes()); got != "\x00\x1b" || w.Err() != nil {
		t.Errorf("%x, %v", got, w.Err())
	}
}
