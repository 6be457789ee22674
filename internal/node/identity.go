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
// for directories that are new the configured one, or a new one.
func clusterID(fsys vfs.FS, cfg *config.Node) (string, error) {
	for _, dir := range cfg.LogDirs {
		identity, err := checkpoint.ReadMetaProperties(fsys, dir)
		switch {
		case err == nil:
			return identity.ClusterID, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	if cfg.ClusterID != "" {
		return cfg.ClusterID, nil
	}
	id, err := model.NewUUID(rand.Reader)
	return id.String(), err
}
