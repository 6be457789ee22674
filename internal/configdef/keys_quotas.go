package configdef

// quotaKeys are the keys of quotas and metrics.
func quotaKeys() []Key {
	return []Key{
		intKey("quota.window.num", "11", "Samples that client quotas are measured over.").bound(atLeast(1)).noEffect(noQuotas),
		intKey("quota.window.size.seconds", "1", "Length of a sample of client quotas.").bound(atLeast(1)).noEffect(noQuotas),
		intKey("replication.quota.window.num", "11", "Samples that replication quotas are measured over.").bound(atLeast(1)).noEffect(noQuotas),
		intKey("replication.quota.window.size.seconds", "1", "Length of a sample of replication quotas.").bound(atLeast(1)).noEffect(noQuotas),
		intKey("alter.log.dirs.replication.quota.window.num", "11", "Samples that the quota for moves between directories is measured over.").bound(atLeast(1)).noEffect(noQuotas),
		intKey("alter.log.dirs.replication.quota.window.size.seconds", "1", "Length of a sample of the quota for moves between directories.").bound(atLeast(1)).noEffect(noQuotas),
		intKey("controller.quota.window.num", "11", "Samples that the quota for cluster changes is measured over.").bound(atLeast(1)).noEffect(noQuotas),
		intKey("controller.quota.window.size.seconds", "1", "Length of a sample of the quota for cluster changes.").bound(atLeast(1)).noEffect(noQuotas),
		classKey("client.quota.callback.class", unset, "Class that computes client quotas.").noEffect(noJavaClasses),
		listKey("metric.reporters", "org.apache.kafka.common.metrics.JmxReporter", "Classes that metrics are reported to.").clusterWide().noEffect(noJavaMetrics),
		intKey("metrics.num.samples", "2", "Samples that a metric is computed from.").bound(atLeast(1)).noEffect(noJavaMetrics),
		stringKey("metrics.recording.level", "INFO", "Level of detail of metrics.").noEffect(noJavaMetrics),
		longKey("metrics.sample.window.ms", "30000", "Length of a metric's sample.").bound(atLeast(1)).noEffect(noJavaMetrics),
		listKey("kafka.metrics.reporters", "", "Classes that Yammer metrics are reported to.").noEffect(noJavaMetrics),
		intKey("kafka.metrics.polling.interval.secs", "10", "Pause between two reports of Yammer metrics.").bound(atLeast(1)).noEffect(noJavaMetrics),
		intKey("telemetry.max.bytes", "1048576", "Largest metrics push that a client may send.").bound(atLeast(1)).noEffect(noTelemetry),
	}
}
