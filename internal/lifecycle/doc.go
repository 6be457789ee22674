// Package lifecycle starts and stops the parts of a node, and owns the goroutines of one part.
//
// Every goroutine of Walser has an owner that waits for it: New starts none, and Run(ctx) returns after
// the last of its own has ended. Run of this package does so for parts that depend on one another, in
// order and back; a Group does so for the goroutines inside one part. Neither lets a panic take the
// process down: it becomes a PanicError, which the owner reports, and stops what it belongs to.
package lifecycle
