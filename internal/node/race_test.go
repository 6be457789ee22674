//go:build race

package node_test

// race says that allocations are those of the race detector too.
const race = true
