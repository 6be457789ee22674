package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/controller"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/lifecycle"
	"github.com/walser-io/walser/internal/membership"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/publish"
	"github.com/walser-io/walser/internal/quorum"
	"github.com/walser-io/walser/internal/raftstore"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/cleaner"
	"github.com/walser-io/walser/internal/vfs"
)

// Deps is the world that a node works in. Every field must be set; Process sets them for a process of
// its own.
type Deps struct {
	FS         vfs.FS
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Wall       func() time.Time
	Listen     func(network, address string) (net.Listener, error)
}

// Process returns the Deps of a node that has the process to itself.
func Process(logger *slog.Logger) Deps {
	return Deps{FS: vfs.OS(), Logger: logger, Registerer: prometheus.NewRegistry(), Wall: time.Now, Listen: net.Listen}
}

// Node is one node of a cluster: broker and controller.
type Node struct {
	cfg          *config.Node
	deps         Deps
	settings     *settings
	storage      *storage.Manager
	store        *raftstore.Store
	quorum       *quorum.Raft
	publisher    *publish.Publisher
	machine      *publish.Machine
	controller   *controller.Controller
	producerIDs  *controller.ProducerIDSource
	deadlines    *deadline.Queue
	replicas     *replica.Manager
	coordinators *runtime.Runtime
	cleaner      *cleaner.Cleaner // nil where log.cleaner.enable is off
	server       *server.Server
	listeners    []bound
	membership   *membership.Membership
	fatal        chan error
}

// ErrLogDirs is in the chain of New's error for directories that cannot be used: another node's, in use, not empty,
// or not there. vfs.ErrLocked says that they are in use.
var ErrLogDirs = errors.New("the data directories cannot be used")

// drainTimeout is how long a stop waits for requests in flight. One that takes longer is of a client that reads nothing
// of its answer, or has stopped sending: its connection is cut, and it finds out that way. It leaves time for the
// rest of the stop within the ten seconds that a container gets.
const drainTimeout = 4 * time.Second

// New takes the data directories over and opens the listeners, so that a fault of the configuration is an
// error here and not later. Nothing is served before Run. A node that is not run must be closed.
func New(static *config.Static, deps Deps) (_ *Node, err error) {
	cfg := static.Node()
	n := &Node{cfg: &cfg, deps: deps, settings: newSettings(static, &cfg), fatal: make(chan error, 1)}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if n.listeners, err = bind(deps.Listen, cfg.Listeners); err != nil {
		return nil, err
	}
	cluster, err := clusterID(deps.FS, &cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLogDirs, err)
	}
	if err := n.openStorage(cluster); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLogDirs, err)
	}
	if err := n.openQuorum(cluster); err != nil {
		return nil, err
	}
	n.controller = controller.New(controller.Config{ClusterID: cluster, Features: finalised}, controller.Deps{
		Quorum: n.quorum, Committed: n.machine.Image, Await: n.publisher.Await, Rules: n.settings.rules, Random: rand.Reader,
		Logger: deps.Logger,
	})
	if err := n.join(cluster); err != nil {
		return nil, err
	}
	n.deadlines = deadline.New()
	n.replicas = replica.New(replica.Deps{
		Logger: deps.Logger, Registerer: deps.Registerer, Wall: deps.Wall, Logs: n.storage, Deadlines: n.deadlines,
		TopicConfig: n.settings.topic,
	}, replica.Config{Self: cfg.NodeID, RecoveryWorkers: cfg.Storage.RecoveryParallelism * len(cfg.LogDirs)})
	n.publisher.Subscribe(publish.Logs, n.replicas)
	if err := n.openCoordinators(); err != nil {
		return nil, err
	}
	if cfg.Storage.CleanerEnabled {
		n.openCleaner()
	}
	if n.server, err = n.newServer(cluster); err != nil {
		return nil, err
	}
	n.obey(n.settings.latest.Load())
	n.publisher.Subscribe(publish.Watchers, brokerSettings{n})
	return n, nil
}

func (n *Node) openStorage(cluster string) (err error) {
	s := &n.cfg.Storage
	n.storage, err = storage.Open(storage.Deps{
		FS: n.deps.FS, Logger: n.deps.Logger, Registerer: n.deps.Registerer, Wall: n.deps.Wall,
	}, storage.ManagerConfig{
		NodeID: n.cfg.NodeID, ClusterID: cluster, Dirs: n.cfg.LogDirs,
		RecoveryThreads: s.RecoveryParallelism, RecoveryPointInterval: s.RecoveryPointInterval,
		HighWatermarkInterval: s.HighWatermarkInterval, StartOffsetInterval: s.StartOffsetInterval,
		RetentionInterval:     s.RetentionCheckInterval,
		ProducerCheckInterval: s.ProducerExpiryCheckInterval, VolumeSyncLogs: s.VolumeSyncLogs,
	})
	return err
}

