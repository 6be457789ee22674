package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/walser-io/walser/internal/wire"
)

func TestRequestHeader(t *testing.T) {
	tests := []struct {
		name   string
		header wire.RequestHeader
		want   string
	}{
		{"not flexible", wire.RequestHeader{Key: wire.KeyMetadata, Version: 8, CorrelationID: 7, ClientID: []byte("me")}, "\x00\x03\x00\x08\x00\x00\x00\x07\x00\x02me"},
		{"null client id", wire.RequestHeader{Key: wire.KeyMetadata, Version: 8, CorrelationID: 7}, "\x00\x03\x00\x08\x00\x00\x00\x07\xff\xff"},
		{"empty client id", wire.RequestHeader{Key: wire.KeyMetadata, Version: 8, ClientID: []byte{}}, "\x00\x03\x00\x08\x00\x00\x00\x00\x00\x00"},
		{"flexible: the client id is not compact", wire.RequestHeader{Key: wire.KeyMetadata, Version: 9, CorrelationID: 7, ClientID: []byte("me")}, "\x00\x03\x00\x09\x00\x00\x00\x07\x00\x02me\x00"},
		{"tags", wire.RequestHeader{Key: wire.KeyMetadata, Version: 9, ClientID: []byte{}, Tags: wire.Tags{{ID: 2, Data: []byte("x")}}}, "\x00\x03\x00\x09\x00\x00\x00\x00\x00\x00\x01\x02\x01x"},
		{"ApiVersions of a version to come", wire.RequestHeader{Key: wire.KeyAPIVersions, Version: 99, ClientID: []byte{}}, "\x00\x12\x00\x63\x00\x00\x00\x00\x00\x00\x00"},
		{"unknown key", wire.RequestHeader{Key: 4, Version: 1, ClientID: []byte{}}, "\x00\x04\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"never flexible", wire.RequestHeader{Key: wire.KeySaslHandshake, Version: 1, ClientID: []byte{}}, "\x00\x11\x00\x01\x00\x00\x00\x00\x00\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w wire.Writer
			tt.header.Encode(&w)
			if got := string(w.Bytes()); got != tt.want || w.Err() != nil {
				t.Errorf("got %x (%v), want %x", got, w.Err(), tt.want)
			}
			var (
				r wire.Reader
				h wire.RequestHeader
			)
			r.Reset([]byte(tt.want + "body"))
			h.Decode(&r)
			if r.Err() != nil || r.Remaining() != len("body") || h.Key != tt.header.Key || h.Version != tt.header.Version ||
				h.CorrelationID != tt.header.CorrelationID || !bytes.Equal(h.ClientID, tt.header.ClientID) || (h.ClientID == nil) != (tt.header.ClientID == nil) {
				t.Errorf("got %+v (%v), want %+v", h, r.Err(), tt.header)
			}
		})
	}
}

func TestResponseHeader(t *testing.T) {
	tests := []struct {
		key     wire.Key
		version int16
		want    string
	}{
		{wire.KeyMetadata, 8, "\x00\x00\x00\x07"},
		{wire.KeyMetadata, 9, "\x00\x00\x00\x07\x00"},
		{wire.KeyAPIVersions, 0, "\x00\x00\x00\x07"},
		{wire.KeyAPIVersions, 4, "\x00\x00\x00\x07"}, // header version 0 always
		{wire.KeyOffsetDelete, 0, "\x00\x00\x00\x07"},
	}
	for _, tt := range tests {
		var w wire.Writer
		wire.EncodeResponseHeader(&w, tt.key, tt.version, 7)
		if got := string(w.Bytes()); got != tt.want {
			t.Errorf("%v v%d: got %x, want %x", tt.key, tt.version, got, tt.want)
		}
		var r wire.Reader
		r.Reset([]byte(tt.want))
		if id := wire.DecodeResponseHeader(&r, tt.key, tt.version); id != 7 || r.Err() != nil || r.Remaining() != 0 {
			t.Errorf("%v v%d: got %d, %v", tt.key, tt.version, id, r.Err())
		}
	}
}

func TestDecodeRequest(t *testing.T) {
	body := []byte("\x00\x00\x00\x01\x00\x01t\x00x")
	var (
		r wire.Reader
		m wire.MetadataRequest
	)
	r.Reset(body)
	if err := wire.DecodeRequest(&r, &m, 4); !errors.Is(err, wire.ErrTrailingBytes) || string(m.Topics[0].Name) != "t" {
		t.Errorf("a byte too many: %v, %+v", err, m)
	}
	r.Reset(body[:len(body)-1])
	if err := wire.DecodeRequest(&r, &m, 4); err != nil || m.AllowAutoTopicCreation {
		t.Errorf("exact: %v, %+v", err, m)
	}
	r.Reset(body[:len(body)-2])
	if err := wire.DecodeRequest(&r, &m, 4); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a byte too few: %v", err)
	}
	r.Reset(body)
	if err := wire.DecodeRequest(&r, &m, 14); !errors.Is(err, wire.ErrUnsupportedVersion) {
		t.Errorf("version 14: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for k := range wire.Key(200) {
		versions, ok := wire.VersionsOf(k)
		request, response := wire.NewRequest(k), wire.NewResponse(k)
		if !ok {
			if request != nil || response != nil {
				t.Errorf("key %d has messages but no versions", k)
			}
			continue
		}
		if request.Key() != k || response.Key() != k || versions.Min > versions.Max {
			t.Errorf("%v: request of %v, response of %v, versions %+v", k, request.Key(), response.Key(), versions)
		}
	}
	if got := wire.KeyProduce.String() + " " + wire.Key(4).String(); got != "Produce Key(4)" {
		t.Error(got)
	}
}

// Presets encode at every version but where a null preset must be replaced first, and decode back.
func TestPresetsRoundTrip(t *testing.T) {
	for _, p := range pairs(t) {
		ours := p.ours()
		encoded := encode(t, ours, p.version)
		again := p.ours()
		if err := decode(again, encoded, p.version); err != nil {
			t.Errorf("%s: %v\n%x", p.name, err, encoded)
		}
	}
}
