package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// Manager owns the log directories of a node and the logs in them.
type Manager struct {
	deps                 Deps
	cfg                  ManagerConfig
	metrics              *metrics
	files                *segment.FileCache
	dirs                 []*Dir
	openings             chan struct{} // a token for each log that is being opened
	producerExpirationMs atomic.Int64  // producer.id.expiration.ms

	mu struct {
		xsync.Mutex
		logs   map[model.TopicPartition]*Log
		closed bool
	}
	deletes deletions
}

// DirInfo describes a log directory.
type DirInfo struct {
	Path    string
	ID      model.UUID
	Offline error // nil while it serves
	Usage   vfs.Usage
}

// Open takes the log directories over: locks them, formats empty ones, reads their identity and
// checkpoints and lists the partitions in them. It opens no log; Recover does, each when it is asked for.
// A directory that cannot be read is offline from the start; all of them failing, a lock that is held,
// and a directory that belongs to another node or cluster are errors.
func Open(deps Deps, cfg ManagerConfig) (*Manager, error) {
	cfg = cfg.withDefaults()
	if cfg.NewDirectoryID == nil {
		cfg.NewDirectoryID = func() (model.UUID, error) { return model.NewUUID(rand.Reader) }
	}
	if len(cfg.Dirs) == 0 {
		return nil, errors.New("open storage: log.dirs names no directory")
	}
	m := &Manager{
		deps: deps, cfg: cfg, metrics: newMetrics(deps.Registerer),
		files:    segment.NewFileCache(deps.FS, cfg.MaxOpenFiles),
		openings: make(chan struct{}, cfg.RecoveryThreads),
	}
	m.mu.logs = map[model.TopicPartition]*Log{}
	m.SetProducerExpiration(24 * time.Hour)
	m.deletes.init()
	var faults []error
	for _, path := range cfg.Dirs {
		d, err := m.openDir(path)
		if d != nil {
			m.dirs = append(m.dirs, d)
		}
		if err == nil {
			continue
		}
		if d == nil {
			return nil, errors.Join(fmt.Errorf("open log directory %s: %w", path, err), m.unlock())
		}
		faults = append(faults, d.fail(err))
	}
	if len(faults) == len(m.dirs) {
		return nil, errors.Join(append(faults, m.unlock())...)
	}
	if err := m.checkIdentities(); err != nil {
		return nil, errors.Join(err, m.unlock())
	}
	return m, nil
}

// openDir returns no Dir where the start must not go on, and a Dir with an error where only the
// directory is unusable.
func (m *Manager) openDir(path string) (*Dir, error) {
	d := &Dir{
		path: path, fs: m.deps.FS, files: m.files, logger: m.deps.Logger, metrics: m.metrics,
		scratch: &scratch{}, inflate: &inflaters{}, deletes: &m.deletes, wall: m.deps.Wall, syncThreads: m.cfg.SyncThreads, snapshotBytes: m.cfg.SnapshotBytes,
		openings: m.openings, wake: make(chan struct{}, 1), crowded: make(chan struct{}, 1), recovered: make(chan struct{}),
		checkpointing: make(chan struct{}, 1),
	}
	d.mu.logs = map[model.TopicPartition]*Log{}
	d.mu.found = map[model.TopicPartition]foundLog{}
	if err := d.fs.MkdirAll(path, 0o755); err != nil {
		return d, err
	}
	lock, err := d.fs.Lock(filepath.Join(path, lockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: another broker uses it, or log.dirs names it twice", err)
	}
	if err != nil {
		return d, err
	}
	d.lock = lock
	if err := d.openVolume(m.cfg.VolumeSyncLogs); err != nil {
		return d, err
	}
	if fatal, err := m.identify(d); err != nil {
		if fatal {
			return nil, errors.Join(err, lock.Close())
		}
		return d, err
	}
	if err := d.readStart(); err != nil {
		return d, err
	}
	if err := d.scan(m); err != nil {
		return d, err
	}
	return d, d.keepReserve()
}

const (
	lockFile = ".lock"
	// bootFile holds the boot id of the machine's run since which the page cache has what is in the
	// directory; see Dir.saveBootID.
	bootFile = ".walser_boot"
)

// identify reads meta.properties, and writes it into an empty directory.
func (m *Manager) identify(d *Dir) (fatal bool, err error) {
	p, err := checkpoint.ReadMetaProperties(d.fs, d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		entries, err := d.fs.ReadDir(d.path)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			if name := e.Name(); name != lockFile && name != "lost+found" && !strings.HasSuffix(name, vfs.TempSuffix) {
				return true, fmt.Errorf("it holds %q but no %s: it is not a log directory of this node, and not empty", name, checkpoint.MetaPropertiesFile)
			}
		}
		id, err := m.cfg.NewDirectoryID()
		if err != nil {
			return true, err
		}
		// The directory may be new: its name must outlive a power loss as long as what is put into it.
		if err := vfs.SyncPath(d.fs, d.path); err != nil {
			return false, err
		}
		p = checkpoint.MetaProperties{ClusterID: m.cfg.ClusterID, NodeID: m.cfg.NodeID, DirectoryID: id}
		if err := checkpoint.WriteMetaProperties(d.fs, d.path, p); err != nil {
			return false, err
		}
	case err != nil:
		return errors.Is(err, checkpoint.ErrCorrupt), err
	}
	if err := p.CheckOwner(m.cfg.ClusterID, m.cfg.NodeID); err != nil {
		return true, err
	}
	d.id = p.DirectoryID
	return false, nil
}

