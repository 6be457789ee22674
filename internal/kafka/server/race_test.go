//go:build race

package server_test

// race says that memory figures are those of the race detector.
const race = true
