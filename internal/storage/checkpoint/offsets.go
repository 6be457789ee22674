package checkpoint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/vfs"
)

// The offset checkpoints of a log directory.
const (
	// RecoveryPoints: everything below the offset is on the device; recovery begins there.
	RecoveryPoints = "recovery-point-offset-checkpoint"
	// HighWatermarks: how far the partition was known to be replicated, a few seconds ago.
	HighWatermarks = "replication-offset-checkpoint"
	// LogStartOffsets: where the log begins, for logs that begin inside their first segment.
	LogStartOffsets = "log-start-offset-checkpoint"
	// CleanerOffsets: how far compaction has come.
	CleanerOffsets = "cleaner-offset-checkpoint"
)

// ErrCorrupt is wrapped by every error about a file's content.
var ErrCorrupt = errors.New("corrupt file")

// Offsets is the content of one offset checkpoint.
type Offsets map[model.TopicPartition]int64

// ReadOffsets reads the checkpoint name of the directory dir. A file that does not exist is empty.
func ReadOffsets(fsys vfs.FS, dir, name string) (Offsets, error) {
	text, err := vfs.ReadFile(fsys, filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return Offsets{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	offsets, err := DecodeOffsets(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return offsets, nil
}

// WriteOffsets replaces the checkpoint name of the directory dir, durably.
func WriteOffsets(fsys vfs.FS, dir, name string, offsets Offsets) error {
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, name), AppendOffsets(nil, offsets)); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

// AppendOffsets appends Kafka's text form: a line "0" (the version), a line with the count, and a line
// "topic partition offset" each, sorted so that equal checkpoints are equal files.
func AppendOffsets(dst []byte, offsets Offsets) []byte {
	dst = append(dst, "0\n"...)
	dst = strconv.AppendInt(dst, int64(len(offsets)), 10)
	dst = append(dst, '\n')
	for _, tp := range sorted(offsets) {
		dst = append(dst, tp.Topic...)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(tp.Partition), 10)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, offsets[tp], 10)
		dst = append(dst, '\n')
	}
	return dst
}

func sorted(offsets Offsets) []model.TopicPartition {
	tps := make([]model.TopicPartition, 0, len(offsets))
	for tp := range offsets {
		tps = append(tps, tp)
	}
	slices.SortFunc(tps, func(a, b model.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return tps
}

// DecodeOffsets reads Kafka's text form.
func DecodeOffsets(text []byte) (Offsets, error) {
	version, text, ok := bytes.Cut(text, []byte{'\n'})
	if !ok || string(version) != "0" {
		return nil, fmt.Errorf("%w: checkpoint version %.20q, want \"0\"", ErrCorrupt, version)
	}
	countText, text, ok := bytes.Cut(text, []byte{'\n'})
	count, err := strconv.Atoi(string(countText))
	// The shortest entry is "a 0 0\n": a count the text cannot hold is refused before it is allocated.
	if !ok || err != nil || count < 0 || count > len(text)/6 {
		return nil, fmt.Errorf("%w: count %.20q with %d bytes of entries", ErrCorrupt, countText, len(text))
	}
	offsets := make(Offsets, count)
	for n := range count {
		line, rest, ok := bytes.Cut(text, []byte{'\n'})
		fields := bytes.Split(line, []byte{' '})
		if !ok || len(fields) != 3 {
			return nil, fmt.Errorf("%w: line %d is %.80q, want \"topic partition offset\"", ErrCorrupt, n+3, line)
		}
		partition, partitionErr := strconv.ParseInt(string(fields[1]), 10, 32)
		offset, offsetErr := strconv.ParseInt(string(fields[2]), 10, 64)
		tp := model.TopicPartition{Topic: string(fields[0]), Partition: int32(partition)}
		if partitionErr != nil || offsetErr != nil || partition < 0 || model.ValidateTopicName(tp.Topic) != nil {
			return nil, fmt.Errorf("%w: line %d is %.80q, want \"topic partition offset\"", ErrCorrupt, n+3, line)
		}
		if _, twice := offsets[tp]; twice {
			return nil, fmt.Errorf("%w: line %d lists %s again", ErrCorrupt, n+3, tp)
		}
		offsets[tp] = offset
		text = rest
	}
	if len(text) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the last entry", ErrCorrupt, len(text))
	}
	return offsets, nil
}
