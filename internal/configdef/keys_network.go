package configdef

// networkKeys are the keys of listeners, connections and memory for requests.
func networkKeys() []Key {
	return []Key{
		listKey("listeners", "PLAINTEXT://127.0.0.1:9092", "Addresses to listen on, as NAME://host:port; no host means every interface.").bound(notEmpty()).perBroker().
			fixedAtStart("Listeners are opened at start.").
			differs("PLAINTEXT://:9092", "A node that nobody has configured must not be open to the network; an explicit listeners is the explicit word."),
		listKey("advertised.listeners", unset, "Addresses that clients are told to connect to; listeners where unset.").bound(notEmpty()),
		stringKey("listener.security.protocol.map", "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", "Security protocol of each listener name.").perBroker().
			fixedAtStart("Listeners are opened at start."),
		stringKey("inter.broker.listener.name", unset, "Listener that nodes use among themselves.").noEffect(noReplication),
		stringKey("security.inter.broker.protocol", "PLAINTEXT", "Security protocol whose listener nodes use among themselves, where inter.broker.listener.name is unset.").bound(oneOf("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")).noEffect(noReplication),
		listKey("controller.listener.names", unset, "Listeners that serve controllers only; clients are never told of them.").bound(notEmpty()).
			differs("none: must be set", "A node whose only controller is itself needs no controller listener."),
		listKey("early.start.listeners", unset, "Listeners that open before authorization is ready.").noEffect(noStartDelay),
		intKey("socket.send.buffer.bytes", "-1", "Kernel send buffer (SO_SNDBUF) of a client connection; -1 leaves it to the kernel, but for clients on the same machine, which get 256 KiB.").
			differs("102400", "The kernel sizes the buffer to the connection; a fixed 100 KiB throttles every long path. Within the machine 256 KiB cost less CPU than 100 or 400 KiB, and than what the kernel comes to."),
		intKey("socket.receive.buffer.bytes", "-1", "Kernel receive buffer (SO_RCVBUF) of a client connection; -1 leaves it to the kernel.").
			differs("102400", "The kernel sizes the buffer to the connection; a fixed 100 KiB throttles every long path."),
		intKey("socket.listen.backlog.size", "50", "Connections that wait to be accepted.").bound(atLeast(1)).noEffect(noBacklog),
		intKey("socket.request.max.bytes", "104857600", "Largest request that is read.").bound(atLeast(1)),
		longKey("socket.connection.setup.timeout.ms", "10000", "First time limit for connecting to another node.").noEffect(noReplication),
		longKey("socket.connection.setup.timeout.max.ms", "30000", "Longest time limit for connecting to another node.").noEffect(noReplication),
		intKey("queued.max.requests", "500", "Requests that may wait for a handler before reading stops.").bound(atLeast(1)).noEffect(noRequestQueue),
		longKey("queued.max.request.bytes", "-1", "Memory that requests being read and handled may hold together; -1 means a quarter of the memory limit.").
			differs("-1", "-1 stands for a quarter of the memory limit, where Kafka's stands for no limit and many large requests end in an out-of-memory error."),
		intKey("max.connections", "20000", "Client connections that are open at once on this node.").bound(atLeast(0)).clusterWide().
			differs("2147483647", "Connections beyond what descriptors and memory can carry are turned away one by one instead of failing the node; half of the descriptor limit holds where it is lower."),
		intKey("max.connections.per.ip", "2147483647", "Client connections that are open at once from one address; loopback is never counted.").bound(atLeast(0)).clusterWide(),
		stringKey("max.connections.per.ip.overrides", "", "Limits for single addresses, as address:count,address:count.").clusterWide(),
		intKey("max.connection.creation.rate", "2147483647", "Client connections that are accepted per second on this node.").bound(atLeast(0)).clusterWide(),
		longKey("connections.max.idle.ms", "600000", "Silence after which a client connection is closed; negative means never."),
		intKey("connection.failed.authentication.delay.ms", "100", "How long the answer to a failed authentication is held back.").bound(atLeast(0)).noEffect(noSecurity),
		longKey("connections.max.reauth.ms", "0", "Age at which a SASL session must authenticate again; 0 means never.").noEffect(noSecurity),
	}
}
