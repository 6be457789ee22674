//go:build !unix

package main

// profileOnSignal does nothing: there is no signal to wait for.
func profileOnSignal(string) {}
