package sim

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

// client speaks the protocol over one connection at a time. Answers come in the order of the requests.
type client struct {
	gate  *gate
	conn  net.Conn
	dying func() bool // of the process that the last connection went to
	in    *bufio.Reader
	out   wire.Writer
	frame []byte
	sent  int32
	read  int32
}

// pause lets others run between two tries.
func pause() { runtime.Gosched() }

// connected makes sure that there is a connection; fresh says that it is a new one.
func (c *client) connected(ctx context.Context) (fresh bool, err error) {
	if c.conn != nil {
		return false, nil
	}
	conn, err := c.gate.DialContext(ctx, "", "")
	if err != nil {
		return false, err
	}
	// A client that is told to end must not wait for an answer.
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	c.conn, c.sent, c.read = conn, 0, 0
	c.dying = conn.(*gateConn).dying
	if c.in == nil {
		c.in = bufio.NewReader(conn)
	} else {
		c.in.Reset(conn)
	}
	return true, nil
}

// refused notes an answer that is an error and should not be. What a process says after its disk is gone
// would have reached no one: only its promises count then, and it can make none.
func (c *client) refused(l *ledger, format string, args ...any) {
	if !c.dying() {
		l.violation(format, args...)
	}
}

// close gives the connection up.
func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// send writes a request. An error is the connection's, which is closed then.
func (c *client) send(m wire.Request, version int16) error {
	c.out.Reset()
	wire.EncodeRequest(&c.out, &wire.RequestHeader{Version: version, CorrelationID: c.sent, ClientID: []byte("sim")}, m)
	if err := c.out.Err(); err != nil {
		panic(fmt.Sprintf("sim: encode %T: %v", m, err)) // a mistake in this package
	}
	c.sent++
	if _, err := c.conn.Write(c.out.Bytes()); err != nil {
		c.close()
		return err
	}
	return nil
}

// receive reads the next answer into m, which holds until the next call.
func (c *client) receive(m wire.Response, version int16) error {
	if err := c.tryReceive(m, version); err != nil {
		c.close()
		return err
	}
	return nil
}

func (c *client) tryReceive(m wire.Response, version int16) error {
	var size [4]byte
	if _, err := io.ReadFull(c.in, size[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if cap(c.frame) < n {
		c.frame = make([]byte, n)
	}
	c.frame = c.frame[:n]
	if _, err := io.ReadFull(c.in, c.frame); err != nil {
		return err
	}
	var r wire.Reader
	r.Reset(c.frame)
	if id := wire.DecodeResponseHeader(&r, m.Key(), version); id != c.read {
		return fmt.Errorf("answer %d, want %d", id, c.read)
	}
	c.read++
	m.Decode(&r, version)
	return r.Err()
}

// call sends a request and reads its answer, over a connection that may be new.
func (c *client) call(ctx context.Context, req wire.Request, resp wire.Response, version int16) error {
	if _, err := c.connected(ctx); err != nil {
		return err
	}
	if err := c.send(req, version); err != nil {
		return err
	}
	return c.receive(resp, version)
}

// earliest asks where a partition begins, over the connection there is.
func (c *client) earliest(p partition) (int64, kafkaerr.Code, error) {
	var req wire.ListOffsetsRequest
	var resp wire.ListOffsetsResponse
	req.Reset()
	req.ReplicaID = -1
	topic := wire.Add(&req.Topics)
	topic.Name = p.topic
	part := wire.Add(&topic.Partitions)
	part.PartitionIndex, part.Timestamp = p.index, -2
	if err := c.send(&req, listOffsetsVersion); err != nil {
		return 0, 0, err
	}
	if err := c.receive(&resp, listOffsetsVersion); err != nil {
		return 0, 0, err
	}
	answer := &resp.Topics[0].Partitions[0]
	return answer.Offset, answer.ErrorCode, nil
}

// until calls try until it is done, gives up with ctx, and takes broken connections for a reason to try again.
func until(ctx context.Context, try func() (done bool)) bool {
	for ctx.Err() == nil {
		if try() {
			return true
		}
		pause()
	}
	return false
}

// passing reports whether a client may try again after an error.
func passing(code kafkaerr.Code) bool {
	switch code {
	case kafkaerr.UnknownTopicOrPartition, kafkaerr.LeaderNotAvailable, kafkaerr.NotLeaderOrFollower, kafkaerr.RequestTimedOut,
		kafkaerr.BrokerNotAvailable, kafkaerr.NetworkException, kafkaerr.CoordinatorLoadInProgress, kafkaerr.CoordinatorNotAvailable,
		kafkaerr.NotCoordinator, kafkaerr.NotEnoughReplicas, kafkaerr.NotEnoughReplicasAfterAppend, kafkaerr.KafkaStorageError,
		kafkaerr.OffsetNotAvailable, kafkaerr.FencedLeaderEpoch, kafkaerr.UnknownLeaderEpoch, kafkaerr.NotController:
		return true
	}
	return false
}
