package raftstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// A snapshot is a file of blocks. The first holds the description, the others the state in order; a
// block without data ends the file.
//
//	0  length    4  of the data
//	4  checksum  4  CRC-32C of the checksum of the block before (0 for the first) and the data
//	8  data
//
// The description: magic 8, version 1, term 8, index 8, configuration index 8, configuration as raft
// encodes it.
const (
	snapshotPrefix   = "snap-"
	snapshotSuffix   = ".snap"
	snapshotMagic    = "WSRSNAP\x01"
	blockHead        = 8
	blockBytes       = 64 << 10
	retainSnapshots  = 2
	descriptionBytes = 8 + 1 + 8 + 8 + 8
)

// Snapshots keeps the newest snapshot for raft and the one before it for a human in need. A snapshot
// has its name only when it is whole and durable, so that a damaged one is refused, not passed over: the
// log before it may be gone.
type Snapshots struct {
	store *Store
	mu    struct {
		xsync.Mutex
		known []*raft.SnapshotMeta // newest first
	}
}

var _ raft.SnapshotStore = (*Snapshots)(nil)

// openSnapshots reads the descriptions of the snapshots in names, and the newest one to its end.
func openSnapshots(s *Store, names []string) (*Snapshots, error) {
	sn := &Snapshots{store: s}
	for _, name := range names {
		id, ok := strings.CutSuffix(name, snapshotSuffix)
		if !ok || !strings.HasPrefix(id, snapshotPrefix) {
			continue
		}
		r, meta, err := sn.open(id)
		if err != nil {
			return nil, err
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
		sn.mu.known = append(sn.mu.known, meta)
	}
	slices.SortFunc(sn.mu.known, newestFirst)
	if len(sn.mu.known) == 0 {
		return sn, nil
	}
	r, _, err := sn.open(sn.mu.known[0].ID)
	if err != nil {
		return nil, err
	}
	if sn.mu.known[0].Size, err = io.Copy(io.Discard, r); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return sn, r.Close()
}

func newestFirst(a, b *raft.SnapshotMeta) int {
	return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(b.Term, a.Term))
}

func (sn *Snapshots) path(id string) string { return sn.store.path(id + snapshotSuffix) }

// List returns the newest snapshot, if there is one.
func (sn *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	sn.mu.Lock()
	defer sn.mu.Unlock()
	if len(sn.mu.known) == 0 {
		return nil, nil
	}
	meta := *sn.mu.known[0]
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open returns a snapshot's state. Reading it gives checked bytes or ErrCorrupt.
func (sn *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	r, meta, err := sn.open(id)
	if err != nil {
		return nil, nil, err
	}
	sn.mu.Lock()
	defer sn.mu.Unlock()
	if i := slices.IndexFunc(sn.mu.known, func(m *raft.SnapshotMeta) bool { return m.ID == id }); i >= 0 {
		meta.Size = sn.mu.known[i].Size
	}
	return meta, r, nil
}

func (sn *Snapshots) open(id string) (*snapshotReader, *raft.SnapshotMeta, error) {
	file, err := sn.store.fs.OpenFile(sn.path(id), os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	r := &snapshotReader{file: file}
	meta, err := r.description(id)
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return r, meta, nil
}

// Create begins a snapshot. It is there when the sink was closed without an error.
func (sn *Snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	if err := sn.store.broken(); err != nil {
		return nil, err
	}
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("raft snapshot of version %d", version)
	}
	id := fmt.Sprintf("%s%d-%d", snapshotPrefix, term, index)
	file, err := sn.store.create(id + snapshotSuffix + vfs.TempSuffix)
	if err != nil {
		return nil, fmt.Errorf("begin raft snapshot: %w", err)
	}
	sink := &snapshotSink{snapshots: sn, file: file, meta: raft.SnapshotMeta{
		Version: version, ID: id, Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}
	head := append(make([]byte, blockHead, blockHead+blockBytes), snapshotMagic...)
	head = append(head, byte(version))
	head = binary.BigEndian.AppendUint64(head, term)
	head = binary.BigEndian.AppendUint64(head, index)
	head = binary.BigEndian.AppendUint64(head, configurationIndex)
	sink.block = append(head, raft.EncodeConfiguration(configuration)...)
	if err := sink.flush(); err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return sink, nil
}

// snapshotSink writes one snapshot. Not for several goroutines.
type snapshotSink struct {
	snapshots *Snapshots
	meta      raft.SnapshotMeta
	file      vfs.File
	end       int64
	sum       uint32
	block     []byte // the next block: room for its head, then data
	done      bool
}

var _ raft.SnapshotSink = (*snapshotSink)(nil)

func (s *snapshotSink) ID() string { return s.meta.ID }

func (s *snapshotSink) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if len(s.block) == blockHead+blockBytes {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
		take := min(len(p)-n, blockHead+blockBytes-len(s.block))
		s.block = append(s.block, p[n:n+take]...)
		n += take
	}
	s.meta.Size += int64(len(p))
	return len(p), nil
}

// flush writes the block that was gathered.
func (s *snapshotSink) flush() error {
	s.sum = blockSum(s.sum, s.block[blockHead:])
	binary.BigEndian.PutUint32(s.block, uint32(len(s.block)-blockHead))
	binary.BigEndian.PutUint32(s.block[4:], s.sum)
	if _, err := s.file.WriteAt(s.block, s.end); err != nil {
		return fmt.Errorf("write raft snapshot: %w", err)
	}
	s.end += int64(len(s.block))
	s.block = s.block[:blockHead]
	return nil
}

func blockSum(previous uint32, data []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.BigEndian.AppendUint32(nil, previous))
	return crc32.Update(sum, castagnoli, data)
}