// readStart finds out how the last process left the directory, and takes the clean mark away.
func (d *Dir) readStart() error {
	_, clean, err := checkpoint.ReadCleanShutdown(d.fs, d.path)
	if err != nil {
		return err
	}
	boot, err := d.fs.BootID()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	stored, err := vfs.ReadFile(d.fs, filepath.Join(d.path, bootFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.boot, d.storedBoot = boot, string(stored)
	switch {
	case clean:
		d.start = startClean
	case boot != "" && d.storedBoot == boot:
		d.start = startKilled
	default:
		d.start = startCrashed
	}
	return checkpoint.RemoveCleanShutdown(d.fs, d.path)
}

// oneLess is called when a log is recovered or deleted: it may be the last of those that were found.
func (d *Dir) oneLess() error {
	d.mu.Lock()
	last := d.mu.waiting && len(d.mu.found) == 0
	if last {
		d.mu.waiting = false
	}
	d.mu.Unlock()
	if last {
		close(d.recovered)
	}
	return d.saveBootID()
}

// saveBootID stores the boot id, and takes it away while a log awaits recovery after a power loss: should this
// process be killed before, the next one must read that log as this one would have.
func (d *Dir) saveBootID() error {
	d.checkpointing <- struct{}{}
	defer func() { <-d.checkpointing }()
	d.mu.Lock()
	waiting := len(d.mu.found)
	d.mu.Unlock()
	boot := d.boot
	if d.start == startCrashed && waiting > 0 {
		boot = ""
	}
	if boot == d.storedBoot {
		return nil
	}
	// Not synced: an older id that survives, or a torn one, only makes the next start more careful.
	err := writeFile(d.fs, filepath.Join(d.path, bootFile), []byte(boot), false)
	switch {
	case err == nil:
		d.storedBoot = boot
	case isNoSpace(err):
		d.logger.Warn("boot id not stored: the next start recovers more", "dir", d.path, "err", err)
	default:
		return d.fail(err)
	}
	return nil
}

// scan reads the checkpoints and lists the partitions.
func (d *Dir) scan(m *Manager) error {
	points, err := d.readOffsets(checkpoint.RecoveryPoints)
	if err != nil {
		return err
	}
	marks, err := d.readOffsets(checkpoint.HighWatermarks)
	if err != nil {
		return err
	}
	starts, err := d.readOffsets(checkpoint.LogStartOffsets)
	if err != nil {
		return err
	}
	cleaned, err := d.readOffsets(checkpoint.CleanerOffsets)
	if err != nil {
		return err
	}
	d.mu.savedRP, d.mu.savedHW, d.mu.savedLS, d.mu.savedCO = points, marks, starts, cleaned
	entries, err := d.fs.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasSuffix(name, vfs.TempSuffix):
			if err := d.fs.Remove(filepath.Join(d.path, name)); err != nil {
				return err
			}
		case !e.IsDir():
		case strings.HasSuffix(name, deleteSuffix):
			m.deletes.add(deletion{dir: d, path: filepath.Join(d.path, name), whole: true}, time.Time{})
		default:
			if tp, ok := parsePartitionDir(name); ok {
				d.mu.found[tp] = foundLog{points[tp], marks[tp], starts[tp], cleaned[tp]}
			}
		}
	}
	d.mu.waiting = len(d.mu.found) > 0
	return d.saveBootID()
}

