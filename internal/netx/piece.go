package netx

// Region is a run of bytes that lies somewhere else than in memory.
type Region interface{ Size() int }

// Piece is a part of an answer: memory or a region, exactly one of them set.
type Piece struct {
	Bytes  []byte
	Region Region
}
