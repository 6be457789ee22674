package configdef

// The rows of the tables are written with the functions below, so that one key is one short sentence:
//
//	intKey("num.partitions", "1", "Partitions of a topic whose creator does not say.").bound(atLeast(1)),

// unset stands where a key has no default: it has no value until it is set.
const unset = "\x00"

func newKey(t Type, name, def, doc string) Key {
	k := Key{Name: name, Type: t, Doc: doc}
	if def != unset {
		k.Default, k.HasDefault = def, true
	}
	return k
}

func boolKey(name, def, doc string) Key   { return newKey(Boolean, name, def, doc) }
func stringKey(name, def, doc string) Key { return newKey(String, name, def, doc) }
func intKey(name, def, doc string) Key    { return newKey(Int, name, def, doc) }
func shortKey(name, def, doc string) Key  { return newKey(Short, name, def, doc) }
func longKey(name, def, doc string) Key   { return newKey(Long, name, def, doc) }
func doubleKey(name, def, doc string) Key { return newKey(Double, name, def, doc) }
func listKey(name, def, doc string) Key   { return newKey(List, name, def, doc) }
func classKey(name, def, doc string) Key  { return newKey(Class, name, def, doc) }

func passwordKey(name, doc string) Key {
	k := newKey(Password, name, unset, doc)
	k.Sensitive = true
	return k
}

func (k Key) bound(b Bound) Key {
	k.Bound = b
	return k
}

func (k Key) perBroker() Key {
	k.Mutability, k.KafkaMutability = PerBroker, PerBroker
	return k
}

func (k Key) clusterWide() Key {
	k.Mutability, k.KafkaMutability = ClusterWide, ClusterWide
	return k
}

// fixedAtStart takes back what perBroker or clusterWide said: Kafka can change the key, Walser not.
func (k Key) fixedAtStart(reason string) Key {
	k.Mutability = ReadOnly
	k.Reason = join(k.Reason, reason)
	return k
}

func (k Key) internal() Key {
	k.Internal = true
	return k
}

func (k Key) dynamicOnly() Key {
	k.DynamicOnly = true
	return k
}

func (k Key) own() Key {
	k.Own = true
	return k
}

// differs says what Kafka's default is and why Walser's is another, or means another thing.
func (k Key) differs(kafka, reason string) Key {
	k.KafkaDefault = kafka
	k.Reason = join(k.Reason, reason)
	return k
}

func (k Key) noEffect(reason string) Key {
	k.NoEffect = reason
	return k
}

func (k Key) failClosed() Key {
	k.FailClosed = true
	return k
}

// from names the keys that give this one its value while it is not set.
func (k Key) from(names ...string) Key {
	for _, name := range names {
		k.Synonyms = append(k.Synonyms, Synonym{Name: name, Unit: Same})
	}
	return k
}

// fromIn adds a synonym in another unit.
func (k Key) fromIn(unit Unit, name string) Key {
	k.Synonyms = append(k.Synonyms, Synonym{Name: name, Unit: unit})
	return k
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// Why keys change nothing. Each is a clause that can follow "… has no effect: ".
const (
	noTransactions      = "transactions are not served yet"
	noConsumerGroups    = "the consumer group protocol (KIP-848) is not served yet"
	noShareGroups       = "share groups (KIP-932) are not served yet"
	noStreamsGroups     = "streams groups (KIP-1071) are not served yet"
	noReplication       = "a cluster of more than one node is not served yet"
	noSharedQuorum      = "a metadata quorum of more than one voter is not served yet"
	noRemoteStorage     = "remote storage is not served yet"
	noSecurity          = "TLS and SASL listeners are not served yet, and a listener that asks for them is refused"
	noAuthorizer        = "authorization is not served yet"
	noDelegationTokens  = "delegation tokens are not served yet"
	noQuotas            = "quotas are not served yet"
	noTelemetry         = "client telemetry (KIP-714) is not served yet"
	noJavaClasses       = "a Java class cannot be loaded"
	noThreadPools       = "there are no thread pools to size: every connection and worker is a goroutine"
	noPurgatory         = "a finished request leaves nothing behind that would have to be swept"
	noJavaMetrics       = "metrics are served to Prometheus as they are; nothing is sampled or reported to classes"
	noControllerSamples = "the time of controller operations is a metric"
	noRequestQueue      = "requests are not queued; queued.max.request.bytes bounds what is read"
	noBacklog           = "the kernel's own limit (net.core.somaxconn) is used"
	noCoordinatorLinger = "a coordinator appends what has gathered when it runs, without waiting"
	noCoordinatorCodec  = "coordinators write their records uncompressed"
	noCleanerBuffers    = "compaction sizes its buffers by the largest batch, within log.cleaner.dedupe.buffer.size"
	noKafkaMetadataLog  = "the metadata log is Walser's own and keeps its size within bounds by itself"
	noStartDelay        = "a node serves as soon as it can, and background work starts with it"
	noUnstable          = "nothing unfinished is served"
	noCordons           = "directories cannot be cordoned yet"
	noConfigProviders   = "configuration providers are not served yet; use the environment for secrets"
	noTestKeys          = "the key is for Kafka's own tests"
	noListenerOverrides = "settings for a single listener are not served yet"
)
