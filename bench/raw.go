package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What follows talks to a broker over sockets of its own, since a client library waits between its tries.

const answerTimeout = 5 * time.Second

// dial connects to a broker.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(answerTimeout)) // fails only on a closed connection, as a write does
	}
	return conn, err
}

// exchange sends a request, its size in front, and returns the answer behind its correlation id.
func exchange(conn net.Conn, request []byte) ([]byte, error) {
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	const maxAnswer = 16 << 20
	size := binary.BigEndian.Uint32(head[:])
	if id := binary.BigEndian.Uint32(head[4:]); id != 1 || size < 4 || size > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes to request %d", size, id)
	}
	answer := make([]byte, size-4)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

// encode returns a request as it is sent. Versions of requests that stand alone here have plain headers.
func encode(request kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("walser-bench")).AppendRequest(nil, request, 1)
}

// awaitMetadata asks for Metadata, as a client would first, until an answer names the broker.
func awaitMetadata(ctx context.Context, at place) error {
	return again(ctx, time.Millisecond, func() error { return askMetadata(ctx, at) })
}

// again tries until it succeeds or the context ends, and begins a try no sooner than the given time after the
// one before.
func again(ctx context.Context, every time.Duration, try func() error) error {
	for {
		next := time.After(every)
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		select {
		case <-ctx.Done():
		case <-next:
		}
	}
}

// askMetadata fails unless the broker at that place says that it is there.
func askMetadata(ctx context.Context, at place) error {
	conn, err := dial(ctx, at.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Version, request.Topics = 8, []kmsg.MetadataRequestTopic{} // no topic; 8 is the last with plain headers
	answer, err := exchange(conn, encode(request))
	if err != nil {
		return err
	}
	response := kmsg.NewPtrMetadataResponse()
	response.Version = request.Version
	if err := response.ReadFrom(answer); err != nil {
		return err
	}
	if id := response.ClusterID; id == nil || *id != at.clusterID {
		return errors.New("another broker answers there")
	}
	for _, broker := range response.Brokers {
		if net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port))) == at.addr {
			return nil
		}
	}
	return errors.New("its Metadata does not name it yet")
}

// produce sends a request of loadgen.EncodeProduce over a connection of its own. It fails unless every batch
// was acknowledged.
func produce(ctx context.Context, addr string, request []byte) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := exchange(conn, request)
	if err != nil {
		return err
	}
	response := kmsg.NewPtrProduceResponse()
	response.Version = int16(binary.BigEndian.Uint16(request[6:]))
	if response.IsFlexible() && len(answer) > 0 {
		answer = answer[1:] // the header's tags: none
	}
	if err := response.ReadFrom(answer); err != nil {
		return err
	}
	for _, topic := range response.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return fmt.Errorf("partition %d: %w", partition.Partition, err)
			}
		}
	}
	return nil
}

// connect opens a connection, asks for ApiVersions as a client would, and leaves it open.
func connect(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	request := kmsg.NewPtrApiVersionsRequest()
	request.Version = 0
	if _, err := exchange(conn, encode(request)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
