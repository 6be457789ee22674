package cli_test

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/wire"
)

// writeLogs has package storage write demo-0 into a data directory: two segments, every codec, headers,
// null keys and values, an idempotent producer, an aborted and a committed transaction, and two leader
// epochs. The same bytes each time.
func writeLogs(dir string) error {
	m, err := storage.Open(storage.Deps{FS: vfs.OS(), Logger: slog.New(slog.DiscardHandler), Wall: func() time.Time { return time.UnixMilli(1_700_000_100_000) }},
		storage.ManagerConfig{NodeID: 1, ClusterID: "cluster", Dirs: []string{dir}})
	if err != nil {
		return err
	}
	cfg := storage.DefaultLogConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 1400, 100
	l, err := m.Create(model.TopicPartition{Topic: "demo"}, model.TopicID{1}, cfg, model.UUID{})
	if err != nil {
		return err
	}
	if err := l.Lead(1); err != nil {
		return err
	}
	w := logWriter{log: l, epoch: 1, clock: 1_700_000_000_000}
	for _, codec := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		w.data(record.BuilderOptions{Codec: codec, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1})
	}
	w.data(record.BuilderOptions{ProducerID: 7, ProducerEpoch: 2, BaseSequence: 0})
	w.data(record.BuilderOptions{ProducerID: 7, ProducerEpoch: 2, BaseSequence: 4})
	w.data(record.BuilderOptions{ProducerID: 9, ProducerEpoch: 0, BaseSequence: 0, Transactional: true})
	w.marker(record.ControlAbort, 9, 0)
	if w.err == nil {
		w.err = l.Lead(4)
	}
	w.epoch = 4
	w.data(record.BuilderOptions{ProducerID: 9, ProducerEpoch: 0, BaseSequence: 4, Transactional: true})
	w.marker(record.ControlCommit, 9, 0)
	w.data(record.BuilderOptions{ProducerID: 11, ProducerEpoch: 3, BaseSequence: 0, Transactional: true}) // stays open
	if w.err == nil {
		w.err = writeOffsets(m, w.clock)
	}
	if w.err != nil {
		return w.err
	}
	return m.CleanShutdown(1)
}

