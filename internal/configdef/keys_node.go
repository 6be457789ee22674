package configdef

// nodeKeys are the keys of the process itself: who it is, where its data lies, what it does with topics and plug-ins.
func nodeKeys() []Key {
	return []Key{
		intKey("node.id", "1", "Id of this node, unique in its cluster.").bound(atLeast(0)).
			differs("none: must be set", "A node starts without any configuration."),
		intKey("broker.id", "-1", "Older name of node.id; if both are set they must agree."),
		listKey("process.roles", "broker,controller", "Roles of this process: broker, controller, or both.").bound(notEmpty().also(oneOf("broker", "controller"))).
			differs("none: must be set", "A node starts without any configuration."),
		stringKey("cluster.id", unset, "Cluster id that an empty data directory is formatted with; a formatted directory keeps its own.").own(),
		stringKey("broker.rack", unset, "Rack or zone of this broker, told to clients for nearby reads."),
		listKey("log.dir", unset, "Data directories, where log.dirs is not set.").bound(notEmpty()).
			differs("/tmp/kafka-logs", "Data does not belong where a reboot deletes it: without a setting it lives under the user's data home."),
		listKey("log.dirs", unset, "Comma-separated data directories; partitions are spread over them.").bound(notEmpty()),
		listKey("cordoned.log.dirs", "", "Data directories that take no new partitions.").perBroker().noEffect(noCordons),
		longKey("log.dir.failure.timeout.ms", "30000", "How long a broker waits for the controller to hear of a failed directory before it gives up.").bound(atLeast(1)).noEffect(noReplication),
		stringKey("metadata.log.dir", unset, "Directory of the metadata log; the first data directory where unset."),
		boolKey("auto.create.topics.enable", "true", "Whether a Metadata request for an unknown topic creates it."),
		boolKey("delete.topic.enable", "true", "Whether DeleteTopics is allowed."),
		intKey("num.partitions", "1", "Partitions of a topic whose creator does not say.").bound(atLeast(1)),
		intKey("default.replication.factor", "1", "Replicas of a topic whose creator does not say."),
		intKey("max.request.partition.size.limit", "2000", "Most partitions that one DescribeTopicPartitions answer carries.").bound(atLeast(1)),
		intKey("fetch.max.bytes", "57671680", "Most bytes that one Fetch answer carries, whatever the client asks for.").bound(atLeast(1024)),
		intKey("max.incremental.fetch.session.cache.slots", "1000", "Fetch sessions that are remembered at once.").bound(atLeast(0)),
		classKey("create.topic.policy.class.name", unset, "Class that vets topic creation.").noEffect(noJavaClasses).failClosed(),
		classKey("alter.config.policy.class.name", unset, "Class that vets configuration changes.").noEffect(noJavaClasses).failClosed(),
		intKey("background.threads", "10", "Threads for background work.").bound(atLeast(1)).clusterWide().noEffect(noThreadPools),
		intKey("num.io.threads", "8", "Threads that process requests.").bound(atLeast(1)).clusterWide().noEffect(noThreadPools),
		intKey("num.network.threads", "3", "Threads that read requests and write answers.").bound(atLeast(1)).clusterWide().noEffect(noThreadPools),
		intKey("num.recovery.threads.per.data.dir", "2", "Logs of one data directory that are recovered at the same time at start.").bound(atLeast(1)).clusterWide().
			fixedAtStart("Recovery runs before a changed value could be read."),
		intKey("num.replica.alter.log.dirs.threads", unset, "Threads that move replicas between data directories.").noEffect(noReplication),
		boolKey("unstable.api.versions.enable", "false", "Whether request versions still in development are served.").internal().noEffect(noUnstable),
		boolKey("unstable.feature.versions.enable", "false", "Whether feature levels still in development are allowed.").internal().noEffect(noUnstable),
		longKey("server.max.startup.time.ms", "9223372036854775807", "Longest time a start may take before the process gives up.").bound(atLeast(0)).internal().noEffect(noStartDelay),
		intKey("initial.broker.registration.timeout.ms", "60000", "How long a starting broker tries to register with the controller.").noEffect(noReplication),
		intKey("broker.heartbeat.interval.ms", "2000", "Pause between a broker's heartbeats to the controller.").noEffect(noReplication),
		intKey("broker.session.timeout.ms", "9000", "Silence after which the controller fences a broker.").noEffect(noReplication),
		boolKey("controlled.shutdown.enable", "true", "Whether a stopping broker hands its leaderships over first.").noEffect(noReplication),
		intKey("request.timeout.ms", "30000", "How long this node waits for another node's answer.").noEffect(noReplication),
		listKey("config.providers", "", "Names of the providers that replace ${provider:path:key} in values.").clusterWide().noEffect(noConfigProviders).failClosed(),
		stringKey("authorizer.class.name", "", "Authorizer that decides every request; empty means everything is allowed.").noEffect(noAuthorizer).failClosed(),
		stringKey("super.users", unset, "Principals that every authorizer lets through.").noEffect(noAuthorizer),
		boolKey("allow.everyone.if.no.acl.found", "false", "Whether a resource without any ACL is open to all.").noEffect(noAuthorizer),
	}
}
