package wire

import (
	"errors"
	"strings"
	"testing"
)

// No struct of the protocol takes more memory than 32 times its least size, so that frames cannot show
// that everything is charged. This does: each reader of something is given one byte less than it needs.
func TestEverythingAllocatedIsCharged(t *testing.T) {
	type big struct{ _ [1000]byte }
	tests := []struct {
		name  string
		frame string
		need  int
		read  func(r *Reader)
	}{
		{"array", "\x03\x00\x00", 2000, func(r *Reader) { array[big](r, nil, true, false, 1) }},
		{"array that is reused", "\x03\x00\x00", 2000, func(r *Reader) { array(r, make([]big, 9), true, false, 1) }},
		{"string", "\x04abc", 3, func(r *Reader) { r.text(true) }},
		{"string that may be null", "\x04abc", 19, func(r *Reader) { r.textOrNil(true, true) }},
		{"strings", "\x03\x02a\x02b", 34, func(r *Reader) { r.texts(nil, true, false) }},
		{"tags", "\x02\x01\x00\x02\x00", 64, func(r *Reader) { r.Tags(nil) }},
		{"struct that may be null", "", 1000, func(r *Reader) { pointee[big](r) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Reader
			r.Reset([]byte(tt.frame))
			r.heap = tt.need
			if tt.read(&r); r.Err() != nil {
				t.Errorf("with %d bytes: %v", tt.need, r.Err())
			}
			r.Reset([]byte(tt.frame))
			r.heap = tt.need - 1
			if tt.read(&r); !errors.Is(r.Err(), ErrMalformed) || !strings.Contains(r.Err().Error(), "needs 1 bytes of memory more") {
				t.Errorf("with %d bytes: %v", tt.need-1, r.Err())
			}
		})
	}
	var r Reader
	r.Reset(make([]byte, 10))
	if r.heap != 32*10+64<<10 {
		t.Errorf("a frame of 10 bytes may take %d", r.heap)
	}
}

// Beyond 64 KiB someone pays for what is allocated, before it is.
func TestReader_ChargeTo(t *testing.T) {
	type big struct{ _ [1000]byte }
	frame := append([]byte{200, 1}, make([]byte, 10_000)...) // 199 elements, 199 000 bytes
	var r Reader
	r.Reset(frame)
	paid := 0
	r.ChargeTo(func(bytes int) bool {
		paid += bytes
		return true
	})
	array[big](&r, nil, true, false, 1)
	if want := 3 * 64 << 10; r.Err() != nil || paid != want {
		t.Errorf("paid %d bytes, want %d: %v", paid, want, r.Err())
	}
	if pointee[[64 << 10]byte](&r); paid != 4*64<<10 {
		t.Errorf("then paid %d bytes", paid)
	}

	r.Reset(frame)
	r.ChargeTo(func(int) bool { return false })
	if got := array[big](&r, nil, true, false, 1); cap(got) != 0 || !errors.Is(r.Err(), ErrMemory) || errors.Is(r.Err(), ErrMalformed) {
		t.Errorf("unpaid: %d elements, %v", cap(got), r.Err())
	}
	r.Reset(frame)
	r.ChargeTo(func(int) bool { t.Error("what is small is charged for"); return false })
	r.texts(nil, true, false)
	r.Reset(frame) // which ends it
	array[big](&r, nil, true, false, 1)
	if r.Err() != nil {
		t.Error(r.Err())
	}
}
