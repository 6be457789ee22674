package producerstate

// LastOffsets returns the last offset that each producer wrote. Compaction keeps the batches that end
// there: they alone tell a replay where the sequence stands.
func (t *Table) LastOffsets() map[int64]int64 {
	last := make(map[int64]int64, len(t.producers))
	for id, p := range t.producers {
		if p.n > 0 {
			last[id] = p.last().lastOffset
		}
	}
	return last
}
