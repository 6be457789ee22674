package configdef

// remoteKeys are the keys of remote (tiered) storage, KIP-405.
func remoteKeys() []Key {
	return []Key{
		boolKey("remote.log.storage.system.enable", "false", "Whether segments may be moved to remote storage.").noEffect(noRemoteStorage),
		stringKey("remote.log.storage.manager.class.name", unset, "Class that stores segments remotely.").bound(notEmpty()).noEffect(noRemoteStorage),
		stringKey("remote.log.storage.manager.class.path", unset, "Class path of that class.").noEffect(noRemoteStorage),
		stringKey("remote.log.storage.manager.impl.prefix", "rsm.config.", "Prefix of the settings handed to that class.").bound(notEmpty()).noEffect(noRemoteStorage),
		stringKey("remote.log.metadata.manager.class.name", "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", "Class that keeps the metadata of remote segments.").bound(notEmpty()).noEffect(noRemoteStorage),
		stringKey("remote.log.metadata.manager.class.path", unset, "Class path of that class.").noEffect(noRemoteStorage),
		stringKey("remote.log.metadata.manager.impl.prefix", "rlmm.config.", "Prefix of the settings handed to that class.").bound(notEmpty()).noEffect(noRemoteStorage),
		stringKey("remote.log.metadata.manager.listener.name", unset, "Listener that the metadata manager connects to.").bound(notEmpty()).noEffect(noRemoteStorage),
		intKey("remote.log.metadata.custom.metadata.max.bytes", "128", "Largest custom metadata of a remote segment.").bound(atLeast(0)).noEffect(noRemoteStorage),
		longKey("remote.log.index.file.cache.total.size.bytes", "1073741824", "Disk that cached indexes of remote segments may take.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		longKey("remote.log.index.file.cache.ttl.ms", "900000", "Silence after which a cached index of a remote segment is dropped.").bound(atLeast(-1)).internal().noEffect(noRemoteStorage),
		intKey("remote.log.manager.thread.pool.size", "2", "Threads that run remote storage tasks.").bound(atLeast(1)).noEffect(noRemoteStorage),
		intKey("remote.log.manager.copier.thread.pool.size", "10", "Threads that copy segments to remote storage.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		intKey("remote.log.manager.expiration.thread.pool.size", "10", "Threads that delete expired remote segments.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		intKey("remote.log.manager.follower.thread.pool.size", "2", "Threads that follow remote segments on replicas.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		longKey("remote.log.manager.copy.max.bytes.per.second", "9223372036854775807", "Bytes per second copied to remote storage.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		intKey("remote.log.manager.copy.quota.window.num", "11", "Samples that the copy limit is measured over.").bound(atLeast(1)).noEffect(noRemoteStorage),
		intKey("remote.log.manager.copy.quota.window.size.seconds", "1", "Length of a sample of the copy limit.").bound(atLeast(1)).noEffect(noRemoteStorage),
		longKey("remote.log.manager.fetch.max.bytes.per.second", "9223372036854775807", "Bytes per second read from remote storage.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		intKey("remote.log.manager.fetch.quota.window.num", "11", "Samples that the read limit is measured over.").bound(atLeast(1)).noEffect(noRemoteStorage),
		intKey("remote.log.manager.fetch.quota.window.size.seconds", "1", "Length of a sample of the read limit.").bound(atLeast(1)).noEffect(noRemoteStorage),
		longKey("remote.log.manager.task.interval.ms", "30000", "Pause between two runs of a remote storage task.").bound(atLeast(1)).noEffect(noRemoteStorage),
		longKey("remote.log.manager.task.retry.backoff.ms", "500", "First pause after a failed remote storage task.").bound(atLeast(1)).internal().noEffect(noRemoteStorage),
		longKey("remote.log.manager.task.retry.backoff.max.ms", "30000", "Longest pause after a failed remote storage task.").bound(atLeast(1)).internal().noEffect(noRemoteStorage),
		doubleKey("remote.log.manager.task.retry.jitter", "0.2", "Random share added to those pauses.").bound(between(0, 0.5)).internal().noEffect(noRemoteStorage),
		intKey("remote.log.reader.threads", "10", "Threads that read from remote storage.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		intKey("remote.log.reader.max.pending.tasks", "100", "Remote reads that may wait.").bound(atLeast(1)).noEffect(noRemoteStorage),
		intKey("remote.fetch.max.wait.ms", "500", "Longest wait of a fetch for remote storage.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
		longKey("remote.list.offsets.request.timeout.ms", "30000", "Time limit for a look-up of offsets in remote storage.").bound(atLeast(1)).clusterWide().noEffect(noRemoteStorage),
	}
}
