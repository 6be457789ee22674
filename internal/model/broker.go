package model

import "strconv"

// BrokerID is a node's id, unique in its cluster.
type BrokerID int32

// NoBroker stands for "no leader", "no controller" and "unknown node".
const NoBroker BrokerID = -1

// String returns the id in decimal.
func (id BrokerID) String() string { return strconv.Itoa(int(id)) }

// SecurityProtocol is Kafka's numbering of how a listener authenticates and encrypts.
type SecurityProtocol int16

// The security protocols, numbered as on the wire.
const (
	Plaintext     SecurityProtocol = 0
	SSL           SecurityProtocol = 1
	SASLPlaintext SecurityProtocol = 2
	SASLSSL       SecurityProtocol = 3
)

// String returns the protocol's name in Kafka's configuration.
func (p SecurityProtocol) String() string {
	switch p {
	case Plaintext:
		return "PLAINTEXT"
	case SSL:
		return "SSL"
	case SASLPlaintext:
		return "SASL_PLAINTEXT"
	case SASLSSL:
		return "SASL_SSL"
	}
	return "UNKNOWN(" + strconv.Itoa(int(p)) + ")"
}

// Endpoint is where one named listener of a broker is reached.
type Endpoint struct {
	Listener string
	Host     string
	Port     int32
	Protocol SecurityProtocol
}
