//go:build invariants

package invariants

import "fmt"

// Enabled reports whether this build checks its invariants (build tag `invariants`).
const Enabled = true

// Assertf panics with the formatted message when cond does not hold.
func Assertf(cond bool, format string, args ...any) {
	if !cond {
		panic("invariant violated: " + fmt.Sprintf(format, args...))
	}
}

// Mangle overwrites buf, so that a reader that kept a released buffer fails loudly.
func Mangle(buf []byte) {
	for i := range buf {
		buf[i] = 0xDB
	}
}
