package replica

import (
	"cmp"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/model"
)

// LogDir is a log directory and the replicas in it.
type LogDir struct {
	Path                  string
	Offline               error // nil while it serves
	TotalBytes, FreeBytes int64
	Replicas              []LogDirReplica // by topic and partition
}

// LogDirReplica is one replica's share of a directory.
type LogDirReplica struct {
	TopicPartition model.TopicPartition
	Size           int64 // bytes of its segments
}

// LogDirs returns every log directory with the replicas in it. It asks the file system for space.
func (m *Manager) LogDirs() []LogDir {
	byPath := map[string][]LogDirReplica{}
	for _, log := range m.logs.Logs() {
		path := log.Dir().Path()
		byPath[path] = append(byPath[path], LogDirReplica{log.TopicPartition(), log.Size()})
	}
	var dirs []LogDir
	for _, info := range m.logs.Dirs() {
		replicas := byPath[info.Path]
		slices.SortFunc(replicas, func(a, b LogDirReplica) int {
			return cmp.Or(strings.Compare(a.TopicPartition.Topic, b.TopicPartition.Topic),
				cmp.Compare(a.TopicPartition.Partition, b.TopicPartition.Partition))
		})
		dirs = append(dirs, LogDir{
			Path: info.Path, Offline: info.Offline, TotalBytes: info.Usage.TotalBytes, FreeBytes: info.Usage.FreeBytes,
			Replicas: replicas,
		})
	}
	return dirs
}
