package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/vfs"
)

// clusterID returns the cluster that the data directories belong to: the one they were formatted for, or
// for directories that are new the configured one, or a new one. One that cannot be read goes offline alone,
// but where no other says which cluster it is, that one might.
func clusterID(fsys vfs.FS, cfg *config.Node) (string, error) {
	var unread error
	for _, dir := range cfg.LogDirs {
		identity, err := checkpoint.ReadMetaProperties(fsys, dir)
		switch {
		case err == nil:
			return identity.ClusterID, nil
		case errors.Is(err, checkpoint.ErrCorrupt):
			return "", err
		case !errors.Is(err, fs.ErrNotExist):
			unread = errors.Join(unread, err)
		}
	}
	if unread != nil {
		return "", unread
	}
	if cfg.ClusterID != "" {
		return cfg.ClusterID, nil
	}
	id, err := model.NewUUID(rand.Reader)
	return id.String(), err
}

// identifyMetadataDir returns the id of a directory for the metadata log alone, none of log.dirs: it has a meta.properties as
// they have, which is written before the log in it has begun.
func (n *Node) identifyMetadataDir(dir, cluster string, begun bool) (model.UUID, error) {
	fsys := n.deps.FS
	p, err := checkpoint.ReadMetaProperties(fsys, dir)
	switch {
	case err == nil:
		return p.DirectoryID, p.CheckOwner(cluster, n.cfg.NodeID)
	case !errors.Is(err, fs.ErrNotExist):
		return model.UUID{}, err
	case begun:
		return model.UUID{}, fmt.Errorf("it holds a metadata log but no %s, so that nobody knows whose: put that file back", checkpoint.MetaPropertiesFile)
	}
	id, err := model.NewUUID(rand.Reader)
	if err != nil {
		return id, err
	}
	// As with a log directory: its name must outlive a power loss as long as what is put into it.
	if err := vfs.SyncPath(fsys, dir); err != nil {
		return id, err
	}
	return id, checkpoint.WriteMetaProperties(fsys, dir, checkpoint.MetaProperties{ClusterID: cluster, NodeID: n.cfg.NodeID, DirectoryID: id})
}

// logDir returns the log directory at a path; nil if log.dirs does not name it.
func (n *Node) logDir(path string) *storage.DirInfo {
	dirs := n.storage.Dirs()
	for i := range dirs {
		if filepath.Clean(dirs[i].Path) == filepath.Clean(path) {
			return &dirs[i]
		}
	}
	return nil
}
