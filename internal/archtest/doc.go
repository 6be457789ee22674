// Package archtest holds the shape of the source in place with tests that print the remedy: the floors
// of layers.txt and the direction of imports, the purity of the packages marked P, a package comment on
// every package, and the list of dependencies that the binary links (deps.txt).
//
// It holds no code that ships.
package archtest
