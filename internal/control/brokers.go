package control

import (
	"math"
	"slices"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// Activate is what a new controller begins with.
type Activate struct {
	Epoch     int32  // the raft term
	ClusterID string // of this node's directories; names the cluster where it has no name yet
	// Features are finalised where the cluster has none, at these levels.
	Features []metadata.Feature
}

// DecideActivate returns the first records of a new controller.
func DecideActivate(image *metadata.Image, req Activate) ([]metadata.Record, error) {
	records := []metadata.Record{&metadata.ActivateControllerRecord{Epoch: req.Epoch}}
	switch image.ClusterID() {
	case "":
		records = append(records, &metadata.ClusterRecord{ID: req.ClusterID})
	case req.ClusterID:
	default:
		return nil, kafkaerr.New(kafkaerr.InconsistentClusterID, "this node's directories belong to cluster %s, its metadata log to %s", req.ClusterID, image.ClusterID())
	}
	if image.FinalizedFeaturesEpoch() < 0 {
		for _, f := range req.Features {
			epoch := image.Offset() + 1 + int64(len(records))
			records = append(records, &metadata.FeatureLevelRecord{Name: f.Name, Level: f.Level, Epoch: epoch})
		}
	}
	return records, nil
}

// RegisterBroker announces a process of a broker.
type RegisterBroker struct {
	ID           model.BrokerID
	ClusterID    string
	Incarnation  model.UUID // drawn at each process start
	Endpoints    []model.Endpoint
	Rack         string
	DirectoryIDs []model.UUID // of the log directories, whose locks the process holds
	Fenced       bool         // leads nothing until it is unfenced
}

// Registration is a broker's place in the cluster.
type Registration struct {
	Epoch int64 // the broker epoch: offset of the registration
}

// DecideRegisterBroker returns the records of a registration. A new incarnation that holds a directory of
// the one before takes over at once: the locks show that the other is gone, and its broker epoch fences
// what may be left of it. Every partition that the broker led gets a new leader epoch in the same batch:
// after a power loss the same offsets and epoch could otherwise hold other bytes. Where other members of
// the ISR are alive they take over; the last one stays, so a single replica's restart is no unclean
// election. A repeated registration of one incarnation changes nothing.
func DecideRegisterBroker(image *metadata.Image, req RegisterBroker) ([]metadata.Record, Registration, error) {
	if err := checkRegistration(image, req); err != nil {
		return nil, Registration{}, err
	}
	var records []metadata.Record
	if old, ok := image.Broker(req.ID); ok {
		if old.Incarnation == req.Incarnation {
			return nil, Registration{Epoch: old.Epoch}, nil
		}
		sameDisk := slices.ContainsFunc(req.DirectoryIDs, func(id model.UUID) bool { return slices.Contains(old.DirectoryIDs, id) })
		if !old.Fenced && !sameDisk {
			return nil, Registration{}, kafkaerr.New(kafkaerr.DuplicateBrokerRegistration,
				"broker %d is registered with log directories of which this process has none: does another process run as node.id %[1]d, or are all disks of log.dirs missing or new?", req.ID)
		}
		records = restarted(image, req.ID, !req.Fenced)
	}
	epoch := image.Offset() + 1 + int64(len(records))
	records = append(records, &metadata.RegisterBrokerRecord{
		ID: req.ID, Epoch: epoch, Incarnation: req.Incarnation, Endpoints: req.Endpoints, Rack: req.Rack,
		DirectoryIDs: req.DirectoryIDs, Fenced: req.Fenced,
	})
	return records, Registration{Epoch: epoch}, nil
}

func checkRegistration(image *metadata.Image, req RegisterBroker) error {
	switch {
	case req.ClusterID != image.ClusterID():
		return kafkaerr.New(kafkaerr.InconsistentClusterID, "the broker belongs to cluster %s, this is %s", req.ClusterID, image.ClusterID())
	case req.ID < 0 || req.Incarnation.IsZero() || len(req.Endpoints) == 0:
		return kafkaerr.New(kafkaerr.InvalidRegistration, "a registration needs an id, an incarnation and an endpoint")
	}
	for i, id := range req.DirectoryIDs {
		if id.IsZero() || slices.Contains(req.DirectoryIDs[:i], id) {
			return kafkaerr.New(kafkaerr.InvalidRegistration, "the log directory ids %v are not distinct", req.DirectoryIDs)
		}
		for b := range image.Brokers() {
			if b.ID != req.ID && slices.Contains(b.DirectoryIDs, id) {
				return kafkaerr.New(kafkaerr.InvalidRegistration, "log directory %s belongs to broker %d: was it copied?", id, b.ID)
			}
		}
	}
	return nil
}

// restarted takes a broker whose process is new out of what it was part of. leads says whether it may
// go on leading where nobody else can.
func restarted(image *metadata.Image, id model.BrokerID, leads bool) []metadata.Record {
	acceptable := func(other model.BrokerID) bool { return other == id && leads || other != id && active(image, other) }
	return changed(image, func(p *metadata.Partition, change *metadata.PartitionChangeRecord) bool {
		if !slices.Contains(p.ISR, id) {
			return false
		}
		// Its log may have lost its end, so it is no member any more, unless it is the last.
		isr := without(p.ISR, id)
		if slices.ContainsFunc(isr, acceptable) {
			change.ISR = isr
		} else {
			isr = p.ISR
		}
		if p.Leader == id || p.Leader == model.NoBroker {
			if leader := elect(p.Replicas, isr, acceptable); leader != p.Leader || leader != model.NoBroker {
				change.Leader = leader
			}
		}
		return change.ISR != nil || change.Leader != metadata.NoLeaderChange
	})
}

// DecideFence takes a broker out of service: other members of its ISRs lead, partitions where it was the
// last have no leader until it is back. The fence stands last: a batch before it can be decided again.
func DecideFence(image *metadata.Image, id model.BrokerID) ([]metadata.Record, error) {
	b, ok := image.Broker(id)
	if !ok {
		return nil, kafkaerr.New(kafkaerr.BrokerIDNotRegistered, "broker %d is not registered", id)
	}
	if b.Fenced {
		return nil, nil
	}
	records := restarted(image, id, false)
	return append(records, &metadata.BrokerChangeRecord{ID: id, Epoch: b.Epoch, Fenced: true}), nil
}

// DecideUnfence puts a broker into service: it leads what has no leader and has it in the ISR.
func DecideUnfence(image *metadata.Image, id model.BrokerID, epoch int64) ([]metadata.Record, error) {
	b, err := registered(image, id, epoch)
	if err != nil || !b.Fenced {
		return nil, err
	}
	records := []metadata.Record{&metadata.BrokerChangeRecord{ID: id, Epoch: b.Epoch}}
	acceptable := func(other model.BrokerID) bool { return other == id || active(image, other) }
	return append(records, changed(image, func(p *metadata.Partition, change *metadata.PartitionChangeRecord) bool {
		if p.Leader != model.NoBroker || !slices.Contains(p.ISR, id) {
			return false
		}
		change.Leader = elect(p.Replicas, p.ISR, acceptable)
		return true
	})...), nil
}

// changed asks decide about every partition and returns the changes it says yes to.
func changed(image *metadata.Image, decide func(*metadata.Partition, *metadata.PartitionChangeRecord) bool) []metadata.Record {
	var records []metadata.Record
	for topic := range image.Topics() {
		for i := range topic.Partitions {
			change := metadata.NewPartitionChange(topic.ID, int32(i))
			if decide(&topic.Partitions[i], change) {
				records = append(records, change)
			}
		}
	}
	return records
}

// elect returns the first acceptable member of the ISR in the order of the replicas.
func elect(replicas, isr []model.BrokerID, acceptable func(model.BrokerID) bool) model.BrokerID {
	for _, id := range replicas {
		if slices.Contains(isr, id) && acceptable(id) {
			return id
		}
	}
	return model.NoBroker
}

func active(image *metadata.Image, id model.BrokerID) bool {
	b, ok := image.Broker(id)
	return ok && b.Active()
}

func without(ids []model.BrokerID, id model.BrokerID) []model.BrokerID {
	return slices.DeleteFunc(slices.Clone(ids), func(other model.BrokerID) bool { return other == id })
}

func registered(image *metadata.Image, id model.BrokerID, epoch int64) (*metadata.Broker, error) {
	b, ok := image.Broker(id)
	if !ok {
		return nil, kafkaerr.New(kafkaerr.BrokerIDNotRegistered, "broker %d is not registered", id)
	}
	if b.Epoch != epoch {
		return nil, kafkaerr.New(kafkaerr.StaleBrokerEpoch, "broker %d is registered with epoch %d, the request carries %d", id, b.Epoch, epoch)
	}
	return b, nil
}

// ProducerIDBlock is how many producer ids a broker gets at a time.
const ProducerIDBlock = 1000

// ProducerIDs is a block of producer ids for one broker.
type ProducerIDs struct {
	First int64
	Count int32
}

// DecideProducerIDs gives a broker the next block. No id of it may leave before the record is committed.
func DecideProducerIDs(image *metadata.Image, id model.BrokerID, epoch int64) ([]metadata.Record, ProducerIDs, error) {
	if _, err := registered(image, id, epoch); err != nil {
		return nil, ProducerIDs{}, err
	}
	first := image.NextProducerID()
	if first > math.MaxInt64-ProducerIDBlock {
		return nil, ProducerIDs{}, kafkaerr.New(kafkaerr.UnknownServerError, "all producer ids are given out")
	}
	next := first + ProducerIDBlock
	return []metadata.Record{&metadata.ProducerIDsRecord{BrokerID: id, BrokerEpoch: epoch, NextID: next}}, ProducerIDs{First: first, Count: ProducerIDBlock}, nil
}
