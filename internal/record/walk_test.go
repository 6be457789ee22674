package record

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWalker_TakesWhatParseTakes walks records whose numbers and bytes were made up or bent, with and without bytes behind them, and
// holds the walker to Record.parse: the same records, the same offsets and times. Where nothing is behind it a record goes
// through run's own reading, else mostly through quick's.
func TestWalker_TakesWhatParseTakes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	numbers := []int32{0, 0, 1, -1, -2, 5, 63, 64, -65, 100, 8191, 8192, 1 << 20, 1<<20 + 1, -1 << 20, 1 << 30}
	pick := func() int32 { return numbers[rnd.IntN(len(numbers))] }
	sized := func(b []byte, n int32) []byte { // a field of n bytes, or a length that is not its own
		b = appendVarint(b, n)
		if n > 0 && n <= 8192 {
			b = append(b, make([]byte, n)...)
		}
		return b
	}
	var taken, refused int
	for i := range 200_000 {
		body := append(appendVarlong([]byte{byte(i)}, int64(pick())), appendVarint(nil, pick())...)
		body = sized(body, []int32{-1, pick()}[rnd.IntN(2)])
		body = sized(body, pick())
		if rnd.IntN(4) > 0 {
			body = append(body, 0) // no headers
		} else {
			body = append(body, 2, 2, 'h', 2, 'v')
		}
		if rnd.IntN(4) == 0 {
			body[rnd.IntN(min(len(body), 16))] ^= 1 << rnd.IntN(8)
		}
		size := int32(len(body))
		switch rnd.IntN(12) {
		case 0:
			size += int32(rnd.IntN(5)) - 2
		case 1:
			size = ^size // the same number, but for its sign's bit
		}
		b := append(appendVarint(nil, size), body...)
		behind := rnd.IntN(3) * 10
		for range behind {
			b = append(b, byte(rnd.IntN(2))*byte(rnd.IntN(256)))
		}
		if rnd.IntN(8) == 0 {
			b = b[:rnd.IntN(len(b)+1)]
		}

		w := walker{count: 1, maxTime: -1 << 62, keyRequired: true}
		consumed, fault := w.run(b)

		it := Iterator{rest: slices.Clone(b)}
		var want Record
		wantFault := ""
		body, ok := it.nextBody()
		if ok {
			wantFault = want.parse(body, nil)
		}
		if !ok || wantFault != "" {
			refused++
			if w.index != 0 || consumed != 0 || ok && fault == "" {
				t.Fatalf("%x: the walker takes what parse refuses: %v, %q", b, it.err, wantFault)
			}
			continue
		}
		taken++
		if w.index != 1 || fault != "" || consumed != len(b)-len(it.rest) {
			t.Fatalf("%x: the walker takes %d bytes and says %q, parse takes %d", b, consumed, fault, len(b)-len(it.rest))
		}
		if w.maxTime != want.TimestampDelta || w.gap != (want.OffsetDelta != 0) || (w.errCount != 0) != (want.Key == nil) {
			t.Fatalf("%x: the walker saw %+v, parse %+v", b, w, want)
		}
	}
	if taken < 20_000 || refused < 20_000 {
		t.Errorf("%d taken and %d refused say too little", taken, refused)
	}
}