// readOffsets reads a checkpoint. One that is damaged is as good as none: recovery reads more.
func (d *Dir) readOffsets(name string) (checkpoint.Offsets, error) {
	offsets, err := checkpoint.ReadOffsets(d.fs, d.path, name)
	if errors.Is(err, checkpoint.ErrCorrupt) {
		d.logger.Warn("checkpoint ignored", "dir", d.path, "err", err)
		if name == checkpoint.RecoveryPoints {
			d.start = startCrashed
		}
		return checkpoint.Offsets{}, nil
	}
	return offsets, err
}

// parsePartitionDir takes "topic-3" apart at its last '-'.
func parsePartitionDir(name string) (model.TopicPartition, bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 1 || model.ValidateTopicName(name[:i]) != nil {
		return model.TopicPartition{}, false
	}
	p, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || p < 0 || strconv.FormatInt(p, 10) != name[i+1:] {
		return model.TopicPartition{}, false
	}
	return model.TopicPartition{Topic: name[:i], Partition: int32(p)}, true
}

// checkIdentities refuses directories with the same id: one is a copy of the other.
func (m *Manager) checkIdentities() error {
	seen := map[model.UUID]string{}
	for _, d := range m.dirs {
		if other, twice := seen[d.id]; twice && !d.id.IsZero() {
			return fmt.Errorf("log directories %s and %s have the same directory.id %s: one is a copy of the other", other, d.path, d.id)
		}
		seen[d.id] = d.path
	}
	return nil
}

// Dirs describes the log directories, in the order of the configuration.
func (m *Manager) Dirs() []DirInfo {
	infos := make([]DirInfo, 0, len(m.dirs))
	for _, d := range m.dirs {
		info := DirInfo{Path: d.path, ID: d.id, Offline: d.Err()}
		if usage, err := d.fs.Usage(d.path); err == nil {
			info.Usage = usage
		}
		infos = append(infos, info)
	}
	return infos
}

// OnDisk returns the partitions that were found on disk and are not recovered, in no order. Those the cluster
// does not know are strays.
func (m *Manager) OnDisk() []model.TopicPartition {
	var tps []model.TopicPartition
	for _, d := range m.dirs {
		d.mu.Lock()
		for tp := range d.mu.found {
			tps = append(tps, tp)
		}
		d.mu.Unlock()
	}
	return tps
}

// Logs returns the open logs, recovered or not, in no order.
func (m *Manager) Logs() []*Log {
	m.mu.Lock()
	defer m.mu.Unlock()
	logs := make([]*Log, 0, len(m.mu.logs))
	for _, l := range m.mu.logs {
		logs = append(logs, l)
	}
	return logs
}

// Get returns an open log.
func (m *Manager) Get(tp model.TopicPartition) (*Log, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.mu.logs[tp]
	return l, ok
}

// Create returns a new, empty log. Nothing is written before its first append. It goes into the
// directory dir, and where that is zero into the one with the fewest logs that is online. ErrExists
// where the partition is open or on disk.
func (m *Manager) Create(tp model.TopicPartition, topicID model.TopicID, cfg LogConfig, dir model.UUID) (*Log, error) {
	l, recovered, err := m.open(tp, topicID, dir, cfg, onlyNew)
	if err == nil && !recovered {
		err = fmt.Errorf("%w on disk: %s", ErrExists, tp)
	}
	return l, err
}

