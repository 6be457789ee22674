package metaconfig

import (
	"math"
	"net/netip"
	"time"

	"github.com/walser-io/walser/internal/configdef"
)

// Broker are the settings of a node that can change while it runs, resolved. Defaults of topics are not
// here: Topic has them.
type Broker struct {
	MaxConnections            int32              // max.connections
	MaxConnectionsPerIP       int32              // max.connections.per.ip
	MaxConnectionsByIP        map[netip.Addr]int // max.connections.per.ip.overrides; nil if there are none
	MaxConnectionCreationRate int32              // max.connection.creation.rate, per second

	Cleaner Cleaner

	ProducerIDExpiration time.Duration // producer.id.expiration.ms
}

// Cleaner are the settings of compaction.
type Cleaner struct {
	Threads           int           // log.cleaner.threads
	DedupeBufferBytes int64         // log.cleaner.dedupe.buffer.size
	MaxBytesPerSecond float64       // log.cleaner.io.max.bytes.per.second
	Backoff           time.Duration // log.cleaner.backoff.ms
}

// Broker returns the node's settings. The value is shared and must not be changed.
func (r *Resolver) Broker() *Broker { return &r.broker }

func (r *Resolver) resolveBroker() Broker {
	overrides, _ := configdef.ParseConnectionOverrides(r.brokerValue("max.connections.per.ip.overrides").Text())
	return Broker{
		MaxConnections:            int32(r.brokerValue("max.connections").Int()),
		MaxConnectionsPerIP:       int32(r.brokerValue("max.connections.per.ip").Int()),
		MaxConnectionsByIP:        overrides,
		MaxConnectionCreationRate: int32(r.brokerValue("max.connection.creation.rate").Int()),
		Cleaner: Cleaner{
			Threads:           int(r.brokerValue("log.cleaner.threads").Int()),
			DedupeBufferBytes: r.brokerValue("log.cleaner.dedupe.buffer.size").Int(),
			MaxBytesPerSecond: r.brokerValue("log.cleaner.io.max.bytes.per.second").Float(),
			Backoff:           milliseconds(r.brokerValue("log.cleaner.backoff.ms").Int()),
		},
		ProducerIDExpiration: milliseconds(r.brokerValue("producer.id.expiration.ms").Int()),
	}
}

func (r *Resolver) brokerValue(name string) configdef.Value {
	k, _ := configdef.Broker().Lookup(name)
	return r.own(k)
}

// milliseconds keeps the longest Duration for what does not fit into one.
func milliseconds(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}
