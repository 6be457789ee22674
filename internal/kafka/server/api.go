package server

import (
	"errors"
	"fmt"

	"github.com/walser-io/walser/internal/wire"
)

// API is one row of the table: one API key as this node serves it. A key that has no row is not
// supported: it is not advertised, and a request for it closes the connection. ApiVersions has no row,
// it belongs to the server.
type API struct {
	Key wire.Key
	// Min and Max are the versions served.
	Min, Max int16
	// AdvertiseFromZero makes ApiVersions say 0 where Min is higher. Produce needs it: librdkafka derives
	// from a missing Produce v0 that the broker cannot decompress, and sends everything uncompressed
	// (KAFKA-18659). Versions below Min are refused all the same.
	AdvertiseFromZero bool
	// ACL is the operation and the kind of resource that the handler authorises.
	ACL ACL
	// Quota is the class of quota that the request counts against.
	Quota QuotaClass
	// FrameCap bounds the size of a request in bytes. 0 stands for Config.FrameCap, and for
	// Config.SocketRequestMaxBytes where Key is Produce.
	FrameCap int
	// Order says what may be in flight on the connection beside the request.
	Order Order
	// Handle serves one request. The server has decoded Body. It may run on any goroutine, never on two
	// for one connection at a time, and should not block for longer than a disk read takes: what must
	// wait parks.
	Handle func(r *Request) Outcome
	// Stream, if there is one, serves requests above Config.StreamAbove in the place of Handle: it takes the
	// body while it arrives, on the goroutine that reads the connection. Body of the Request is empty. It
	// has to take all of it, unless it closes the connection.
	Stream func(r *Request, body *Body) Outcome
}

// Outcome is what a handler says about its request.
type Outcome int

const (
	// Done says that the request has been answered before the handler returned.
	Done Outcome = iota
	// Parked says that the answer comes later, from any goroutine, or came already.
	Parked
)

// Order says what a request may overlap with on its connection.
type Order int

const (
	// Barrier waits until every request before it has been answered, and holds back those after it.
	Barrier Order = iota
	// Pipelined overlaps other pipelined requests, and only them. Produce is the one.
	Pipelined
)

// QuotaClass is the client quota that a request counts against.
type QuotaClass int

const (
	// QuotaRequest counts processing time only.
	QuotaRequest QuotaClass = iota
	// QuotaProduce counts the bytes written as well.
	QuotaProduce
	// QuotaFetch counts the bytes read as well.
	QuotaFetch
	// QuotaControllerMutation counts created and deleted partitions as well (KIP-599).
	QuotaControllerMutation
	// QuotaExempt counts nothing: requests between brokers, and those that authenticate.
	QuotaExempt
)

// ACL is what a request asks the authorizer for. The zero value asks for nothing.
type ACL struct {
	Operation Operation
	Resource  ResourceType
}

// Operation is an ACL operation under Kafka's number.
type Operation int8

// The operations, numbered as on the wire. NoOperation needs no permission.
const (
	NoOperation     Operation = 0
	Read            Operation = 3
	Write           Operation = 4
	Create          Operation = 5
	Delete          Operation = 6
	Alter           Operation = 7
	Describe        Operation = 8
	ClusterAction   Operation = 9
	DescribeConfigs Operation = 10
	AlterConfigs    Operation = 11
	IdempotentWrite Operation = 12
	CreateTokens    Operation = 13
	DescribeTokens  Operation = 14
)

// ResourceType is the kind of a resource under Kafka's number.
type ResourceType int8

// The kinds of resources, numbered as on the wire.
const (
	NoResource      ResourceType = 0
	Topic           ResourceType = 2
	Group           ResourceType = 3
	Cluster         ResourceType = 4
	TransactionalID ResourceType = 5
	DelegationToken ResourceType = 6
	User            ResourceType = 7
)

// validate returns every fault of the row, joined.
func (a *API) validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("api %v: "+format, append([]any{a.Key}, args...)...))
	}
	known, ok := wire.VersionsOf(a.Key)
	switch {
	case a.Key == wire.KeyAPIVersions:
		fault("belongs to the server")
	case !ok:
		fault("has no messages")
	case a.Min > a.Max:
		fault("serves v%d to v%d", a.Min, a.Max)
	case a.Min < known.Min || a.Max > known.Max:
		fault("serves v%d to v%d, but its messages are v%d to v%d", a.Min, a.Max, known.Min, known.Max)
	}
	if a.Handle == nil {
		fault("has no handler")
	}
	if a.FrameCap < 0 {
		fault("caps frames at %d bytes", a.FrameCap)
	}
	return errors.Join(errs...)
}
