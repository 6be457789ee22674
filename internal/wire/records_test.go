package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/wire"
)

// dataStructs are the structs that are neither request nor response. In kmsg the int16 that precedes them
// belongs to them: the record type of a key, the version of everything else.
var dataStructs = []struct {
	ours    func() codec
	theirs  func() kmsgData
	prefix  int16 // of a key; -1 for the version
	highest int16
}{
	{func() codec { return new(wire.OffsetCommitKey) }, func() kmsgData { return new(kmsg.OffsetCommitKey) }, 1, 0},
	{func() codec { return new(wire.OffsetCommitValue) }, func() kmsgData { return new(kmsg.OffsetCommitValue) }, -1, 4},
	{func() codec { return new(wire.GroupMetadataKey) }, func() kmsgData { return new(kmsg.GroupMetadataKey) }, 2, 0},
	{func() codec { return new(wire.GroupMetadataValue) }, func() kmsgData { return new(kmsg.GroupMetadataValue) }, -1, 4},
	{func() codec { return new(wire.ConsumerProtocolSubscription) }, func() kmsgData { return new(kmsg.ConsumerMemberMetadata) }, -1, 3},
	{func() codec { return new(wire.ConsumerProtocolAssignment) }, func() kmsgData { return new(kmsg.ConsumerMemberAssignment) }, -1, 3},
}

type kmsgData interface {
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
}

func TestDataStructsAgainstKmsg(t *testing.T) {
	for _, s := range dataStructs {
		for version := range s.highest + 1 {
			t.Run(fmt.Sprintf("%s/v%d", reflect.TypeOf(s.ours()).Elem().Name(), version), func(t *testing.T) {
				prefix := version
				if s.prefix >= 0 {
					prefix = s.prefix
				}
				for seed := range uint64(300) {
					ours := s.ours()
					newFiller(seed).fill(reflect.ValueOf(ours).Elem())
					want := binary.BigEndian.AppendUint16(nil, uint16(prefix))
					want = append(want, encode(t, ours, version)...)
					theirs := s.theirs()
					if err := theirs.ReadFrom(want); err != nil {
						t.Fatalf("seed %d: kmsg: %v\n%x", seed, err, want)
					}
					if got := theirs.AppendTo(nil); !bytes.Equal(got, want) {
						t.Fatalf("seed %d\nours %x\nkmsg %x", seed, want, got)
					}

					newFiller(seed).fill(reflect.ValueOf(theirs).Elem())
					reflect.ValueOf(theirs).Elem().FieldByName("Version").SetInt(int64(prefix))
					want = theirs.AppendTo(nil)
					if err := decode(ours, want[2:], version); err != nil {
						t.Fatalf("seed %d: %v\n%x", seed, err, want)
					}
					if got := encode(t, ours, version); !bytes.Equal(got, want[2:]) {
						t.Fatalf("seed %d\nkmsg %x\nours %x", seed, want[2:], got)
					}
				}
			})
		}
	}
}