// Close makes the snapshot durable, gives it its name and removes those that it replaces. An error
// leaves the ones before it in place; the log is not cut then, so the process may go on.
func (s *snapshotSink) Close() error {
	if s.done {
		return nil
	}
	if err := s.finish(); err != nil {
		return errors.Join(fmt.Errorf("finish raft snapshot %s: %w", s.meta.ID, err), s.Cancel())
	}
	s.done = true
	return s.snapshots.add(s.meta)
}

func (s *snapshotSink) finish() error {
	if len(s.block) > blockHead {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if err := s.flush(); err != nil { // the block without data
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := s.file.Close(); err != nil {
		return err
	}
	sn := s.snapshots
	path := sn.path(s.meta.ID)
	if err := sn.store.fs.Rename(path+vfs.TempSuffix, path); err != nil {
		return err
	}
	// The log is cut after this; without the name it would be cut for nothing.
	return sn.store.fs.SyncDir(sn.store.dir)
}

// Cancel drops the snapshot.
func (s *snapshotSink) Cancel() error {
	if s.done {
		return nil
	}
	s.done = true
	_ = s.file.Close() // it may be closed already, and what is in it does not matter
	err := s.snapshots.store.fs.Remove(s.snapshots.path(s.meta.ID) + vfs.TempSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// add makes a finished snapshot known and removes the oldest. That a removal fails is no reason to
// refuse the snapshot; the file is tried again after the next one.
func (sn *Snapshots) add(meta raft.SnapshotMeta) error {
	sn.mu.Lock()
	sn.mu.known = slices.DeleteFunc(sn.mu.known, func(m *raft.SnapshotMeta) bool { return m.ID == meta.ID })
	sn.mu.known = append(sn.mu.known, &meta)
	slices.SortFunc(sn.mu.known, newestFirst)
	var old []*raft.SnapshotMeta
	if len(sn.mu.known) > retainSnapshots {
		old = slices.Clone(sn.mu.known[retainSnapshots:])
		sn.mu.known = sn.mu.known[:retainSnapshots:retainSnapshots]
	}
	sn.mu.Unlock()
	for _, m := range old {
		_ = sn.store.fs.Remove(sn.path(m.ID)) // at the next start it is the third again
	}
	return nil
}

// snapshotReader hands out the state of a snapshot, block by checked block.
type snapshotReader struct {
	file  vfs.File
	at    int64
	sum   uint32
	block []byte // what is left of the block that was read last
	ended bool
}

// description reads the first block.
func (r *snapshotReader) description(id string) (*raft.SnapshotMeta, error) {
	if err := r.next(); err != nil {
		return nil, err
	}
	b := r.block
	if len(b) < descriptionBytes || string(b[:8]) != snapshotMagic || b[8] != byte(raft.SnapshotVersionMax) {
		return nil, corrupt(r.file.Name(), 0, "no description of a snapshot")
	}
	meta := &raft.SnapshotMeta{
		Version:            raft.SnapshotVersion(b[8]),
		ID:                 id,
		Term:               binary.BigEndian.Uint64(b[9:]),
		Index:              binary.BigEndian.Uint64(b[17:]),
		ConfigurationIndex: binary.BigEndian.Uint64(b[25:]),
	}
	configuration, err := decodeConfiguration(b[descriptionBytes:])
	if err != nil {
		return nil, corrupt(r.file.Name(), 0, "raft configuration: %v", err)
	}
	meta.Configuration = configuration
	r.block = nil
	return meta, nil
}

// decodeConfiguration is raft.DecodeConfiguration, which panics on what it cannot decode.
func decodeConfiguration(b []byte) (c raft.Configuration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return raft.DecodeConfiguration(b), nil
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	for len(r.block) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
		r.ended = len(r.block) == 0
	}
	n := copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

// next reads one block and checks it.
func (r *snapshotReader) next() error {
	var head [blockHead]byte
	if err := r.readAt(head[:], r.at); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > blockBytes {
		return corrupt(r.file.Name(), r.at, "a block of %d bytes", length)
	}
	block := make([]byte, length)
	if err := r.readAt(block, r.at+blockHead); err != nil {
		return err
	}
	sum := binary.BigEndian.Uint32(head[4:])
	if got := blockSum(r.sum, block); got != sum {
		return corrupt(r.file.Name(), r.at, "checksum %08x, its bytes give %08x", sum, got)
	}
	r.at += blockHead + int64(length)
	r.sum, r.block = sum, block
	return nil
}

func (r *snapshotReader) readAt(p []byte, at int64) error {
	n, err := r.file.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return corrupt(r.file.Name(), at+int64(n), "the file ends here")
	}
	return fmt.Errorf("read %s at offset %d: %w", r.file.Name(), at, err)
}

func (r *snapshotReader) Close() error { return r.file.Close() }
