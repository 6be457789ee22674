//go:build !unix

package node

// descriptorLimit has no meaning here; the configured limits hold alone.
func descriptorLimit() int { return 1 << 30 }
