package configdef

// transactionKeys are the keys of transactions.
func transactionKeys() []Key {
	return []Key{
		intKey("transactional.id.expiration.ms", "604800000", "Silence after which a transactional id is forgotten.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("transaction.max.timeout.ms", "900000", "Longest transaction timeout that a producer may ask for.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10000", "Pause between two looks for transactions to abort.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("transaction.remove.expired.transaction.cleanup.interval.ms", "3600000", "Pause between two looks for transactional ids to forget.").bound(atLeast(1)).noEffect(noTransactions),
		boolKey("transaction.partition.verification.enable", "true", "Whether a partition checks that a transaction included it before it takes its records.").clusterWide().noEffect(noTransactions),
		boolKey("transaction.two.phase.commit.enable", "false", "Whether producers may take part in an outside two-phase commit.").noEffect(noTransactions),
		intKey("transaction.state.log.load.buffer.size", "5242880", "Bytes read at a time when the transaction coordinator loads a partition.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("transaction.state.log.min.isr", "2", "Replicas that must hold a write to __transaction_state.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("transaction.state.log.num.partitions", "50", "Partitions of __transaction_state.").bound(atLeast(1)).noEffect(noTransactions),
		shortKey("transaction.state.log.replication.factor", "3", "Replicas of __transaction_state.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("transaction.state.log.segment.bytes", "104857600", "Segment size of __transaction_state.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("add.partitions.to.txn.retry.backoff.ms", "20", "First pause when a broker retries adding a partition to a transaction.").bound(atLeast(1)).noEffect(noTransactions),
		intKey("add.partitions.to.txn.retry.backoff.max.ms", "100", "Longest pause when a broker retries adding a partition to a transaction.").bound(atLeast(0)).noEffect(noTransactions),
	}
}
