package wire_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/walser-io/walser/internal/wire"
)

// file is a Region of so many bytes.
type file int

func (f file) Size() int { return int(f) }

// A fetch response with data of every kind: small data is copied, large data and files are pieces, and
// the sizes in the frame count them all.
func TestFetchResponsePieces(t *testing.T) {
	small := bytes.Repeat([]byte{'s'}, 32<<10-1)
	large := bytes.Repeat([]byte{'l'}, 32<<10)
	m := wire.NewResponse(wire.KeyFetch).(*wire.FetchResponse)
	topic := wire.Add(&m.Responses)
	for _, records := range []wire.Records{{}, {Bytes: []byte{}}, {Bytes: small}, {Bytes: large}, {Region: file(7)}, {Region: file(0)}, {Region: file(1 << 20)}, {Bytes: large}} {
		wire.Add(&topic.Partitions).Records = records
	}
	for version := int16(4); version <= 18; version++ {
		var w wire.Writer
		wire.EncodeResponse(&w, m, version, 11)
		if w.Err() != nil {
			t.Fatal(w.Err())
		}
		pieces := w.Pieces(nil)
		var kinds []string
		var whole []byte
		for i, p := range pieces {
			switch {
			case p.Region != nil && p.Bytes != nil:
				t.Errorf("v%d: piece %d is both memory and file", version, i)
			case p.Region != nil:
				kinds = append(kinds, "file")
				whole = append(whole, make([]byte, p.Region.Size())...)
			case len(p.Bytes) == len(large) && &p.Bytes[0] == &large[0]:
				kinds = append(kinds, "large")
				whole = append(whole, p.Bytes...)
			default:
				kinds = append(kinds, "buffer")
				whole = append(whole, p.Bytes...)
			}
		}
		want := []string{"buffer", "large", "buffer", "file", "buffer", "file", "buffer", "large"}
		if version >= 12 {
			want = append(want, "buffer") // tags
		}
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("v%d: pieces (-want +got)\n%s", version, diff)
		}
		if len(whole) != w.Size() || w.Bytes() != nil {
			t.Errorf("v%d: %d bytes in pieces, Size %d, Bytes %d", version, len(whole), w.Size(), len(w.Bytes()))
		}
		// The pieces in a row are the message.
		var r wire.Reader
		r.Reset(whole)
		if size := r.Int32(); int(size) != len(whole)-4 {
			t.Errorf("v%d: frame size %d of %d bytes", version, size, len(whole))
		}
		wire.DecodeResponseHeader(&r, wire.KeyFetch, version)
		var got wire.FetchResponse
		got.Decode(&r, version)
		if r.Err() != nil || r.Remaining() > 0 {
			t.Fatalf("v%d: %v, %d left", version, r.Err(), r.Remaining())
		}
		var sizes []int
		for _, p := range got.Responses[0].Partitions {
			sizes = append(sizes, p.Records.Size())
		}
		if !slices.Equal(sizes, []int{0, 0, len(small), len(large), 7, 0, 1 << 20, len(large)}) {
			t.Errorf("v%d: records of %v bytes", version, sizes)
		}
		if p := got.Responses[0].Partitions; !p[0].Records.Nil() || p[1].Records.Nil() || p[5].Records.Nil() {
			t.Errorf("v%d: null and empty are mixed up", version)
		}
	}
}

// Bytes joins what was cut out of memory, and a Writer is as new after Reset.
func TestWriterBytesJoinsAndResets(t *testing.T) {
	m := wire.NewResponse(wire.KeyFetch).(*wire.FetchResponse)
	wire.Add(&wire.Add(&m.Responses).Partitions).Records.Bytes = bytes.Repeat([]byte{'l'}, 100<<10)
	var w wire.Writer
	m.Encode(&w, 12)
	first := bytes.Clone(w.Bytes())
	if err := decode(new(wire.FetchResponse), first, 12); err != nil {
		t.Fatal(err)
	}
	w.Reset()
	if w.Size() != 0 || len(w.Pieces(nil)) != 0 || len(w.Bytes()) != 0 {
		t.Errorf("something is left after Reset")
	}
	m.Encode(&w, 3)
	if w.Err() == nil {
		t.Fatal("version 3 encodes")
	}
	w.Reset()
	m.Encode(&w, 12)
	if w.Err() != nil || !bytes.Equal(w.Bytes(), first) {
		t.Errorf("not the same after Reset: %v", w.Err())
	}
}

// The size of a tagged field is written after its content: one byte is held free, more are made.
func TestTaggedFieldSizes(t *testing.T) {
	for _, size := range []int{0, 1, 120, 124, 125, 126, 127, 128, 16380, 32767} {
		m := &wire.FetchRequest{ClusterID: bytes.Repeat([]byte{'c'}, size), MaxBytes: 1, UnknownTags: wire.Tags{{ID: 9, Data: []byte("after")}}}
		var w wire.Writer
		m.Encode(&w, 12)
		var got wire.FetchRequest
		if err := decode(&got, w.Bytes(), 12); err != nil || !bytes.Equal(got.ClusterID, m.ClusterID) || string(got.UnknownTags[0].Data) != "after" {
			t.Errorf("size %d: %v, %d bytes, %v", size, err, len(got.ClusterID), got.UnknownTags)
		}
	}
}

// Unknown tagged fields keep their place between the known ones.
func TestUnknownTagsKeepOrder(t *testing.T) {
	m := &wire.APIVersionsResponse{UnknownTags: wire.Tags{{ID: 4}, {ID: 7, Data: []byte("x")}}}
	m.FinalizedFeaturesEpoch = 5
	m.ZkMigrationReady = true
	var w wire.Writer
	m.Encode(&w, 3)
	want := "\x00\x00" + "\x01" + "\x00\x00\x00\x00" + "\x04" + // error, no keys, throttle, four tags
		"\x01\x08\x00\x00\x00\x00\x00\x00\x00\x05" + "\x03\x01\x01" + "\x04\x00" + "\x07\x01x"
	if got := string(w.Bytes()); got != want {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
}

// Add gives elements their presets and keeps what their slices have room for.
func TestAdd(t *testing.T) {
	var m wire.FetchResponse
	p := wire.Add(&wire.Add(&m.Responses).Partitions)
	if p.CurrentLeader.LeaderID != -1 || p.LogStartOffset != -1 || p.PreferredReadReplica != -1 {
		t.Errorf("not at its presets: %+v", p)
	}
	p.HighWatermark = 5
	m.Reset()
	again := wire.Add(&wire.Add(&m.Responses).Partitions)
	if again != p || again.HighWatermark != 0 {
		t.Errorf("room was not reused, or not reset: %+v", again)
	}
}
