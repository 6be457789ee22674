package loadgen

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxAnswer bounds what an answer to a Produce request may claim to be.
const maxAnswer = 16 << 20

// Replay sends Produce requests that were encoded beforehand, over load.Producers connections with
// load.InFlight requests ahead on each. A request carries a batch of load.BatchBytes for each of
// load.PerRequest partitions; all partitions come in turn. The batches have no producer id, so that each can
// be sent any number of times. It needs one broker that leads them all, without TLS or SASL.
func Replay(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	if load.PerRequest < 1 || load.Idempotent || load.Codec != "none" {
		return Result{}, fmt.Errorf("load: PerRequest is %d, Idempotent %v and Codec %q: a replay needs at least 1, false and none", load.PerRequest, load.Idempotent, load.Codec)
	}
	p, err := newProduction(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	leader, dial, err := soleLeader(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	r := &replay{production: p, frames: encodeFrames(&load, p.payloads), limit: w.maxRecords(&load)}
	for i := range load.Producers {
		conn, err := dial(ctx, "tcp", leader)
		if err != nil {
			return Result{}, fmt.Errorf("connect to the leader: %w", err)
		}
		defer conn.Close()
		stop := context.AfterFunc(p.ctx, func() { _ = conn.Close() }) // it ends reads and writes
		defer stop()
		sent := make(chan *frame, load.InFlight-1) // one more is in the reader's hand
		p.running.Go(func() { r.send(conn, i, sent) })
		p.running.Go(func() { r.receive(conn, sent) })
	}
	result, err := p.measure(ctx, w)
	result.Batches = result.Records / r.frames[0].records * int64(load.PerRequest) // every request has as many
	return result, err
}

// frame is a Produce request that is sent again and again.
type frame struct {
	bytes   []byte
	records int64
}

// encodeFrames returns requests for all partitions in turn. They are many enough that a broker does not find
// what it receives in its cache.
func encodeFrames(load *Load, values *Payloads) []frame {
	var frames []frame
	var bytes int
	var first int64
	for partition := 0; partition%load.Partitions != 0 || bytes < poolBytes; {
		partitions := make([]int32, load.PerRequest)
		for i := range partitions {
			partitions[i] = int32(partition % load.Partitions)
			partition++
		}
		request, records := EncodeProduce(load, values, first, partitions)
		frames = append(frames, frame{request, records})
		bytes += len(request)
		first += records
	}
	return frames
}

// replay is one run of Replay.
type replay struct {
	*production
	frames []frame
	limit  int64 // of records; the last requests may go a little beyond
	given  atomic.Int64
}

// send writes every Producers'th frame until the run is stopped.
func (r *replay) send(conn net.Conn, first int, sent chan<- *frame) {
	defer close(sent)
	for i := first; !r.stopped.Load(); i += r.load.Producers {
		f := &r.frames[i%len(r.frames)]
		if r.given.Add(f.records)-f.records >= r.limit {
			return
		}
		select {
		case sent <- f:
		case <-r.ctx.Done():
			return
		}
		if _, err := conn.Write(f.bytes); err != nil {
			r.fail(fmt.Errorf("send a request: %w", err))
			return
		}
	}
}

// receive reads the answer to each frame that was sent.
func (r *replay) receive(conn net.Conn, sent <-chan *frame) {
	answers := bufio.NewReaderSize(conn, 64<<10)
	var answer []byte
	for f := range sent {
		var err error
		if answer, err = readAnswer(answers, answer); err == nil {
			err = checkProduced(answer)
		}
		if err != nil {
			r.fail(fmt.Errorf("read an answer: %w", err))
			return
		}
		r.count(f.records)
	}
}

// readAnswer reads one answer, from its correlation id on, into a buffer that it may have to replace.
func readAnswer(from io.Reader, buffer []byte) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return buffer, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxAnswer {
		return buffer, fmt.Errorf("it claims to have %d bytes", n)
	}
	if uint32(cap(buffer)) < n {
		buffer = make([]byte, n)
	}
	buffer = buffer[:n]
	_, err := io.ReadFull(from, buffer)
	return buffer, err
}

// checkProduced fails unless the answer says that every batch of an encoded request was taken.
func checkProduced(answer []byte) error {
	const header = 5 // correlation id, no tags
	if len(answer) < header || binary.BigEndian.Uint32(answer) != correlation {
		return errors.New("it belongs to another request")
	}
	response := kmsg.NewPtrProduceResponse()
	response.Version = produceVersion
	if err := response.ReadFrom(answer[header:]); err != nil {
		return err
	}
	for _, topic := range response.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return fmt.Errorf("produce: partition %d: %w", partition.Partition, err)
			}
		}
	}
	return nil
}

// dialer opens a connection to a broker.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// soleLeader returns the address of the broker that leads every partition, and how the clients dial it.
func soleLeader(ctx context.Context, cluster []kgo.Opt, load Load) (address string, dial dialer, err error) {
	client, err := kgo.NewClient(cluster...)
	if err != nil {
		return "", nil, fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	found, err := kadm.NewClient(client).Metadata(ctx, load.Topic)
	if err != nil {
		return "", nil, fmt.Errorf("look for the leaders of topic %s: %w", load.Topic, err)
	}
	leaders := map[int32]bool{}
	for _, partition := range found.Topics[load.Topic].Partitions {
		leaders[partition.Leader] = true
	}
	for _, broker := range found.Brokers {
		if len(leaders) == 1 && leaders[broker.NodeID] {
			dial, _ := client.OptValue(kgo.Dialer).(func(context.Context, string, string) (net.Conn, error))
			if dial == nil {
				dial = (&net.Dialer{}).DialContext
			}
			return net.JoinHostPort(broker.Host, fmt.Sprint(broker.Port)), dial, nil
		}
	}
	return "", nil, fmt.Errorf("topic %s has %d leaders: a replay needs one", load.Topic, len(leaders))
}
