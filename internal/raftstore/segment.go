package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/walser-io/walser/internal/vfs"
)

const (
	segmentPrefix = "log-"
	segmentSuffix = ".seg"
)

// segment is one file of the log and where its entries lie. The log's locks guard it.
type segment struct {
	name    string
	file    vfs.File
	first   uint64  // index of offsets[0]
	offsets []int64 // of each entry's frame
	end     int64   // where the next frame goes
	header
	before uint32 // checksum of the last entry in the segment before
	sum    uint32 // checksum of the last entry; before, when there is none
	commit uint64 // commit index in the last frame
	torn   bool   // parts of a failed write may stand behind the end
}

// header is what tells a segment from all others.
type header struct {
	serial uint64
	id     uint32 // checksum of the header frame
}

// readHeader reads the header of a segment or spare from its first bytes.
func readHeader(content []byte) (header, error) {
	f, _, err := parseFrame(content)
	if err == nil && (f.kind != headerType || f.size() != frameHeader) {
		err = fmt.Errorf("%w: no header of a segment", errBadFrame)
	}
	return header{serial: f.index, id: f.checksum}, err
}

func segmentName(first uint64) string {
	return fmt.Sprintf("%s%020d%s", segmentPrefix, first, segmentSuffix)
}

func parseSegmentName(name string) (first uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, segmentSuffix); !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil && first > 0
}

// last returns the index of the last entry, first-1 when there is none.
func (s *segment) last() uint64 { return s.first + uint64(len(s.offsets)) - 1 }

// scan reads the whole segment and fills in what lies where. A write at the end that was cut short is
// left out: end stands before it. torn says so. The error is ErrCorrupt where it was not a crash.
func (s *segment) scan() (torn bool, err error) {
	size, err := s.file.Size()
	if err != nil {
		return false, err
	}
	content := make([]byte, size)
	if n, err := s.file.ReadAt(content, 0); err != nil && !errors.Is(err, io.EOF) || int64(n) < size {
		return false, fmt.Errorf("read %s: %d of %d bytes: %w", s.name, n, size, err)
	}
	if s.header, err = readHeader(content); err != nil {
		return false, corrupt(s.name, 0, "%v", err)
	}
	s.end = frameHeader
	var wrong error
	for s.end < size {
		f, n, err := parseFrame(content[s.end:])
		if err == nil {
			err = s.accept(&f)
		}
		if err != nil {
			wrong = err
			break
		}
		s.end += int64(n)
		s.sum, s.commit = f.checksum, f.commit
	}
	if wrong == nil {
		return false, nil
	}
	if at := s.laterWrite(content); at >= 0 {
		return false, corrupt(s.name, s.end, "%v; a later write stands at offset %d, so this was durable once", wrong, at)
	}
	return true, nil
}

// accept checks that f is the frame that belongs at s.end, and notes it.
func (s *segment) accept(f *frame) error {
	if len(s.offsets) == 0 {
		s.before, s.sum = f.previous, f.previous
	}
	if f.previous != s.sum || f.segment != s.id {
		return fmt.Errorf("%w: it follows checksum %08x in segment %08x, not %08x in %08x",
			errBadFrame, f.previous, f.segment, s.sum, s.id)
	}
	if f.kind == headerType || f.index != s.last()+1 {
		return fmt.Errorf("%w: type %d, index %d where %d belongs", errBadFrame, f.kind, f.index, s.last()+1)
	}
	s.offsets = append(s.offsets, s.end)
	return nil
}

// laterWrite looks behind the bad frame at s.end for an intact one of a write that began behind it. It
// returns that frame's offset or -1. Frames of the same write prove nothing: its blocks reach the disk in
// any order; frames of other segments were left here by other files.
func (s *segment) laterWrite(content []byte) int64 {
	magic := binary.BigEndian.AppendUint32(nil, frameMagic)
	for at := s.end + 1; at < int64(len(content)); at++ {
		i := bytes.Index(content[at:], magic)
		if i < 0 {
			return -1
		}
		at += int64(i)
		f, _, err := parseFrame(content[at:])
		if err == nil && int64(f.write) > s.end && int64(f.write) <= at && f.segment == s.id {
			return at
		}
	}
	return -1
}

// place is where the frame of an entry lies.
type place struct {
	file        vfs.File
	name        string
	offset, end int64
}

// placeOf returns where the nth entry lies. What it returns stays valid when the segment changes; the
// file may be closed.
func (s *segment) placeOf(n int) place {
	p := place{file: s.file, name: s.name, offset: s.offsets[n], end: s.end}
	if n+1 < len(s.offsets) {
		p.end = s.offsets[n+1]
	}
	return p
}

// read reads the frame and checks it.
func (p place) read() (frame, error) {
	b := make([]byte, p.end-p.offset)
	if n, err := p.file.ReadAt(b, p.offset); n < len(b) {
		return frame{}, fmt.Errorf("read %s at offset %d: %w", p.name, p.offset, err)
	}
	f, n, err := parseFrame(b)
	if err != nil || n != len(b) {
		return frame{}, corrupt(p.name, p.offset, "%v", err)
	}
	return f, nil
}
