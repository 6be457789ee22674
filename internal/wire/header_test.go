package wire_test

import (
	"testing"

	"github.com/walser-io/walser/internal/wire"
)

// Every message at every version: presets encode, unless a field must not be null there, and decode back.
func TestPresetsRoundTrip(t *testing.T) {
	for _, k := range wire.Keys() {
		versions, ok := wire.VersionsOf(k)
		if !ok {
			t.Fatalf("no versions of %v", k)
		}
		for version := versions.Min; version <= versions.Max; version++ {
			for _, m := range []wire.Message{wire.NewRequest(k), wire.NewResponse(k)} {
				var w wire.Writer
				m.Encode(&w, version)
				if err := w.Err(); err != nil {
					t.Logf("%T v%d: %v", m, version, err)
					continue
				}
				var r wire.Reader
				r.Reset(w.Bytes())
				m.Decode(&r, version)
				if r.Err() != nil || r.Remaining() != 0 {
					t.Errorf("%T v%d: %v, %d bytes left of %x", m, version, r.Err(), r.Remaining(), w.Bytes())
				}
			}
		}
	}
}
