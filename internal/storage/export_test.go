package storage

// CheckpointAll writes the checkpoints that Run writes in the background.
func (m *Manager) CheckpointAll() error {
	for _, d := range m.dirs {
		for _, save := range []func() error{func() error { return d.saveRecoveryPoints(true) }, d.saveHighWatermarks, d.saveStartOffsets} {
			if err := save(); err != nil {
				return err
			}
		}
	}
	return nil
}