// Open returns the log of a partition: the one that is on disk, in whatever directory, which serves
// nothing until Log.Recover; or a new one as Create makes it, which is recovered. ErrExists where it is
// open already, ErrWrongTopicID where what is on disk belongs to another incarnation of the topic (Delete
// makes room). A zero topicID takes what is on disk as it is. Where it is on no disk, and dir is none of
// log.dirs, Recover says ErrOffline.
func (m *Manager) Open(tp model.TopicPartition, topicID model.TopicID, dir model.UUID, cfg LogConfig) (l *Log, recovered bool, err error) {
	return m.open(tp, topicID, dir, cfg, foundOrNew)
}

// OpenExisting is Open for a partition that is older than this process. Where it is on no disk, but a
// directory is offline which may hold it, its log is that one's: Recover says ErrOffline. It does not begin
// anew elsewhere.
func (m *Manager) OpenExisting(tp model.TopicPartition, topicID model.TopicID, dir model.UUID, cfg LogConfig) (l *Log, recovered bool, err error) {
	return m.open(tp, topicID, dir, cfg, existing)
}

// opening says which log open is to return.
type opening int8

const (
	onlyNew opening = iota
	foundOrNew
	existing
)

// Recover opens and recovers the log of a partition that is on disk.
func (m *Manager) Recover(tp model.TopicPartition, cfg LogConfig) (*Log, error) {
	if d, _ := m.find(tp); d == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownPartition, tp)
	}
	l, _, err := m.open(tp, model.TopicID{}, model.UUID{}, cfg, foundOrNew)
	if err != nil {
		return nil, err
	}
	return l, l.Recover(context.Background())
}

func (m *Manager) open(tp model.TopicPartition, topicID model.TopicID, dir model.UUID, cfg LogConfig, which opening) (l *Log, recovered bool, err error) {
	defer func() {
		if err != nil {
			l, err = nil, fmt.Errorf("open the log of %s: %w", tp, err)
		}
	}()
	if err := model.ValidateTopicName(tp.Topic); err != nil {
		return nil, false, err
	}
	if tp.Partition < 0 {
		return nil, false, errors.New("a partition's number is not negative")
	}
	d, f := m.find(tp)
	switch {
	case d != nil && which == onlyNew:
		return nil, false, fmt.Errorf("%w in %s", ErrExists, d.path)
	case d != nil:
		if topicID, err = d.topicIDOf(tp, topicID); err != nil {
			return nil, false, err
		}
	default:
		if which == existing {
			d = m.mayHold(dir)
		}
		if d == nil && which != onlyNew && !dir.IsZero() && !m.has(dir) {
			d = m.absent(dir)
		}
		if d != nil {
			break
		}
		if d, err = m.place(dir); err != nil {
			return nil, false, err
		}
		recovered = true
	}
	l = newLog(d, tp, topicID, filepath.Join(d.path, tp.String()), cfg)
	l.highWatermark.Store(f.highWatermark) // a hint until the log is recovered
	l.ready.Store(recovered)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.mu.closed:
		return nil, false, ErrClosed
	case m.mu.logs[tp] != nil:
		return nil, false, ErrExists
	}
	m.mu.logs[tp] = l
	if recovered {
		d.mu.Lock()
		d.mu.logs[tp] = l
		d.mu.Unlock()
	}
	return l, recovered, nil
}

// find returns the directory that holds a partition which is not recovered yet.
func (m *Manager) find(tp model.TopicPartition) (*Dir, foundLog) {
	for _, d := range m.dirs {
		d.mu.Lock()
		f, ok := d.mu.found[tp]
		d.mu.Unlock()
		if ok {
			return d, f
		}
	}
	return nil, foundLog{}
}

// mayHold returns a directory that is offline and may hold a log of the directory id, which is zero where it is
// not known; nil where there is none.
func (m *Manager) mayHold(id model.UUID) *Dir {
	var offline *Dir
	for _, d := range m.dirs {
		switch {
		case d.Err() != nil:
			offline = d
		case !id.IsZero() && d.id == id:
			return nil // it would have been found
		}
	}
	return offline
}

