package storage

import "github.com/prometheus/client_golang/prometheus"

// metrics is what the package counts.
type metrics struct {
	rounds         prometheus.Histogram
	syncedLogs     prometheus.Counter
	volumeSyncs    prometheus.Counter
	volumeDrains   prometheus.Counter
	rolls          prometheus.Counter
	offline        prometheus.Gauge
	recoveredLogs  prometheus.Counter
	recoveredBytes prometheus.Counter
	cutBytes       prometheus.Counter
	damaged        prometheus.Counter
	deleted        prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		rounds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "walser_storage_sync_round_seconds", Help: "Duration of one round of the syncer of a log directory.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		syncedLogs:     prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_synced_logs_total", Help: "Logs flushed by the syncers."}),
		volumeSyncs:    prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_volume_syncs_total", Help: "Rounds of the syncers that synced a whole file system; see log.flush.file.system.min.partitions."}),
		volumeDrains:   prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_volume_drains_total", Help: "Syncs of a whole file system that no record waits for: others had left too much unwritten for the syncers to do it."}),
		rolls:          prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_segment_rolls_total", Help: "Segments sealed and followed by a new one."}),
		offline:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "walser_storage_offline_directories", Help: "Log directories taken offline by a disk error."}),
		recoveredLogs:  prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_opened_logs_total", Help: "Logs opened from disk since the start."}),
		recoveredBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_recovered_bytes_total", Help: "Bytes of log gone through again because they could be damaged."}),
		cutBytes:       prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_recovery_cut_bytes_total", Help: "Bytes cut off damaged log ends at recovery."}),
		damaged:        prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_damaged_places_total", Help: "Places found since the start where flushed records are damaged; the log says where."}),
		deleted:        prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_storage_deleted_segments_total", Help: "Segments deleted by retention, DeleteRecords or truncation."}),
	}
	if reg != nil {
		reg.MustRegister(m.rounds, m.syncedLogs, m.volumeSyncs, m.volumeDrains, m.rolls, m.offline, m.recoveredLogs, m.recoveredBytes, m.cutBytes, m.damaged, m.deleted)
	}
	return m
}