// openQuorum opens the metadata log and joins its quorum, of which this node is the one voter.
func (n *Node) openQuorum(cluster string) error {
	dir := n.cfg.MetadataDir
	if dir == "" {
		dir = n.cfg.LogDirs[0]
	}
	voter, err := n.openMetadataLog(dir, cluster)
	if err != nil {
		return fmt.Errorf("open the metadata log (metadata.log.dir) in %s: %w", dir, err)
	}
	n.publisher = publish.New()
	n.machine = publish.NewMachine(n.publisher)
	n.quorum, err = quorum.Open(quorum.Config{ServerID: quorum.ServerID(voter)}, quorum.Deps{
		Store: n.store, Machine: n.machine, Logger: n.deps.Logger, Fatal: n.fail,
	})
	return err
}

// openMetadataLog opens the metadata log in dir and returns what this node is called in its quorum: the id of that
// directory, so that the node is known again as long as the directory is there.
func (n *Node) openMetadataLog(dir, cluster string) (voter model.UUID, err error) {
	among := n.logDir(dir)
	if among != nil && among.Offline != nil {
		return voter, among.Offline
	}
	n.store, err = raftstore.Open(filepath.Join(dir, raftstore.DirName), raftstore.Config{}, raftstore.Deps{FS: n.deps.FS, Fatal: n.fail})
	if err != nil {
		return voter, err
	}
	begun, err := n.metadataHasBegun()
	if err != nil {
		return voter, err
	}
	if found := n.storage.OnDisk(); !begun && len(found) > 0 {
		// It is not theirs, and to it all of them would be of topics that are deleted.
		return voter, fmt.Errorf("it is new, but log.dirs holds %d partitions, %s among them: is a disk missing, or log.dirs in another order? "+
			"metadata.log.dir, or else the first of log.dirs, must be where it was", len(found), found[0])
	}
	if among != nil {
		return among.ID, nil
	}
	return n.identifyMetadataDir(dir, cluster, begun)
}

// metadataHasBegun says whether anything was ever written to the metadata log.
func (n *Node) metadataHasBegun() (bool, error) {
	last, err := n.store.Log().LastIndex()
	if err != nil || last > 0 {
		return true, err
	}
	snapshots, err := n.store.Snapshots().List()
	return len(snapshots) > 0, err
}

// fail is called when it would be wrong to go on: the metadata log cannot be written.
func (n *Node) fail(err error) {
	select {
	case n.fatal <- err:
	default:
	}
}

// join prepares this process's membership of the cluster.
func (n *Node) join(cluster string) error {
	incarnation, err := model.NewUUID(rand.Reader)
	if err != nil {
		return err
	}
	endpoints, err := advertised(n.cfg.AdvertisedListeners, n.listeners)
	if err != nil {
		return err
	}
	self := metadata.Broker{ID: n.cfg.NodeID, Incarnation: incarnation, Endpoints: endpoints, Rack: n.cfg.Rack}
	for _, dir := range n.storage.Dirs() {
		if dir.Offline == nil {
			self.DirectoryIDs = append(self.DirectoryIDs, dir.ID)
		}
	}
	n.membership = membership.New(self, membership.Deps{
		Publisher: n.publisher, Logger: n.deps.Logger,
		Register: func(ctx context.Context, b metadata.Broker) (int64, error) {
			registration, err := n.controller.RegisterBroker(ctx, control.RegisterBroker{
				ID: b.ID, ClusterID: cluster, Incarnation: b.Incarnation, Endpoints: b.Endpoints, Rack: b.Rack,
				DirectoryIDs: b.DirectoryIDs,
			})
			return registration.Epoch, err
		},
	})
	n.producerIDs = controller.NewProducerIDSource(func(ctx context.Context) (control.ProducerIDs, error) {
		return n.controller.AllocateProducerIDs(ctx, n.cfg.NodeID, n.membership.Epoch())
	})
	return nil
}

func (n *Node) newServer(cluster string) (*server.Server, error) {
	return server.New(n.apis(), n.serverConfig(), server.Deps{
		Logger: n.deps.Logger, Registerer: n.deps.Registerer, Wall: n.deps.Wall, Features: n.features,
		ClusterID: func() string { return cluster }, NodeID: n.cfg.NodeID, Gate: n.membership.Ready(),
	})
}

