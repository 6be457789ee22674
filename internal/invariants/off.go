//go:build !invariants

package invariants

// Enabled reports whether this build checks its invariants (build tag `invariants`).
const Enabled = false

// Assertf does nothing in this build; see the `invariants` build tag.
func Assertf(bool, string, ...any) {}

// Mangle does nothing in this build; see the `invariants` build tag.
func Mangle([]byte) {}
