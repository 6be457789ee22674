package configdef

// groupCoordinatorKeys are the keys of classic and consumer groups and of committed offsets.
func groupCoordinatorKeys() []Key {
	return []Key{
		intKey("group.min.session.timeout.ms", "6000", "Shortest session timeout that a classic group member may ask for."),
		intKey("group.max.session.timeout.ms", "1800000", "Longest session timeout that a classic group member may ask for."),
		intKey("group.initial.rebalance.delay.ms", "3000", "How long an empty classic group waits for more members before its first rebalance."),
		intKey("group.max.size", "2147483647", "Most members of one classic group.").bound(atLeast(1)),
		intKey("group.coordinator.threads", "4", "Workers that run the group coordinator's shards.").bound(atLeast(1)),
		longKey("group.coordinator.memory.max.bytes", "-1", "Bytes that groups and their members may hold in memory together, committed offsets aside: a join beyond it gets GROUP_MAX_SIZE_REACHED; -1 is a quarter of the memory limit.").bound(atLeast(-1)).own(),
		intKey("group.coordinator.background.threads", "2", "Threads for the group coordinator's background work.").bound(atLeast(1)).noEffect(noThreadPools),
		intKey("group.coordinator.append.linger.ms", "-1", "How long a coordinator waits for more records before it appends.").bound(atLeast(-1)).noEffect(noCoordinatorLinger),
		intKey("group.coordinator.cached.buffer.max.bytes", "1048588", "Largest append buffer that a coordinator keeps for reuse.").bound(atLeast(524288)).clusterWide().noEffect(noCoordinatorLinger),
		listKey("group.coordinator.rebalance.protocols", "classic", "Group protocols that are served.").bound(notEmpty().also(oneOf("consumer", "classic", "share", "streams"))).
			differs("classic,consumer,streams", "Only the classic protocol is served yet.").noEffect(noConsumerGroups),
		intKey("offsets.topic.num.partitions", "50", "Partitions of __consumer_offsets; fixed once the topic exists.").bound(atLeast(1)),
		shortKey("offsets.topic.replication.factor", "3", "Replicas of __consumer_offsets, but no more than there are brokers.").bound(atLeast(1)).
			differs("3", "The topic gets as many replicas as there are brokers up to this number, so that a single node has groups too; Kafka refuses to create it."),
		intKey("offsets.topic.segment.bytes", "104857600", "Segment size of __consumer_offsets.").bound(atLeast(1)),
		intKey("offsets.topic.compression.codec", "0", "Codec of __consumer_offsets: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.").noEffect(noCoordinatorCodec),
		intKey("offsets.load.buffer.size", "5242880", "Bytes read at a time when a coordinator loads a partition of __consumer_offsets.").bound(atLeast(1)),
		intKey("offsets.retention.minutes", "10080", "How long a group's offsets outlive its last member.").bound(atLeast(1)),
		longKey("offsets.retention.check.interval.ms", "600000", "Pause between two looks for offsets to expire.").bound(atLeast(1)),
		intKey("offsets.commit.timeout.ms", "5000", "How long a commit may wait for its record to be replicated.").bound(atLeast(1)),
		intKey("offset.metadata.max.bytes", "4096", "Largest metadata string beside a committed offset."),
		intKey("group.consumer.session.timeout.ms", "45000", "Session timeout of a consumer group that sets none.").bound(atLeast(1)).noEffect(noConsumerGroups),
		intKey("group.consumer.min.session.timeout.ms", "45000", "Shortest session timeout of a consumer group.").bound(atLeast(1)).noEffect(noConsumerGroups),
		intKey("group.consumer.max.session.timeout.ms", "60000", "Longest session timeout of a consumer group.").bound(atLeast(1)).noEffect(noConsumerGroups),
		intKey("group.consumer.heartbeat.interval.ms", "5000", "Heartbeat interval of a consumer group that sets none.").bound(atLeast(1)).noEffect(noConsumerGroups),
		intKey("group.consumer.min.heartbeat.interval.ms", "5000", "Shortest heartbeat interval of a consumer group.").bound(atLeast(1)).noEffect(noConsumerGroups),
		intKey("group.consumer.max.heartbeat.interval.ms", "15000", "Longest heartbeat interval of a consumer group.").bound(atLeast(1)).noEffect(noConsumerGroups),
		intKey("group.consumer.assignment.interval.ms", "1000", "Pause between two assignments of a consumer group that sets none.").bound(atLeast(0)).clusterWide().noEffect(noConsumerGroups),
		intKey("group.consumer.min.assignment.interval.ms", "0", "Shortest pause between two assignments of a consumer group.").bound(atLeast(0)).noEffect(noConsumerGroups),
		intKey("group.consumer.max.assignment.interval.ms", "15000", "Longest pause between two assignments of a consumer group.").bound(atLeast(0)).noEffect(noConsumerGroups),
		intKey("group.consumer.max.size", "2147483647", "Most members of one consumer group.").bound(atLeast(1)).noEffect(noConsumerGroups),
		listKey("group.consumer.assignors", "uniform,range", "Assignors of consumer groups, the default one first.").bound(notEmpty()).noEffect(noConsumerGroups),
		stringKey("group.consumer.migration.policy", "bidirectional", "Whether groups move between the classic and the consumer protocol while in use.").bound(oneOfFold("DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL")).noEffect(noConsumerGroups),
		intKey("group.consumer.regex.refresh.interval.ms", "600000", "Pause between two evaluations of a regular expression subscription.").bound(atLeast(10000)).internal().noEffect(noConsumerGroups),
	}
}
