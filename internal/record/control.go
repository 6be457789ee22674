package record

import (
	"encoding/binary"
	"fmt"
)

// ControlType is what a control record says.
type ControlType int16

// The control types. Those from LeaderChange on occur in Kafka's own metadata log only.
const (
	ControlAbort          ControlType = 0
	ControlCommit         ControlType = 1
	ControlLeaderChange   ControlType = 2
	ControlSnapshotHeader ControlType = 3
	ControlSnapshotFooter ControlType = 4
	ControlKRaftVersion   ControlType = 5
	ControlKRaftVoters    ControlType = 6
)

// String returns Kafka's name of the type.
func (t ControlType) String() string {
	switch t {
	case ControlAbort:
		return "ABORT"
	case ControlCommit:
		return "COMMIT"
	case ControlLeaderChange:
		return "LEADER_CHANGE"
	case ControlSnapshotHeader:
		return "SNAPSHOT_HEADER"
	case ControlSnapshotFooter:
		return "SNAPSHOT_FOOTER"
	case ControlKRaftVersion:
		return "KRAFT_VERSION"
	case ControlKRaftVoters:
		return "KRAFT_VOTERS"
	default:
		return fmt.Sprintf("CONTROL(%d)", int16(t))
	}
}

// AppendControlKey appends the key of a control record: version 0 and the type.
func AppendControlKey(dst []byte, t ControlType) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	return binary.BigEndian.AppendUint16(dst, uint16(t))
}

// ParseControlKey reads the type from a control record's key. Later versions may add fields but not change these, so they are
// read alike; a type that is not known is not an error, readers skip it.
func ParseControlKey(key []byte) (ControlType, error) {
	if len(key) < 4 {
		return 0, fmt.Errorf("%w: control record key has %d bytes", ErrCorrupt, len(key))
	}
	if v := int16(binary.BigEndian.Uint16(key)); v < 0 {
		return 0, fmt.Errorf("%w: control record key version %d", ErrCorrupt, v)
	}
	return ControlType(binary.BigEndian.Uint16(key[2:])), nil
}

// EndTxnMarker is the record that ends a transaction on a partition.
type EndTxnMarker struct {
	Type             ControlType // ControlAbort or ControlCommit
	CoordinatorEpoch int32       // of the transaction coordinator that wrote it; older ones are fenced
}

// ParseEndTxnMarker reads the marker that r, the record of a control batch, holds. A control record of another type is an error.
func ParseEndTxnMarker(r Record) (EndTxnMarker, error) {
	t, err := ParseControlKey(r.Key)
	if err != nil {
		return EndTxnMarker{}, err
	}
	if t != ControlAbort && t != ControlCommit {
		return EndTxnMarker{}, fmt.Errorf("%w: control record %v does not end a transaction", ErrCorrupt, t)
	}
	if len(r.Value) < 6 {
		return EndTxnMarker{}, fmt.Errorf("%w: end of transaction marker has %d bytes", ErrCorrupt, len(r.Value))
	}
	if v := int16(binary.BigEndian.Uint16(r.Value)); v < 0 {
		return EndTxnMarker{}, fmt.Errorf("%w: end of transaction marker version %d", ErrCorrupt, v)
	}
	return EndTxnMarker{Type: t, CoordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:]))}, nil
}

// AppendEndTxn appends to dst the control batch that ends the transaction of a producer: one record, no sequence, base offset 0
// and no leader epoch until the log gives them. The batch aliases the grown dst.
func AppendEndTxn(dst []byte, m EndTxnMarker, producerID int64, producerEpoch int16, nowMs int64) (Batch, error) {
	if m.Type != ControlAbort && m.Type != ControlCommit {
		return nil, fmt.Errorf("build end of transaction marker: %v does not end a transaction", m.Type)
	}
	var key [4]byte
	var value [6]byte
	binary.BigEndian.PutUint32(value[2:], uint32(m.CoordinatorEpoch))
	bl := NewBuilder(BuilderOptions{
		ProducerID: producerID, ProducerEpoch: producerEpoch, BaseSequence: NoSequence,
		LeaderEpoch: NoLeaderEpoch, Transactional: true, Control: true,
	})
	bl.Append(nowMs, AppendControlKey(key[:0], m.Type), value[:], nil)
	return bl.Build(dst)
}
