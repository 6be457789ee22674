package wire_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/wire"
)

// kmsg is the oracle of this package: another implementation of the same protocol. Where the two differ
// on purpose:
//
//   - kmsg does not know InitProducerId version 6, which Kafka marks unstable.
//   - kmsg overlooks bytes after a message or a tagged field, takes null for empty where null is not
//     allowed, and reads versions above the known ones. Ours are errors.
//   - kmsg sorts unknown tagged fields and keeps the last of equal ids. Ours keep them as they came.
//   - kmsg writes null for nil record data in ShareFetchResponse, where Kafka's own reader refuses it.
//   - kmsg writes and reads known tagged fields in versions that lack them. Ours are errors, as in Kafka.
//   - kmsg writes any string, cutting its length to 16 bits; ours refuses more than 32767 bytes.
//   - kmsg spins on hostile counts. It only ever sees bytes that our encoder wrote.
func knownToKmsg(k wire.Key, version int16) bool {
	return k != wire.KeyInitProducerID || version < 6
}

type kmsgMessage interface {
	Key() int16
	MaxVersion() int16
	SetVersion(int16)
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
}

// pair is one of our messages with its like in kmsg.
type pair struct {
	name    string
	version int16
	ours    func() codec
	theirs  func() kmsgMessage
}

func pairs(t testing.TB) []pair {
	var all []pair
	for _, k := range wire.Keys() {
		versions, _ := wire.VersionsOf(k)
		for version := versions.Min; version <= versions.Max; version++ {
			if !knownToKmsg(k, version) {
				continue
			}
			request := func() kmsgMessage {
				m := kmsg.RequestForKey(int16(k))
				m.SetVersion(version)
				return m
			}
			response := func() kmsgMessage {
				m := kmsg.ResponseForKey(int16(k))
				m.SetVersion(version)
				return m
			}
			if kmsg.RequestForKey(int16(k)) == nil || request().MaxVersion() < version {
				t.Errorf("kmsg does not have %v version %d", k, version)
				continue
			}
			all = append(all,
				pair{fmt.Sprintf("%vRequest/v%d", k, version), version, func() codec { return wire.NewRequest(k) }, request},
				pair{fmt.Sprintf("%vResponse/v%d", k, version), version, func() codec { return wire.NewResponse(k) }, response})
		}
	}
	return all
}

const rounds = 60

// Random messages of ours: encode, decode and encode by kmsg, and the bytes are the same.
func TestKmsgReadsOurs(t *testing.T) {
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			for seed := range uint64(rounds) {
				ours := p.ours()
				newFiller(seed).fill(reflect.ValueOf(ours).Elem())
				want := encode(t, ours, p.version)
				theirs := p.theirs()
				if err := theirs.ReadFrom(bytes.Clone(want)); err != nil {
					t.Fatalf("seed %d: kmsg: %v\n%+v\n%x", seed, err, ours, want)
				}
				if got := theirs.AppendTo(nil); !bytes.Equal(got, want) {
					t.Fatalf("seed %d\nours %x\nkmsg %x\n%+v\n%+v", seed, want, got, ours, theirs)
				}
				checkIdentity(t, p, want)
			}
		})
	}
}

// Random messages of kmsg: encode, decode and encode by us, and the bytes are the same.
func TestOursReadsKmsg(t *testing.T) {
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			reused := p.ours()
			for seed := range uint64(rounds) {
				theirs := p.theirs()
				newFiller(seed).fill(reflect.ValueOf(theirs).Elem())
				theirs.SetVersion(p.version)
				settle(reflect.ValueOf(theirs), func(v reflect.Value) { toKafka(v.Addr().Interface(), p.version) })
				want := theirs.AppendTo(nil)
				checkIdentity(t, p, want)
				// Into a message that holds what an earlier one left behind, nothing of which may show.
				if err := decode(reused, want, p.version); err != nil {
					t.Fatalf("seed %d, reused: %v\n%x", seed, err, want)
				}
				if got := encode(t, reused, p.version); !bytes.Equal(got, want) {
					t.Fatalf("seed %d, reused\nkmsg %x\nours %x", seed, want, got)
				}
			}
		})
	}
}

// toKafka changes what kmsg would write and Kafka refuses to read.
func toKafka(part any, version int16) {
	switch v := part.(type) {
	case *kmsg.ShareFetchResponseTopicPartition:
		if v.Records == nil {
			v.Records = []byte{}
		}
	case *kmsg.ProduceResponse:
		if version < 10 {
			v.Brokers = nil
		}
	case *kmsg.ProduceResponseTopicPartition:
		if version < 10 {
			v.CurrentLeader = kmsg.NewProduceResponseTopicPartitionCurrentLeader()
		}
	case *kmsg.FetchRequest:
		if version < 15 {
			v.ReplicaState = kmsg.NewFetchRequestReplicaState()
		}
	case *kmsg.FetchRequestTopicPartition:
		if version < 17 {
			v.ReplicaDirectoryID = [16]byte{}
		}
		if version < 18 {
			v.HighWatermark = math.MaxInt64
		}
	case *kmsg.FetchResponse:
		if version < 16 {
			v.Brokers = nil
		}
	}
}

// checkIdentity decodes want into a fresh message of ours and expects to encode it to the same bytes.
func checkIdentity(t *testing.T, p pair, want []byte) {
	t.Helper()
	ours := p.ours()
	if err := decode(ours, want, p.version); err != nil {
		t.Fatalf("decode: %v\n%x", err, want)
	}
	var w wire.Writer
	ours.Encode(&w, p.version)
	if w.Err() != nil || !bytes.Equal(w.Bytes(), want) {
		t.Fatalf("want %x\n got %x (%v)\n%+v", want, w.Bytes(), w.Err(), ours)
	}
}