// writeOffsets writes __consumer_offsets-0: commits in each version, a tombstone, a group with a member and
// what no classic coordinator writes.
func writeOffsets(m *storage.Manager, nowMs int64) error {
	l, err := m.Create(model.TopicPartition{Topic: model.GroupMetadataTopic}, model.TopicID{2}, storage.DefaultLogConfig(), model.UUID{})
	if err != nil {
		return err
	}
	if err := l.Lead(0); err != nil {
		return err
	}
	b := record.NewBuilder(record.BuilderOptions{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1})
	add := func(kind int16, key message, version int16, value message) {
		k := encode(kind, key, 0)
		if value == nil {
			b.Append(nowMs, k, nil, nil)
			return
		}
		b.Append(nowMs, k, encode(version, value, version), nil)
	}
	key := &wire.OffsetCommitKey{Group: "billing", Topic: "orders", Partition: 3}
	commit := &wire.OffsetCommitValue{Offset: 17, LeaderEpoch: 4, Metadata: "<ü>", CommitTimestamp: nowMs, ExpireTimestamp: nowMs + 1, TopicID: model.UUID{1, 2}}
	for version := range int16(5) {
		v := *commit
		if version != 1 {
			v.ExpireTimestamp = -1
		}
		add(1, key, version, &v)
	}
	commit.TopicID = model.UUID{}
	add(1, key, 4, commit)
	add(0, key, 3, commit)
	add(1, key, 0, nil)

	group := &wire.GroupMetadataKey{Group: "billing"}
	value := wire.GroupMetadataValue{ProtocolType: "consumer", Generation: 2, Protocol: new("range"), Leader: new("m1"), CurrentStateTimestamp: nowMs}
	value.Members = []wire.MemberMetadata{
		{
			MemberID: "m1", GroupInstanceID: new("i1"), ClientID: "c", ClientHost: "/127.0.0.1", RebalanceTimeout: 300000, SessionTimeout: 45000,
			Subscription: encode(3, &wire.ConsumerProtocolSubscription{
				Topics: []string{"orders"}, UserData: []byte{1, 2}, GenerationID: 2, RackID: new("r1"),
				OwnedPartitions: []wire.ConsumerProtocolSubscriptionTopicPartition{{Topic: "orders", Partitions: []int32{0, 1}}},
			}, 3),
			Assignment: encode(0, &wire.ConsumerProtocolAssignment{AssignedPartitions: []wire.ConsumerProtocolAssignmentTopicPartition{{Topic: "orders", Partitions: []int32{0, 1}}}}, 0),
		},
		{
			MemberID: "m2", ClientID: "c", ClientHost: "/127.0.0.1", RebalanceTimeout: 300000, SessionTimeout: 45000,
			Subscription: encode(0, &wire.ConsumerProtocolSubscription{Topics: []string{"orders", "refunds"}}, 0), Assignment: []byte{9},
		},
	}
	for version := range int16(5) {
		add(2, group, version, &value)
	}
	connect := value
	connect.ProtocolType = "connect"
	add(2, group, 3, &connect)
	add(2, group, 3, &wire.GroupMetadataValue{ProtocolType: "consumer", CurrentStateTimestamp: nowMs})
	add(2, group, 3, nil)
	b.Append(nowMs, []byte{0, 99, 1}, []byte{0, 0}, nil)
	batch, err := b.Build(nil)
	if err != nil {
		return err
	}
	_, err = l.AppendAsLeader([]record.Batch{batch}, storage.LeaderAppend{NowMs: nowMs, Origin: storage.Coordinator})
	return err
}

type message interface {
	Encode(w *wire.Writer, version int16)
}

// encode returns an int16 and a message.
func encode(head int16, m message, version int16) []byte {
	var w wire.Writer
	w.Int16(head)
	m.Encode(&w, version)
	if w.Err() != nil {
		panic(w.Err())
	}
	return slices.Clone(w.Bytes())
}

type logWriter struct {
	log   *storage.Log
	epoch int32
	clock int64
	err   error
}

func (w *logWriter) append(b record.Batch, origin storage.Origin, err error) {
	if w.err == nil {
		w.err = err
	}
	if w.err != nil {
		return
	}
	a, err := w.log.AppendAsLeader([]record.Batch{b}, storage.LeaderAppend{LeaderEpoch: w.epoch, NowMs: w.clock, Origin: origin})
	if err != nil {
		w.err = fmt.Errorf("append %x: %w", []byte(b), err)
		return
	}
	w.log.SetHighWatermark(a.EndOffset)
}

func (w *logWriter) data(o record.BuilderOptions) {
	b := record.NewBuilder(o)
	b.Append(w.clock, []byte("k1"), []byte("value one"), []record.Header{{Key: []byte("trace"), Value: []byte("1")}, {Key: []byte("empty")}})
	b.Append(w.clock+3, nil, []byte("<grüße & more>"), nil)
	b.Append(w.clock+1, []byte("k3"), nil, nil)
	b.Append(w.clock+2, []byte{}, []byte{}, nil)
	w.clock += 1000
	batch, err := b.Build(nil)
	w.append(batch, storage.Client, err)
}

func (w *logWriter) marker(t record.ControlType, producer int64, epoch int16) {
	batch, err := record.AppendEndTxn(nil, record.EndTxnMarker{Type: t, CoordinatorEpoch: 5}, producer, epoch, w.clock)
	w.append(batch, storage.Coordinator, err)
	w.clock += 1000
}

// takePortTwice returns the error of listening on a port that is taken.
func takePortTwice() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	second, err := net.Listen("tcp", l.Addr().String())
	if err == nil {
		second.Close()
	}
	return fmt.Errorf("listen: %w", err)
}
