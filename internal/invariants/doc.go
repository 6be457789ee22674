// Package invariants holds the assertions that only builds with the tag `invariants` pay for.
//
// An impossible state is an assertion here, not a comment: the unit tests run with and without the tag.
// Conditions that input from outside can bring about are errors, never assertions.
package invariants