func (m *Manager) has(id model.UUID) bool {
	return slices.ContainsFunc(m.dirs, func(d *Dir) bool { return d.id == id })
}

// absent stands for a directory that is not in log.dirs any more: one that is offline, with nothing in it.
func (m *Manager) absent(id model.UUID) *Dir {
	d := &Dir{id: id, fs: m.deps.FS, files: m.files, logger: m.deps.Logger, metrics: m.metrics, openings: m.openings}
	err := fmt.Errorf("%w: log.dirs names no directory with directory.id %s: name it again, or have the partition reassigned", ErrOffline, id)
	d.failure.Store(&err)
	return d
}

// topicIDOf compares the topic id in a partition's directory with the one asked for. Where the file
// cannot be read, or the directory is offline, Recover decides.
func (d *Dir) topicIDOf(tp model.TopicPartition, want model.TopicID) (model.TopicID, error) {
	if d.Err() != nil {
		return want, nil
	}
	raw, err := vfs.ReadFile(d.fs, filepath.Join(d.path, tp.String(), checkpoint.PartitionMetadataFile))
	if err != nil {
		return want, nil
	}
	id, err := checkpoint.DecodePartitionMetadata(raw)
	switch {
	case err != nil:
		return want, nil
	case !want.IsZero() && id != want:
		return want, fmt.Errorf("%w: %s holds topic id %s, want %s", ErrWrongTopicID, d.path, id, want)
	}
	return id, nil
}

// place chooses the directory of a new log.
func (m *Manager) place(id model.UUID) (*Dir, error) {
	var best *Dir
	fewest := 0
	var offline error
	for _, d := range m.dirs {
		d.mu.Lock()
		n := len(d.mu.logs) + len(d.mu.found)
		d.mu.Unlock()
		if !id.IsZero() && d.id != id {
			continue
		}
		if err := d.Err(); err != nil {
			offline = err
			continue
		}
		if best == nil || n < fewest {
			best, fewest = d, n
		}
	}
	switch {
	case best != nil:
		return best, nil
	case offline != nil:
		return nil, offline
	}
	return nil, fmt.Errorf("no log directory has id %s", id)
}

// Run flushes, checkpoints, applies retention, forgets silent producers and removes what was deleted until
// ctx ends, and returns when all of that has stopped. Logs work without it, but nothing becomes durable.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, d := range m.dirs {
		wg.Go(func() { d.runSyncer(ctx) })
		wg.Go(func() { d.runDrain(ctx) })
		wg.Go(func() { m.runCheckpoints(ctx, d) })
	}
	wg.Go(func() { m.runRetention(ctx) })
	wg.Wait()
	return nil
}

// runCheckpoints advances a directory's checkpoints. The recovery points are stored once more when all that
// was found is recovered and flushed: a node that is killed again before the interval is over does not read
// again what this start has read.
func (m *Manager) runCheckpoints(ctx context.Context, d *Dir) {
	flush := time.NewTicker(m.cfg.FlushCheckInterval)
	defer flush.Stop()
	points := time.NewTicker(m.cfg.RecoveryPointInterval)
	defer points.Stop()
	marks := time.NewTicker(m.cfg.HighWatermarkInterval)
	defer marks.Stop()
	starts := time.NewTicker(m.cfg.StartOffsetInterval)
	defer starts.Stop()
	recovered, flushed := d.recovered, (<-chan struct{})(nil)
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-recovered:
			recovered, flushed = nil, d.queueUnflushed()
		case <-flushed:
			flushed = nil
			err = d.saveRecoveryPoints(true)
		case <-flush.C:
			d.queueOverdue(m.deps.Wall().UnixMilli())
		case <-points.C:
			err = d.saveRecoveryPoints(true)
			d.queueDirty()
		case <-marks.C:
			err = d.saveHighWatermarks()
		case <-starts.C:
			err = d.saveStartOffsets()
		}
		if errors.Is(err, ErrNoSpace) {
			d.logger.Warn("checkpoint not written", "dir", d.path, "err", err)
		}
	}
}

