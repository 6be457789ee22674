//go:build !race

package server_test

const race = false
