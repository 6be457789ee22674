package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A frame is one log entry in a segment; a header frame begins the segment. Integers are big-endian.
//
//	 0  magic     4  frameMagic
//	 4  checksum  4  CRC-32C of bytes 8 to the end
//	 8  length    4  of the whole frame
//	12  previous  4  checksum of the entry before, which may be in the segment before; 0 in a header
//	16  segment   4  checksum of the segment's header; 0 in a header
//	20  write     4  offset in the segment where the write began that brought this frame
//	24  type      1  raft.LogType, or headerType
//	25  index     8  in a header the serial number of the segment, which no other has had
//	33  term      8
//	41  commit    8  raft's commit index at the time, never above index
//	49  appended  8  nanoseconds since 1970 when the leader appended it, 0 for unknown
//	57  extension 4  length of the extensions, which follow the data
//	61  data, extensions
//
// The chain of checksums keeps a frame of an earlier life of these bytes from following a new one, the
// segment keeps out frames of removed files whose blocks a crash left here. A header is durable before
// its file becomes part of the log, so a bad one is damage. The offset of the write
// tells damage from a crash: a write begins after the one before was synced, so whatever lies before the
// start of an intact frame's write was durable once.
const (
	frameMagic  = 0x57724C67
	frameHeader = 61
	headerType  = 0xff
	maxFrame    = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a decoded frame. data and extensions alias the bytes it was parsed from.
type frame struct {
	checksum, previous, segment, write uint32
	kind                               byte
	index, term, commit                uint64
	appended                           int64
	data, extensions                   []byte
}

// appendFrame appends the encoding of f, whose checksum it computes and returns.
func appendFrame(dst []byte, f *frame) ([]byte, uint32) {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, frameMagic)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(f.size()))
	dst = binary.BigEndian.AppendUint32(dst, f.previous)
	dst = binary.BigEndian.AppendUint32(dst, f.segment)
	dst = binary.BigEndian.AppendUint32(dst, f.write)
	dst = append(dst, f.kind)
	dst = binary.BigEndian.AppendUint64(dst, f.index)
	dst = binary.BigEndian.AppendUint64(dst, f.term)
	dst = binary.BigEndian.AppendUint64(dst, f.commit)
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.appended))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.extensions)))
	dst = append(dst, f.data...)
	dst = append(dst, f.extensions...)
	sum := crc32.Checksum(dst[start+8:], castagnoli)
	binary.BigEndian.PutUint32(dst[start+4:], sum)
	return dst, sum
}

func (f *frame) size() int { return frameHeader + len(f.data) + len(f.extensions) }

// errBadFrame is what is wrong with bytes that are no frame.
var errBadFrame = errors.New("no frame")

// parseFrame reads the frame at the start of b and returns its length.
func parseFrame(b []byte) (f frame, length int, err error) {
	if len(b) < frameHeader {
		return f, 0, fmt.Errorf("%w: %d bytes left", errBadFrame, len(b))
	}
	if magic := binary.BigEndian.Uint32(b); magic != frameMagic {
		return f, 0, fmt.Errorf("%w: it begins with %#08x", errBadFrame, magic)
	}
	announced := binary.BigEndian.Uint32(b[8:])
	if announced < frameHeader || announced > maxFrame || int(announced) > len(b) {
		return f, 0, fmt.Errorf("%w: length %d with %d bytes left", errBadFrame, announced, len(b))
	}
	length = int(announced)
	b = b[:length]
	f.checksum = binary.BigEndian.Uint32(b[4:])
	if sum := crc32.Checksum(b[8:], castagnoli); sum != f.checksum {
		return f, 0, fmt.Errorf("%w: checksum %08x, its bytes give %08x", errBadFrame, f.checksum, sum)
	}
	extensions := binary.BigEndian.Uint32(b[57:])
	if int(extensions) > length-frameHeader {
		return f, 0, fmt.Errorf("%w: %d bytes of extensions in %d", errBadFrame, extensions, length)
	}
	f.previous = binary.BigEndian.Uint32(b[12:])
	f.segment = binary.BigEndian.Uint32(b[16:])
	f.write = binary.BigEndian.Uint32(b[20:])
	f.kind = b[24]
	f.index = binary.BigEndian.Uint64(b[25:])
	f.term = binary.BigEndian.Uint64(b[33:])
	f.commit = binary.BigEndian.Uint64(b[41:])
	f.appended = int64(binary.BigEndian.Uint64(b[49:]))
	f.data = b[frameHeader : length-int(extensions)]
	f.extensions = b[length-int(extensions):]
	return f, length, nil
}

// entry copies the frame into a raft log entry.
func (f *frame) entry(log *raft.Log) {
	*log = raft.Log{Index: f.index, Term: f.term, Type: raft.LogType(f.kind)}
	if len(f.data) > 0 {
		log.Data = append([]byte(nil), f.data...)
	}
	if len(f.extensions) > 0 {
		log.Extensions = append([]byte(nil), f.extensions...)
	}
	if f.appended != 0 {
		log.AppendedAt = time.Unix(0, f.appended)
	}
}

func frameOf(log *raft.Log) frame {
	f := frame{kind: byte(log.Type), index: log.Index, term: log.Term, data: log.Data, extensions: log.Extensions}
	if !log.AppendedAt.IsZero() {
		f.appended = log.AppendedAt.UnixNano()
	}
	return f
}
