package configdef

// clientMetricsKeys are the keys of one client metrics subscription.
func clientMetricsKeys() []Key {
	return []Key{
		intKey("interval.ms", "300000", "Pause between two pushes of a client that matches.").noEffect(noTelemetry),
		listKey("match", "", "Selectors that a client must match, as name=regular expression.").noEffect(noTelemetry),
		listKey("metrics", "", "Prefixes of the metrics that matching clients push.").noEffect(noTelemetry),
	}
}
