package node

import (
	"crypto/rand"
	"errors"
	"io/fs"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/model"
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