// queueDirty queues every log that holds something unflushed, so that the recovery point moves.
func (d *Dir) queueDirty() {
	for _, l := range d.openLogs() {
		if l.flushed.Load() < l.end.Load() || l.newNames.Load() && len(l.list()) > 0 {
			d.Queue(l)
		}
	}
}

// queueOverdue queues the logs whose flush.ms is over.
func (d *Dir) queueOverdue(nowMs int64) {
	for _, l := range d.openLogs() {
		limit := l.config.Load().FlushMs
		switch {
		case l.flushed.Load() >= l.end.Load():
			l.dirtySince = 0
		case l.dirtySince == 0:
			l.dirtySince = nowMs
		case nowMs-l.dirtySince >= limit:
			l.dirtySince = nowMs
			d.Queue(l)
		}
	}
}

// CleanShutdown makes everything durable, writes producer snapshots and checkpoints, and marks the
// directories that are online as cleanly shut down in brokerEpoch. Run has returned, and no log is used
// any more. After it the manager is closed and its locks are given back.
func (m *Manager) CleanShutdown(brokerEpoch int64) error {
	m.mu.Lock()
	m.mu.closed = true
	m.mu.Unlock()
	var errs []error
	for _, d := range m.dirs {
		if d.Err() == nil {
			if err := d.shutdown(brokerEpoch); err != nil {
				errs = append(errs, fmt.Errorf("shut down log directory %s: %w", d.path, err))
			}
		}
	}
	return errors.Join(append(errs, m.Close())...)
}

// Close gives files and locks back without writing anything: the next start recovers.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.mu.closed = true
	m.mu.Unlock()
	for _, l := range m.Logs() {
		l.close()
	}
	return m.unlock()
}

func (m *Manager) unlock() error {
	var errs []error
	for _, d := range m.dirs {
		if d.volume != nil {
			errs = append(errs, d.volume.Close())
			d.volume = nil
		}
		if d.lock != nil {
			errs = append(errs, d.lock.Close())
			d.lock = nil
		}
	}
	return errors.Join(errs...)
}

func (d *Dir) shutdown(brokerEpoch int64) error {
	logs := d.openLogs()
	errs := make([]error, len(logs))
	d.parallel(len(logs), func(i int) {
		errs[i] = logs[i].prepareShutdown()
		d.Queue(logs[i])
	})
	// Where one log cannot say what the next start would like to know, the records of all are made durable all the same.
	if err := errors.Join(append(errs, d.SyncRound())...); err != nil {
		return err
	}
	for _, save := range []func() error{
		func() error { return d.saveRecoveryPoints(true) },
		d.saveHighWatermarks,
		d.saveStartOffsets,
	} {
		if err := save(); err != nil {
			return err
		}
	}
	// A log that was never opened is as the last process left it: its recovery is still to come.
	d.mu.Lock()
	unopened := len(d.mu.found)
	d.mu.Unlock()
	if unopened > 0 && d.start != startClean {
		d.logger.Info("not marked clean: logs were never opened", "dir", d.path, "logs", unopened)
		return nil
	}
	return checkpoint.WriteCleanShutdown(d.fs, d.path, brokerEpoch)
}

// prepareShutdown writes what the next start would else find by reading records.
func (l *Log) prepareShutdown() error {
	done := l.takeTurn()
	defer done()
	segs := l.list()
	if len(segs) == 0 {
		return nil
	}
	active := segs[len(segs)-1]
	l.mu.Lock()
	l.closed.Store(true)
	dirty := l.mu.sinceSnap > 0 || l.cut.Load()
	snapshot := l.snapshotLocked()
	l.mu.Unlock()
	if !dirty {
		return nil
	}
	active.Seal()
	if err := active.FlushIndex(); err != nil {
		return err
	}
	if err := active.SyncIndex(); err != nil {
		return err
	}
	if err := l.writeSnapshot(snapshot, true); err != nil {
		return err
	}
	return l.saveEpochs()
}

// close refuses further work and lets the files go.
func (l *Log) close() {
	l.mu.Lock()
	l.closed.Store(true)
	l.mu.Unlock()
	for _, seg := range l.list() {
		seg.Close()
	}
}
