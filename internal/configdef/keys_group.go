package configdef

// groupKeys are the keys of one group.
func groupKeys() []Key {
	return []Key{
		intKey("consumer.assignment.interval.ms", "1000", "Pause between two assignments of the consumer group.").bound(atLeast(0)).from("group.consumer.assignment.interval.ms").noEffect(noConsumerGroups),
		intKey("consumer.heartbeat.interval.ms", "5000", "Heartbeat interval of the consumer group's members.").bound(atLeast(1)).from("group.consumer.heartbeat.interval.ms").noEffect(noConsumerGroups),
		intKey("consumer.session.timeout.ms", "45000", "Session timeout of the consumer group's members.").bound(atLeast(1)).from("group.consumer.session.timeout.ms").noEffect(noConsumerGroups),
		intKey("share.assignment.interval.ms", "1000", "Pause between two assignments of the share group.").bound(atLeast(0)).from("group.share.assignment.interval.ms").noEffect(noShareGroups),
		stringKey("share.auto.offset.reset", "latest", "Where the share group starts in a partition it has no state for.").bound(offsetReset()).noEffect(noShareGroups),
		intKey("share.delivery.count.limit", "5", "Deliveries of a record after which the share group gives it up.").bound(atLeast(2)).from("group.share.delivery.count.limit").noEffect(noShareGroups),
		intKey("share.heartbeat.interval.ms", "5000", "Heartbeat interval of the share group's members.").bound(atLeast(1)).from("group.share.heartbeat.interval.ms").noEffect(noShareGroups),
		stringKey("share.isolation.level", "read_uncommitted", "Whether the share group sees records of open and aborted transactions.").bound(oneOf("read_committed", "read_uncommitted")).noEffect(noShareGroups),
		intKey("share.partition.max.record.locks", "2000", "Records of one partition that the share group may lock at once.").bound(atLeast(100)).from("group.share.partition.max.record.locks").noEffect(noShareGroups),
		intKey("share.record.lock.duration.ms", "30000", "How long a record delivered to the share group stays locked.").bound(atLeast(1000)).from("group.share.record.lock.duration.ms").noEffect(noShareGroups),
		boolKey("share.renew.acknowledge.enable", "true", "Whether members of the share group may extend a lock.").noEffect(noShareGroups),
		intKey("share.session.timeout.ms", "45000", "Session timeout of the share group's members.").bound(atLeast(1)).from("group.share.session.timeout.ms").noEffect(noShareGroups),
		intKey("streams.assignment.interval.ms", "1000", "Pause between two assignments of the streams group.").bound(atLeast(0)).from("group.streams.assignment.interval.ms").noEffect(noStreamsGroups),
		intKey("streams.heartbeat.interval.ms", "5000", "Heartbeat interval of the streams group's members.").bound(atLeast(1)).from("group.streams.heartbeat.interval.ms").noEffect(noStreamsGroups),
		intKey("streams.initial.rebalance.delay.ms", "3000", "How long the empty streams group waits for more members before its first assignment.").bound(atLeast(0)).from("group.streams.initial.rebalance.delay.ms").noEffect(noStreamsGroups),
		intKey("streams.num.standby.replicas", "0", "Standby replicas of the streams group's tasks.").bound(atLeast(0)).from("group.streams.num.standby.replicas").noEffect(noStreamsGroups),
		intKey("streams.session.timeout.ms", "45000", "Session timeout of the streams group's members.").bound(atLeast(1)).from("group.streams.session.timeout.ms").noEffect(noStreamsGroups),
	}
}
