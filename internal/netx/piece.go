package netx

import "github.com/walser-io/walser/internal/wire"

// Piece is a part of an answer: memory or a region, exactly one of them set. The codec of the wire cuts
// answers into these.
type Piece = wire.Piece

// Region is a run of bytes that lies somewhere else than in memory. PieceWriter can send a *FileRegion.
type Region = wire.Region

var _ Region = (*FileRegion)(nil)
