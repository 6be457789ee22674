package wire_test

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/walser-io/walser/internal/wire"
)

// FuzzRequest: key and version, then the body of a request.
//
//fuzz:decoder wire/zz_.*:[A-Za-z]*Request:.*[)] [dD]ecode[(]
func FuzzRequest(f *testing.F) {
	fuzzMessage(f, func(k wire.Key) codec { return wire.NewRequest(k) }, "Request")
}

// FuzzResponse: key and version, then the body of a response.
//
//fuzz:decoder wire/zz_.*:[A-Za-z]*Response:.*[)] [dD]ecode[(]
func FuzzResponse(f *testing.F) {
	fuzzMessage(f, func(k wire.Key) codec { return wire.NewResponse(k) }, "Response")
}

type fuzzSeed struct {
	key     wire.Key
	version int16
	body    []byte
}

// fuzzSeeds returns messages of every key and version, encoded; a few of each, as a random one lacks some parts.
func fuzzSeeds(t testing.TB, create func(wire.Key) codec) (all []fuzzSeed) {
	t.Helper()
	for _, k := range wire.Keys() {
		versions, _ := wire.VersionsOf(k)
		for version := versions.Min; version <= versions.Max; version++ {
			for i := range uint64(3) {
				m := create(k)
				newFiller(uint64(version) + 100*i).fill(reflect.ValueOf(m).Elem())
				all = append(all, fuzzSeed{k, version, bytes.Clone(encode(t, m, version))})
			}
		}
	}
	return all
}

// Every key is seeded at every version, with bodies that decode.
func TestFuzzSeeds(t *testing.T) {
	for name, create := range map[string]func(wire.Key) codec{
		"requests":  func(k wire.Key) codec { return wire.NewRequest(k) },
		"responses": func(k wire.Key) codec { return wire.NewResponse(k) },
	} {
		t.Run(name, func(t *testing.T) {
			seeded := map[string]int{}
			for _, seed := range fuzzSeeds(t, create) {
				if err := decode(create(seed.key), seed.body, seed.version); err != nil {
					t.Errorf("%v v%d: %v", seed.key, seed.version, err)
				}
				seeded[fmt.Sprintf("%v v%d", seed.key, seed.version)]++
			}
			want := 0
			for _, k := range wire.Keys() {
				versions, _ := wire.VersionsOf(k)
				for version := versions.Min; version <= versions.Max; version++ {
					want++
					if name := fmt.Sprintf("%v v%d", k, version); seeded[name] == 0 {
						t.Errorf("%s has no seed", name)
					}
				}
			}
			if len(seeded) != want {
				t.Errorf("%d keys and versions are seeded, there are %d", len(seeded), want)
			}
		})
	}
}

func fuzzMessage(f *testing.F, create func(wire.Key) codec, kind string) {
	oracles := map[string]func() kmsgMessage{}
	for _, p := range pairs(f) {
		oracles[p.name] = p.theirs
	}
	for _, seed := range fuzzSeeds(f, create) {
		f.Add(int16(seed.key), seed.version, seed.body)
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		// Any number picks a key and a version of it, so that no input is wasted.
		keys := wire.Keys()
		k := wire.Key(key)
		versions, ok := wire.VersionsOf(k)
		if !ok {
			k = keys[int(uint16(key))%len(keys)]
			versions, _ = wire.VersionsOf(k)
		}
		if !versions.Contains(version) {
			version = versions.Min + int16(uint16(version)%uint16(versions.Max-versions.Min+1))
		}
		m := create(k)
		var r wire.Reader
		r.Reset(body)
		m.Decode(&r, version)
		if heap := heapOf(reflect.ValueOf(m).Elem()); heap > heapBound(len(body)) {
			t.Fatalf("%v v%d: %d bytes of heap for a frame of %d", k, version, heap, len(body))
		}
		if r.Err() != nil {
			return
		}
		// What was decoded encodes, and decodes to the same again.
		var w wire.Writer
		m.Encode(&w, version)
		if w.Err() != nil {
			t.Fatalf("%v v%d: decoded but does not encode: %v", k, version, w.Err())
		}
		encoded := bytes.Clone(w.Bytes())
		again := create(k)
		if err := decode(again, encoded, version); err != nil {
			t.Fatalf("%v v%d: encoded but does not decode: %v\n%x", k, version, err, encoded)
		}
		w.Reset()
		again.Encode(&w, version)
		if !bytes.Equal(w.Bytes(), encoded) {
			t.Fatalf("%v v%d: not the same again\n%x\n%x", k, version, encoded, w.Bytes())
		}
		// kmsg agrees, where it does not sort what we keep in order.
		name := fmt.Sprintf("%v%s/v%d", k, kind, version)
		theirs := oracles[name]
		if theirs == nil || !tagsAscend(reflect.ValueOf(m).Elem()) {
			return
		}
		oracle := theirs()
		if err := oracle.ReadFrom(bytes.Clone(encoded)); err != nil {
			t.Fatalf("%s: kmsg: %v\n%x", name, err, encoded)
		}
		if got := oracle.AppendTo(nil); !bytes.Equal(got, encoded) {
			t.Fatalf("%s\nours %x\nkmsg %x", name, encoded, got)
		}
	})
}

// tagsAscend reports whether the unknown tagged fields in v have ascending ids, as Kafka's writers
// require.
func tagsAscend(v reflect.Value) bool {
	ok := true
	settle(v, func(s reflect.Value) {
		if field := s.FieldByName("UnknownTags"); field.IsValid() {
			tags := field.Interface().(wire.Tags)
			for i := range tags[min(1, len(tags)):] {
				ok = ok && tags[i].ID < tags[i+1].ID
			}
		}
	})
	return ok
}

// FuzzRequestHeader: any header decodes within bounds or not at all, and encodes to what decodes the same.
//
//fuzz:decoder wire/header[.]go:.*[)] Decode[(]
func FuzzRequestHeader(f *testing.F) {
	for _, k := range wire.Keys() {
		versions, _ := wire.VersionsOf(k)
		for version := versions.Min; version <= versions.Max; version++ {
			h := wire.RequestHeader{Key: k, Version: version, CorrelationID: 7, ClientID: []byte("client")}
			if version >= versions.FirstFlexible {
				h.Tags = wire.Tags{{ID: 3, Data: []byte("data")}}
			}
			var w wire.Writer
			h.Encode(&w)
			f.Add(w.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var (
			r wire.Reader
			h wire.RequestHeader
		)
		r.Reset(frame)
		h.Decode(&r)
		if heap := heapOf(reflect.ValueOf(h)); heap > heapBound(len(frame)) {
			t.Fatalf("%d bytes of heap for a frame of %d", heap, len(frame))
		}
		if r.Err() != nil {
			return
		}
		var w wire.Writer
		h.Encode(&w)
		if w.Err() != nil {
			t.Fatal(w.Err())
		}
		var again wire.RequestHeader
		r.Reset(w.Bytes())
		again.Decode(&r)
		if r.Err() != nil || r.Remaining() != 0 || !reflect.DeepEqual(h, again) {
			t.Fatalf("%+v encodes to %x, which decodes to %+v (%v)", h, w.Bytes(), again, r.Err())
		}
	})
}
