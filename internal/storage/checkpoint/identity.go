package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/vfs"
)

// The files that say what a directory is.
const (
	MetaPropertiesFile    = "meta.properties"
	PartitionMetadataFile = "partition.metadata"
	CleanShutdownFile     = ".kafka_cleanshutdown"
)

// MetaProperties is whose a log directory is (version 1, KRaft).
type MetaProperties struct {
	ClusterID   string
	NodeID      model.BrokerID
	DirectoryID model.UUID
}

// CheckOwner says whose the directory is, if it is not that node's.
func (p MetaProperties) CheckOwner(cluster string, node model.BrokerID) error {
	switch {
	case p.ClusterID != cluster:
		return fmt.Errorf("it belongs to cluster %s, this node to %s", p.ClusterID, cluster)
	case p.NodeID != node:
		return fmt.Errorf("it belongs to node %s, this is node %s (node.id)", p.NodeID, node)
	}
	return nil
}

// ReadMetaProperties reads meta.properties of dir; fs.ErrNotExist if the directory is not formatted.
func ReadMetaProperties(fsys vfs.FS, dir string) (MetaProperties, error) {
	name := filepath.Join(dir, MetaPropertiesFile)
	text, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return MetaProperties{}, fmt.Errorf("read the directory's identity: %w", err)
	}
	p, err := DecodeMetaProperties(text)
	if err != nil {
		return MetaProperties{}, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// WriteMetaProperties formats dir: it replaces meta.properties, durably.
func WriteMetaProperties(fsys vfs.FS, dir string, p MetaProperties) error {
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, MetaPropertiesFile), p.Append(nil)); err != nil {
		return fmt.Errorf("write the directory's identity: %w", err)
	}
	return nil
}

// Append appends the properties as Java's Properties format has them.
func (p MetaProperties) Append(dst []byte) []byte {
	return fmt.Appendf(dst, "#\ncluster.id=%s\ndirectory.id=%s\nnode.id=%d\nversion=1\n", p.ClusterID, p.DirectoryID, p.NodeID)
}

// DecodeMetaProperties reads version 1 of meta.properties, in any order and with comments. Version 0 (of
// ZooKeeper's time, with broker.id) is refused: such a directory has no identity to take over.
func DecodeMetaProperties(text []byte) (MetaProperties, error) {
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return MetaProperties{}, fmt.Errorf("%w: line %.80q is no key=value", ErrCorrupt, line)
		}
		// Java's writer escapes '=', ':', '#' and '!' in values; ids hold none, base64url none of them.
		values[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	if v := values["version"]; v != "1" {
		return MetaProperties{}, fmt.Errorf("%w: version %.20q, want 1", ErrCorrupt, v)
	}
	node, err := strconv.ParseInt(values["node.id"], 10, 32)
	if err != nil || node < 0 {
		return MetaProperties{}, fmt.Errorf("%w: node.id %.20q", ErrCorrupt, values["node.id"])
	}
	if values["cluster.id"] == "" {
		return MetaProperties{}, fmt.Errorf("%w: no cluster.id", ErrCorrupt)
	}
	directory, err := model.ParseUUID(values["directory.id"])
	if err != nil || directory.IsZero() {
		return MetaProperties{}, fmt.Errorf("%w: directory.id %.40q", ErrCorrupt, values["directory.id"])
	}
	return MetaProperties{values["cluster.id"], model.BrokerID(node), directory}, nil
}

// AppendPartitionMetadata appends the form of partition.metadata, which ties a partition's directory to
// one incarnation of its topic.
func AppendPartitionMetadata(dst []byte, id model.TopicID) []byte {
	return fmt.Appendf(dst, "version: 0\ntopic_id: %s", id)
}

// DecodePartitionMetadata reads partition.metadata.
func DecodePartitionMetadata(text []byte) (model.TopicID, error) {
	version, rest, ok := bytes.Cut(text, []byte{'\n'})
	if !ok || string(bytes.TrimSpace(version)) != "version: 0" {
		return model.TopicID{}, fmt.Errorf("%w: %.40q, want \"version: 0\"", ErrCorrupt, version)
	}
	idText, ok := bytes.CutPrefix(bytes.TrimSpace(rest), []byte("topic_id: "))
	if !ok {
		return model.TopicID{}, fmt.Errorf("%w: %.40q, want \"topic_id: \"", ErrCorrupt, rest)
	}
	id, err := model.ParseUUID(string(idText))
	if err != nil || id.IsZero() {
		return model.TopicID{}, fmt.Errorf("%w: topic id %.40q", ErrCorrupt, idText)
	}
	return id, nil
}

type cleanShutdown struct {
	Version     int   `json:"version"`
	BrokerEpoch int64 `json:"brokerEpoch"`
}

// ReadCleanShutdown says whether dir was shut down cleanly, and in which broker epoch (-1 if the file
// does not say). Kafka too takes the file's existence for the fact, and its content for the epoch.
func ReadCleanShutdown(fsys vfs.FS, dir string) (brokerEpoch int64, clean bool, err error) {
	text, err := vfs.ReadFile(fsys, filepath.Join(dir, CleanShutdownFile))
	if errors.Is(err, fs.ErrNotExist) {
		return -1, false, nil
	}
	if err != nil {
		return -1, false, fmt.Errorf("read the clean shutdown file: %w", err)
	}
	content := cleanShutdown{BrokerEpoch: -1}
	if json.Unmarshal(text, &content) != nil || content.Version != 0 {
		return -1, true, nil
	}
	return content.BrokerEpoch, true, nil
}

// WriteCleanShutdown says durably that dir is shut down cleanly. Everything it vouches for is durable before.
func WriteCleanShutdown(fsys vfs.FS, dir string, brokerEpoch int64) error {
	text, err := json.Marshal(cleanShutdown{Version: 0, BrokerEpoch: brokerEpoch})
	if err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, CleanShutdownFile), text); err != nil {
		return fmt.Errorf("write the clean shutdown file: %w", err)
	}
	return nil
}

// RemoveCleanShutdown takes the mark away durably, before the first change to the directory. It syncs the
// directory also where there is no mark: a process that was killed may have removed it, or renamed a
// checkpoint, and not come to the sync. What this one sees and goes by must not change with the power.
func RemoveCleanShutdown(fsys vfs.FS, dir string) error {
	err := fsys.Remove(filepath.Join(dir, CleanShutdownFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the clean shutdown file: %w", err)
	}
	// Should the removal be lost with the power, the next start would believe a shutdown that lies
	// before all that is written from here on, and recover nothing.
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("remove the clean shutdown file: %w", err)
	}
	return nil
}
