package runtime

// NewReplicaLog lays a log on a partition that is no replica.
func NewReplicaLog(p ledPartition, chunkBytes int) Log {
	return &replicaLog{replica: p, loaders: newLoaders(chunkBytes)}
}
