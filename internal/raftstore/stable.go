package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// The vote file has two slots. A write goes to the older one, so that the other is whole whatever
// becomes of it; the slot with the higher sequence counts.
//
//	0  checksum  4  CRC-32C of bytes 4 to the end of the pairs
//	4  sequence  8  grows with every write
//	12 length    4  of the pairs
//	16 pairs: key length 2, key, value length 2, value
const (
	voteName  = "vote"
	slotBytes = 4096
	slotHead  = 16
)

// Stable keeps raft's term and vote: a few small values under keys.
type Stable struct {
	store *Store
	file  vfs.File
	mu    struct {
		xsync.Mutex // held across the write: raft has one writer, and it must wait
		values      map[string][]byte
		sequence    uint64
	}
}

var _ raft.StableStore = (*Stable)(nil)

func openStable(s *Store) (*Stable, error) {
	st := &Stable{store: s}
	st.mu.values = map[string][]byte{}
	_, err := s.fs.Stat(s.path(voteName))
	if os.IsNotExist(err) {
		if err := st.create(); err != nil {
			return nil, err
		}
		return st, nil
	}
	if st.file, err = s.fs.OpenFile(s.path(voteName), os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if err := st.load(); err != nil {
		_ = st.file.Close() // the error that matters is why the file cannot be used
		return nil, err
	}
	return st, nil
}

// create writes both slots under another name first: a vote file is never seen without one. Open makes its
// name durable.
func (st *Stable) create() error {
	content := make([]byte, 2*slotBytes)
	copy(content, encodeSlot(1, nil))
	copy(content[slotBytes:], encodeSlot(0, nil))
	if err := vfs.ReplaceFile(st.store.fs, st.store.path(voteName), content); err != nil {
		return err
	}
	st.mu.sequence = 1
	file, err := st.store.fs.OpenFile(st.store.path(voteName), os.O_RDWR, 0)
	st.file = file
	return err
}

// load reads the newest vote and syncs it: a process that was killed may have left it in the page cache,
// and raft obeys it from now on.
func (st *Stable) load() error {
	content := make([]byte, 2*slotBytes)
	if n, err := st.file.ReadAt(content, 0); n < len(content) {
		if errors.Is(err, io.EOF) {
			return corrupt(st.file.Name(), int64(n), "the file ends here, it should have %d bytes", len(content))
		}
		return fmt.Errorf("read %s: %w", st.file.Name(), err)
	}
	found := 0
	for i := range 2 {
		sequence, values, err := decodeSlot(content[i*slotBytes : (i+1)*slotBytes])
		// A crash spoils the slot it was writing, which is this one if sequence does not belong here.
		if err != nil || sequence%2 != uint64(1-i) {
			continue
		}
		if found++; found == 1 || sequence > st.mu.sequence {
			st.mu.sequence, st.mu.values = sequence, values
		}
	}
	if found == 0 {
		return corrupt(st.file.Name(), 0, "neither slot holds a vote")
	}
	return st.file.Sync()
}

// Set stores a value durably.
func (st *Stable) Set(key, val []byte) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.store.broken(); err != nil {
		return err
	}
	if old, ok := st.mu.values[string(key)]; ok && slices.Equal(old, val) {
		return nil // raft writes its term again at every start
	}
	values := maps.Clone(st.mu.values)
	values[string(key)] = slices.Clone(val)
	slot := encodeSlot(st.mu.sequence+1, values)
	if len(slot) > slotBytes {
		return fmt.Errorf("store raft value %q: %d bytes do not fit a slot", key, len(slot))
	}
	offset := int64(slotBytes) * int64(1-(st.mu.sequence+1)%2)
	if _, err := st.file.WriteAt(slot, offset); err != nil {
		return st.store.failNow(fmt.Errorf("write raft vote: %w", err))
	}
	if err := st.file.Sync(); err != nil {
		return st.store.failNow(fmt.Errorf("sync raft vote: %w", err))
	}
	st.mu.values = values
	st.mu.sequence++
	return nil
}

// Get returns a value, an empty one where the key was never set.
func (st *Stable) Get(key []byte) ([]byte, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.mu.values[string(key)]), nil
}

// SetUint64 stores a number durably.
func (st *Stable) SetUint64(key []byte, val uint64) error {
	return st.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 returns a number, 0 where the key was never set.
func (st *Stable) GetUint64(key []byte) (uint64, error) {
	val, err := st.Get(key)
	if err != nil || len(val) == 0 {
		return 0, err
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("raft value %q has %d bytes, not 8", key, len(val))
	}
	return binary.BigEndian.Uint64(val), nil
}

func encodeSlot(sequence uint64, values map[string][]byte) []byte {
	slot := make([]byte, slotHead, 256)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		slot = binary.BigEndian.AppendUint16(slot, uint16(len(key)))
		slot = append(slot, key...)
		slot = binary.BigEndian.AppendUint16(slot, uint16(len(values[key])))
		slot = append(slot, values[key]...)
	}
	binary.BigEndian.PutUint64(slot[4:], sequence)
	binary.BigEndian.PutUint32(slot[12:], uint32(len(slot)-slotHead))
	binary.BigEndian.PutUint32(slot, crc32.Checksum(slot[4:], castagnoli))
	return slot
}

// decodeSlot reads what encodeSlot wrote out of a whole slot.
func decodeSlot(slot []byte) (sequence uint64, values map[string][]byte, err error) {
	length := binary.BigEndian.Uint32(slot[12:])
	if int64(length) > int64(len(slot)-slotHead) {
		return 0, nil, fmt.Errorf("%d bytes of values", length)
	}
	slot = slot[:slotHead+int(length)]
	if crc32.Checksum(slot[4:], castagnoli) != binary.BigEndian.Uint32(slot) {
		return 0, nil, fmt.Errorf("checksum")
	}
	take := func(pairs []byte) (item, rest []byte, ok bool) {
		if len(pairs) < 2 || len(pairs)-2 < int(binary.BigEndian.Uint16(pairs)) {
			return nil, nil, false
		}
		n := 2 + int(binary.BigEndian.Uint16(pairs))
		return pairs[2:n], pairs[n:], true
	}
	values = map[string][]byte{}
	for pairs := slot[slotHead:]; len(pairs) > 0; {
		key, rest, ok := take(pairs)
		value, rest, ok2 := take(rest)
		if !ok || !ok2 {
			return 0, nil, fmt.Errorf("values are cut short")
		}
		values[string(key)] = slices.Clone(value)
		pairs = rest
	}
	return binary.BigEndian.Uint64(slot[4:]), values, nil
}
