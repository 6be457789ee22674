package wire_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// Each primitive has these bytes, reads back to the same value, and is a fault one byte short.
func TestPrimitives(t *testing.T) {
	text, empty := "abc", ""
	id := model.UUID{0: 1, 15: 2}
	tests := []struct {
		name  string
		want  string
		write func(w *wire.Writer)
		read  func(r *wire.Reader) bool
	}{
		{"int8", "\xfe", func(w *wire.Writer) { w.Int8(-2) }, func(r *wire.Reader) bool { return r.Int8() == -2 }},
		{"int16", "\xff\xfe", func(w *wire.Writer) { w.Int16(-2) }, func(r *wire.Reader) bool { return r.Int16() == -2 }},
		{"uint16", "\xff\xfe", func(w *wire.Writer) { w.Uint16(65534) }, func(r *wire.Reader) bool { return r.Uint16() == 65534 }},
		{"int32", "\x01\x02\x03\x04", func(w *wire.Writer) { w.Int32(0x01020304) }, func(r *wire.Reader) bool { return r.Int32() == 0x01020304 }},
		{"int64", "\x01\x02\x03\x04\x05\x06\x07\x08", func(w *wire.Writer) { w.Int64(0x0102030405060708) }, func(r *wire.Reader) bool { return r.Int64() == 0x0102030405060708 }},
		{"float64", "\x3f\xf8\x00\x00\x00\x00\x00\x00", func(w *wire.Writer) { w.Float64(1.5) }, func(r *wire.Reader) bool { return r.Float64() == 1.5 }},
		{"bool", "\x01", func(w *wire.Writer) { w.Bool(true) }, func(r *wire.Reader) bool { return r.Bool() }},
		{"uuid", "\x01" + strings.Repeat("\x00", 14) + "\x02", func(w *wire.Writer) { w.UUID(id) }, func(r *wire.Reader) bool { return r.UUID() == id }},
		{"uvarint 127", "\x7f", func(w *wire.Writer) { w.Uvarint(127) }, func(r *wire.Reader) bool { return r.Uvarint() == 127 }},
		{"uvarint 128", "\x80\x01", func(w *wire.Writer) { w.Uvarint(128) }, func(r *wire.Reader) bool { return r.Uvarint() == 128 }},
		{"uvarint of 32 bits", "\xff\xff\xff\xff\x0f", func(w *wire.Writer) { w.Uvarint(math.MaxUint32) }, func(r *wire.Reader) bool { return r.Uvarint() == math.MaxUint32 }},
		{"varint -1", "\x01", func(w *wire.Writer) { w.Varint(-1) }, func(r *wire.Reader) bool { return r.Varint() == -1 }},
		{"varint of 32 bits", "\xff\xff\xff\xff\x0f", func(w *wire.Writer) { w.Varint(math.MinInt32) }, func(r *wire.Reader) bool { return r.Varint() == math.MinInt32 }},
		{"varlong of 64 bits", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", func(w *wire.Writer) { w.Varlong(math.MinInt64) }, func(r *wire.Reader) bool { return r.Varlong() == math.MinInt64 }},
		{"string", "\x00\x03abc", func(w *wire.Writer) { w.String(text) }, func(r *wire.Reader) bool { return r.String() == text }},
		{"nullable string", "\x00\x03abc", func(w *wire.Writer) { w.NullableString(&text) }, func(r *wire.Reader) bool { s := r.NullableString(); return s != nil && *s == text }},
		{"nullable string, empty", "\x00\x00", func(w *wire.Writer) { w.NullableString(&empty) }, func(r *wire.Reader) bool { s := r.NullableString(); return s != nil && *s == "" }},
		{"null string", "\xff\xff", func(w *wire.Writer) { w.NullableString(nil) }, func(r *wire.Reader) bool { return r.NullableString() == nil }},
		{"compact string", "\x04abc", func(w *wire.Writer) { w.CompactString(text) }, func(r *wire.Reader) bool { return r.CompactString() == text }},
		{"compact null string", "\x00", func(w *wire.Writer) { w.CompactNullableString(nil) }, func(r *wire.Reader) bool { return r.CompactNullableString() == nil }},
		{"bytes", "\x00\x00\x00\x03abc", func(w *wire.Writer) { w.Blob([]byte(text)) }, func(r *wire.Reader) bool { return string(r.Bytes()) == text }},
		{"nil for bytes that are not null", "\x00\x00\x00\x00", func(w *wire.Writer) { w.Blob(nil) }, func(r *wire.Reader) bool { return r.Bytes() != nil || r.Err() != nil }},
		{"null bytes", "\xff\xff\xff\xff", func(w *wire.Writer) { w.NullableBlob(nil) }, func(r *wire.Reader) bool { return r.NullableBytes() == nil }},
		{"compact bytes", "\x04abc", func(w *wire.Writer) { w.CompactBlob([]byte(text)) }, func(r *wire.Reader) bool { return string(r.CompactBytes()) == text }},
		{"compact null bytes", "\x00", func(w *wire.Writer) { w.CompactNullableBlob(nil) }, func(r *wire.Reader) bool { return r.CompactNullableBytes() == nil }},
		{"array", "\x00\x00\x00\x00", func(w *wire.Writer) { w.ArrayLen(0) }, func(r *wire.Reader) bool { return r.ArrayLen(false, 1) == 0 }},
		{"null array", "\xff\xff\xff\xff", func(w *wire.Writer) { w.ArrayLen(-1) }, func(r *wire.Reader) bool { return r.ArrayLen(true, 1) == -1 }},
		{"compact null array", "\x00", func(w *wire.Writer) { w.CompactArrayLen(-1) }, func(r *wire.Reader) bool { return r.CompactArrayLen(true, 1) == -1 }},
		{"tags", "\x01\x80\x01\x02xy", func(w *wire.Writer) { w.Tags(wire.Tags{{ID: 128, Data: []byte("xy")}}) }, func(r *wire.Reader) bool {
			tags := r.Tags(nil)
			return len(tags) == 1 && tags[0].ID == 128 && string(tags[0].Data) == "xy"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w wire.Writer
			tt.write(&w)
			if got := string(w.Bytes()); got != tt.want || w.Err() != nil {
				t.Fatalf("wrote %x (%v), want %x", got, w.Err(), tt.want)
			}
			var r wire.Reader
			r.Reset([]byte(tt.want))
			if !tt.read(&r) || r.Err() != nil || r.Remaining() != 0 {
				t.Errorf("reads as another value, or %v, %d bytes left", r.Err(), r.Remaining())
			}
		})
		t.Run(tt.name+", one byte short", func(t *testing.T) {
			var r wire.Reader
			r.Reset([]byte(tt.want[:len(tt.want)-1]))
			tt.read(&r)
			if !errors.Is(r.Err(), wire.ErrMalformed) {
				t.Errorf("got %v", r.Err())
			}
			if r.Remaining() != 0 || r.Int64() != 0 || r.String() != "" {
				t.Error("a reader at fault reads on")
			}
		})
	}
}

// The first fault stays, whatever follows.
func TestFirstFaultSticks(t *testing.T) {
	var r wire.Reader
	r.Reset([]byte("\xff\xff"))
	r.Bytes()
	first := r.Err()
	r.Int64()
	r.CompactArrayLen(false, 8)
	if first == nil || !errors.Is(r.Err(), first) {
		t.Errorf("%v became %v", first, r.Err())
	}
	var w wire.Writer
	w.String(strings.Repeat("x", 40000))
	first = w.Err()
	(&wire.HeartbeatRequest{}).Encode(&w, 99)
	if first == nil || !errors.Is(w.Err(), first) {
		t.Errorf("%v became %v", first, w.Err())
	}
}

// A varlong has 10 bytes at most, and the last of them holds one bit.
func TestVarlongLimits(t *testing.T) {
	for _, frame := range []string{strings.Repeat("\x80", 10) + "\x00", strings.Repeat("\xff", 9) + "\x02"} {
		var r wire.Reader
		r.Reset([]byte(frame))
		if r.Varlong(); !errors.Is(r.Err(), wire.ErrMalformed) {
			t.Errorf("%x: %v", frame, r.Err())
		}
	}
}