// Run serves until ctx ends, and returns when everything is flushed and still. It is called once.
func (n *Node) Run(ctx context.Context) error {
	defer n.Close()
	return lifecycle.Run(ctx, lifecycle.Options{StopTimeout: drainTimeout},
		lifecycle.Part{Name: "storage", Run: n.runStorage},
		lifecycle.Part{Name: "metadata quorum", Run: n.watchQuorum},
		lifecycle.Part{Name: "controller", Run: n.controller.Run},
		lifecycle.Part{Name: "publisher", Run: n.publisher.Run},
		lifecycle.Part{Name: "deadlines", Run: n.deadlines.Run},
		lifecycle.Part{Name: "replicas", Run: n.replicas.Run},
		lifecycle.Part{Name: "cleaner", Run: n.runCleaner},
		lifecycle.Part{Name: "coordinators", Run: n.coordinators.Run},
		lifecycle.Part{Name: "server", Run: n.server.Run},
		lifecycle.Part{Name: "listeners", Run: n.serve, Stop: n.drain},
		lifecycle.Part{Name: "membership", Run: n.membership.Run},
	)
}

// runStorage looks after the logs until ctx ends, which is when nothing appends any more; then it flushes
// them and notes that nothing needs recovery.
func (n *Node) runStorage(ctx context.Context) error {
	if err := n.storage.Run(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return n.storage.CleanShutdown(n.membership.Epoch())
}

// watchQuorum ends the node when the metadata log cannot be written any more. The quorum is closed at once then: it would hold an
// election while the other parts stop, and where it cannot note its vote it takes the process down.
func (n *Node) watchQuorum(ctx context.Context) error {
	var fault error
	select {
	case fault = <-n.fatal:
	case <-ctx.Done():
	}
	err := n.quorum.Close()
	if fault == nil {
		select {
		case fault = <-n.fatal: // in its last moment, or before ours
		default:
		}
	}
	return errors.Join(fault, err)
}

// serve accepts on every listener until ctx ends or the server is drained.
func (n *Node) serve(ctx context.Context) error {
	group := lifecycle.NewGroup(ctx)
	for _, l := range n.listeners {
		group.Go(l.config.Name, func(ctx context.Context) error { return n.server.Serve(ctx, l.net, l.info()) })
	}
	return group.Wait()
}

// drain answers what is in flight, if that can be done within ctx; serve cuts the rest.
func (n *Node) drain(ctx context.Context) error {
	if err := n.server.Drain(ctx); err != nil {
		n.deps.Logger.Warn("stopping with requests in flight, whose connections are cut", "err", err)
	}
	return nil
}

// Ready is closed when clients are answered.
func (n *Node) Ready() <-chan struct{} { return n.membership.Ready() }

// Endpoints returns where clients reach this node, one for each listener.
func (n *Node) Endpoints() []model.Endpoint {
	endpoints, err := advertised(n.cfg.AdvertisedListeners, n.listeners)
	if err != nil {
		return nil // New has resolved them once
	}
	return endpoints
}

// Close lets go of sockets, locks and files. After Run it has been called already.
func (n *Node) Close() {
	for _, l := range n.listeners {
		l.net.Close()
	}
	log := func(what string, err error) {
		if err != nil {
			n.deps.Logger.Error("close "+what, "err", err)
		}
	}
	if n.quorum != nil {
		log("metadata quorum", n.quorum.Close())
	}
	if n.store != nil {
		log("metadata log", n.store.Close())
	}
	if n.storage != nil {
		log("storage", n.storage.Close())
	}
}

// autoCreateTopics creates topics for auto.create.topics.enable: those of a client with the defaults, one that
// the node keeps for itself as it needs it. Internal topics of what is not served yet are not created: with
// the defaults they would be in the way later.
func (n *Node) autoCreateTopics(ctx context.Context, names []string) {
	var asked control.CreateTopics
	for _, name := range names {
		topic := control.NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1}
		if model.IsInternalTopic(name) {
			internal, ok := n.internalTopic(name)
			if !ok {
				continue
			}
			topic = internal
		}
		asked.Topics = append(asked.Topics, topic)
	}
	results, err := n.controller.CreateTopics(ctx, asked)
	failed := 0
	for _, result := range results {
		if result.Err != nil && kafkaerr.CodeOf(result.Err) != kafkaerr.TopicAlreadyExists {
			if failed++; err == nil {
				err = fmt.Errorf("%s: %w", result.Name, result.Err)
			}
		}
	}
	if err != nil {
		n.deps.Logger.Warn("topics were not created automatically", "asked", len(asked.Topics), "failed", failed, "err", err)
	}
}
