package control_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// rules knows the topic configs retention.ms, cleanup.policy (a list) and min.insync.replicas.
type rules struct{ deletion bool }

func (rules) known(key string) error {
	if slices.Contains([]string{"retention.ms", "cleanup.policy", "min.insync.replicas"}, key) {
		return nil
	}
	return kafkaerr.New(kafkaerr.InvalidConfig, "unknown topic config %q", key)
}

func (r rules) CheckTopic(overrides iter.Seq2[string, string]) error {
	for key := range overrides {
		if err := r.known(key); err != nil {
			return err
		}
	}
	return nil
}

func (r rules) Alter(_ metadata.ConfigResource, current metadata.ConfigView, changes []control.ConfigChange, replace bool) ([]control.ConfigUpdate, error) {
	var updates []control.ConfigUpdate
	for _, c := range changes {
		if err := r.known(c.Name); err != nil {
			return nil, err
		}
		if _, set := current.Get(c.Name); c.Value != nil || set {
			updates = append(updates, control.ConfigUpdate{Name: c.Name, Value: c.Value})
		}
	}
	for key := range current.All() {
		if replace && !slices.ContainsFunc(changes, func(c control.ConfigChange) bool { return c.Name == key }) {
			updates = append(updates, control.ConfigUpdate{Name: key})
		}
	}
	return updates, nil
}

func (rules) DefaultPartitions() int32        { return 2 }
func (rules) DefaultReplicationFactor() int16 { return 1 }
func (r rules) DeleteTopicEnabled() bool      { return r.deletion }

func uuid(n int64) model.UUID {
	return model.UUID{6: 0x40, 8: 0x80, 14: byte(n >> 8), 15: byte(n)}
}

// random gives ids 1, 2, 3 and so on.
type random struct{ n byte }

func (r *random) Read(p []byte) (int, error) {
	r.n++
	clear(p)
	p[len(p)-1] = r.n
	return len(p), nil
}

// TestScripts decides requests on an image and shows answers and records. After every step the records
// are committed through their encoding, and the image is compared with the one of its snapshot.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		image, _, err := metadata.Empty().Apply(0, []metadata.Record{&metadata.ActivateControllerRecord{Epoch: 1}, &metadata.ClusterRecord{ID: "c"}})
		if err != nil {
			t.Fatal(err)
		}
		env := control.Env{Rules: rules{deletion: true}, Random: &random{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			var records []metadata.Record
			switch d.Cmd {
			case "create":
				var results []control.TopicResult
				records, results = control.DecideCreateTopics(image, control.CreateTopics{Topics: parseTopics(t, d), ValidateOnly: d.HasArg("validate-only")}, env)
				for _, r := range results {
					if answer(&out, r.Name, r.Err) {
						fmt.Fprintf(&out, "%s: id %d, %d partitions, replication factor %d\n", r.Name, r.ID[15], r.Partitions, r.ReplicationFactor)
					}
				}
			case "delete":
				env := control.Env{Rules: rules{deletion: !d.HasArg("disabled")}}
				var topics []control.DeleteTopic
				for line := range strings.Lines(d.Input) {
					var topic control.DeleteTopic
					for _, field := range strings.Fields(line) {
						if id, ok := strings.CutPrefix(field, "id="); ok {
							topic.ID = uuid(number(t, id))
						} else if field != "nothing" {
							topic.Name = field
						}
					}
					topics = append(topics, topic)
				}
				var results []control.DeleteTopicResult
				records, results = control.DecideDeleteTopics(image, topics, env)
				for _, r := range results {
					name := fmt.Sprintf("%q id %d", r.Name, r.ID[15])
					if answer(&out, name, r.Err) {
						fmt.Fprintf(&out, "%s: deleted\n", name)
					}
				}
			case "partitions":
				var req control.CreatePartitions
				req.ValidateOnly = d.HasArg("validate-only")
				for line := range strings.Lines(d.Input) {
					fields := strings.Fields(line)
					more := control.MorePartitions{Name: fields[0], Count: int32(number(t, fields[1]))}
					for _, brokers := range fields[2:] {
						more.Assignments = append(more.Assignments, parseBrokers(t, brokers))
					}
					req.Topics = append(req.Topics, more)
				}
				var results []control.PartitionsResult
				records, results = control.DecideCreatePartitions(image, req, env)
				for _, r := range results {
					if answer(&out, r.Name, r.Err) {
						fmt.Fprintf(&out, "%s: ok\n", r.Name)
					}
				}
			case "alter", "replace":
				var results []control.ConfigResult
				records, results = control.DecideAlterConfigs(image, control.AlterConfigs{
					Resources: parseResources(t, d), Replace: d.Cmd == "replace", ValidateOnly: d.HasArg("validate-only"),
				}, env)
				for _, r := range results {
					name := fmt.Sprintf("%d %q", r.Resource.Type, r.Resource.Name)
					if answer(&out, name, r.Err) {
						fmt.Fprintf(&out, "%s: ok\n", name)
					}
				}
			case "register":
				req := control.RegisterBroker{ClusterID: "c", Endpoints: []model.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092}}, Fenced: d.HasArg("fenced")}
				for _, arg := range d.CmdArgs {
					switch arg.Key {
					case "id":
						req.ID = model.BrokerID(number(t, arg.Vals[0]))
					case "incarnation":
						req.Incarnation = uuid(number(t, arg.Vals[0]))
					case "dir":
						for _, v := range arg.Vals {
							req.DirectoryIDs = append(req.DirectoryIDs, uuid(number(t, v)))
						}
					case "cluster":
						req.ClusterID = arg.Vals[0]
					}
				}
				var registration control.Registration
				var err error
				records, registration, err = control.DecideRegisterBroker(image, req)
				if answer(&out, "register", err) {
					fmt.Fprintf(&out, "broker epoch %d\n", registration.Epoch)
				}
			case "fence":
				var id int
				d.ScanArgs(t, "id", &id)
				var err error
				records, err = control.DecideFence(image, model.BrokerID(id))
				answer(&out, "fence", err)
			case "unfence":
				var id, epoch int
				d.ScanArgs(t, "id", &id)
				d.ScanArgs(t, "epoch", &epoch)
				var err error
				records, err = control.DecideUnfence(image, model.BrokerID(id), int64(epoch))
				answer(&out, "unfence", err)
			case "producer-ids":
				var id, epoch int
				d.ScanArgs(t, "id", &id)
				d.ScanArgs(t, "epoch", &epoch)
				var block control.ProducerIDs
				var err error
				records, block, err = control.DecideProducerIDs(image, model.BrokerID(id), int64(epoch))
				if answer(&out, "producer-ids", err) {
					fmt.Fprintf(&out, "%d ids from %d\n", block.Count, block.First)
				}
			case "commit": // records that no decision here makes
				var topic, elr int
				d.ScanArgs(t, "topic", &topic)
				d.ScanArgs(t, "elr", &elr)
				change := metadata.NewPartitionChange(uuid(int64(topic)), 0)
				p := image.Partition(model.TopicIDPartition{TopicID: change.TopicID})
				change.ELR = []model.BrokerID{model.BrokerID(elr)}
				change.ISR = slices.DeleteFunc(slices.Clone(p.ISR), func(id model.BrokerID) bool { return id == change.ELR[0] })
				records = []metadata.Record{change}
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			for i, r := range records {
				fmt.Fprintf(&out, "%d %s\n", image.Offset()+1+int64(i), show(r))
			}
			image = commit(t, image, records)
			return out.String()
		})
	})
}

// answer writes an error and reports whether there was none.
func answer(out *strings.Builder, name string, err error) bool {
	if err != nil {
		fmt.Fprintf(out, "%s: %v\n", name, err)
	}
	return err == nil
}

type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func commit(t failer, image *metadata.Image, records []metadata.Record) *metadata.Image {
	t.Helper()
	batch, err := metadata.EncodeBatch(records, metadata.Fence{ControllerEpoch: image.ControllerEpoch(), Offset: image.Offset()})
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := image.Commit(batch)
	if err != nil {
		t.Fatalf("a decision does not apply: %v", err)
	}
	var file bytes.Buffer
	if err := next.WriteSnapshot(&file); err != nil {
		t.Fatal(err)
	}
	reloaded, err := metadata.ReadSnapshot(&file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(next.Records(), reloaded.Records()); diff != "" {
		t.Fatalf("live and reloaded differ:\n%s", diff)
	}
	return next
}

func show(r metadata.Record) string {
	switch r := r.(type) {
	case *metadata.TopicRecord:
		return fmt.Sprintf("topic %s id %d", r.Name, r.ID[15])
	case *metadata.RemoveTopicRecord:
		return fmt.Sprintf("remove topic %d", r.ID[15])
	case *metadata.PartitionRecord:
		var dirs []int
		for _, u := range r.State.Directories {
			dirs = append(dirs, int(u[15]))
		}
		return fmt.Sprintf("partition %d-%d replicas %v dirs %v isr %v leader %d epoch %d", r.TopicID[15], r.Partition, r.State.Replicas, dirs, r.State.ISR, r.State.Leader, r.State.LeaderEpoch)
	case *metadata.PartitionChangeRecord:
		s := fmt.Sprintf("change %d-%d", r.TopicID[15], r.Partition)
		if r.Leader != metadata.NoLeaderChange {
			s += fmt.Sprintf(" leader %d", r.Leader)
		}
		if r.ISR != nil {
			s += fmt.Sprintf(" isr %v", r.ISR)
		}
		if r.ELR != nil {
			s += fmt.Sprintf(" elr %v", r.ELR)
		}
		return s
	case *metadata.ConfigRecord:
		if r.Value == nil {
			return fmt.Sprintf("config %d %q %s deleted", r.ResourceType, r.ResourceName, r.Key)
		}
		return fmt.Sprintf("config %d %q %s=%s", r.ResourceType, r.ResourceName, r.Key, *r.Value)
	case *metadata.RegisterBrokerRecord:
		return fmt.Sprintf("broker %d epoch %d incarnation %d fenced %v", r.ID, r.Epoch, r.Incarnation[15], r.Fenced)
	case *metadata.BrokerChangeRecord:
		return fmt.Sprintf("broker %d fenced %v", r.ID, r.Fenced)
	case *metadata.ProducerIDsRecord:
		return fmt.Sprintf("producer ids before %d to broker %d", r.NextID, r.BrokerID)
	}
	return fmt.Sprintf("%+v", r)
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parseBrokers(t *testing.T, s string) []model.BrokerID {
	var ids []model.BrokerID
	for id := range strings.SplitSeq(s, ",") {
		if id != "-" {
			ids = append(ids, model.BrokerID(number(t, id)))
		}
	}
	return ids
}

// parseTopics reads lines like: name partitions=3 rf=1 assign=0:1,2 config=key:value null=key cap.
func parseTopics(t *testing.T, d *datadriven.TestData) []control.NewTopic {
	var topics []control.NewTopic
	for line := range strings.Lines(d.Input) {
		fields := strings.Fields(line)
		topic := control.NewTopic{Name: strings.Trim(fields[0], `"`), Partitions: -1, ReplicationFactor: -1}
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "partitions":
				topic.Partitions = int32(number(t, value))
			case "rf":
				topic.ReplicationFactor = int16(number(t, value))
			case "assign":
				index, brokers, _ := strings.Cut(value, ":")
				topic.Assignments = append(topic.Assignments, control.Assignment{Partition: int32(number(t, index)), Brokers: parseBrokers(t, brokers)})
			case "config":
				name, text, _ := strings.Cut(value, ":")
				topic.Configs = append(topic.Configs, control.ConfigEntry{Name: name, Value: &text})
			case "null":
				topic.Configs = append(topic.Configs, control.ConfigEntry{Name: value})
			case "cap":
				topic.CapReplication = true
			default:
				t.Fatalf("unknown field %s", field)
			}
		}
		topics = append(topics, topic)
	}
	return topics
}

// parseResources reads lines like: 2 orders retention.ms=5 -cleanup.policy.
func parseResources(t *testing.T, d *datadriven.TestData) []control.AlterResource {
	var resources []control.AlterResource
	for line := range strings.Lines(d.Input) {
		fields := strings.Fields(line)
		r := control.AlterResource{Resource: metadata.ConfigResource{Type: int8(number(t, fields[0])), Name: strings.Trim(fields[1], `"`)}}
		for _, field := range fields[2:] {
			if name, ok := strings.CutPrefix(field, "-"); ok {
				r.Changes = append(r.Changes, control.ConfigChange{Op: control.OpDelete, Name: name})
				continue
			}
			name, value, _ := strings.Cut(field, "=")
			r.Changes = append(r.Changes, control.ConfigChange{Op: control.OpSet, Name: name, Value: &value})
		}
		resources = append(resources, r)
	}
	return resources
}

func TestDecideCreateTopics_TooManyPartitions(t *testing.T) {
	image := cluster(t, 1)
	env := control.Env{Rules: rules{}, Random: &random{}}
	for _, tc := range []struct {
		name   string
		topics []control.NewTopic
		want   error
	}{
		{"as many as may be", []control.NewTopic{{Name: "a", Partitions: 9_999, ReplicationFactor: 1}, {Name: "b", Partitions: 1, ReplicationFactor: 1}}, nil},
		{"one more, by the default", []control.NewTopic{{Name: "a", Partitions: 9_999, ReplicationFactor: 1}, {Name: "b", Partitions: -1, ReplicationFactor: 1}}, kafkaerr.PolicyViolation},
		{"past 32 bits", []control.NewTopic{{Name: "a", Partitions: 1<<31 - 1, ReplicationFactor: 1}, {Name: "b", Partitions: 1<<31 - 1, ReplicationFactor: 1}}, kafkaerr.PolicyViolation},
	} {
		t.Run(tc.name, func(t *testing.T) {
			records, results := control.DecideCreateTopics(image, control.CreateTopics{Topics: tc.topics}, env)
			for _, r := range results {
				if !errors.Is(r.Err, tc.want) {
					t.Errorf("%s: %v, want %v", r.Name, r.Err, tc.want)
				}
			}
			if tc.want != nil && len(records) > 0 {
				t.Errorf("%d records of a request that is refused", len(records))
			}
		})
	}
}

// cluster has this many brokers, one directory each.
func cluster(t failer, brokers int) *metadata.Image {
	t.Helper()
	image := commit(t, metadata.Empty(), nil)
	image = commit(t, image, []metadata.Record{&metadata.ClusterRecord{ID: "c"}})
	for id := range brokers {
		image = restart(t, image, model.BrokerID(id), 1)
	}
	return image
}

func restart(t failer, image *metadata.Image, id model.BrokerID, incarnation int) *metadata.Image {
	t.Helper()
	records, _, err := control.DecideRegisterBroker(image, control.RegisterBroker{
		ID: id, ClusterID: "c", Incarnation: uuid(int64(1000*(int(id)+1) + incarnation)), DirectoryIDs: []model.UUID{uuid(int64(id) + 1)},
		Endpoints: []model.Endpoint{{Listener: "PLAINTEXT"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return commit(t, image, records)
}

// Placement: every partition gets distinct brokers, and leaders and replicas differ by one at most
// between brokers, where the cluster was balanced.
func TestPlacement_IsBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "brokers")
		factor := rapid.IntRange(1, n).Draw(t, "factor")
		partitions := rapid.IntRange(1, 50).Draw(t, "partitions") * n
		image := cluster(t, n)
		records, results := control.DecideCreateTopics(image, control.CreateTopics{Topics: []control.NewTopic{
			{Name: "t", Partitions: int32(partitions), ReplicationFactor: int16(factor)},
		}}, control.Env{Rules: rules{}, Random: &random{}})
		if results[0].Err != nil {
			t.Fatal(results[0].Err)
		}
		image = commit(t, image, records) // refuses replicas that are not distinct
		topic, _ := image.Topic("t")
		leads, holds := map[model.BrokerID]int{}, map[model.BrokerID]int{}
		for _, p := range topic.Partitions {
			leads[p.Leader]++
			for _, id := range p.Replicas {
				holds[id]++
			}
		}
		for id := range model.BrokerID(n) {
			if leads[id] != partitions/n || holds[id] != partitions/n*factor {
				t.Fatalf("broker %d leads %d and holds %d of %d partitions on %d brokers with factor %d", id, leads[id], holds[id], partitions, n, factor)
			}
		}
	})
}

// Whatever brokers do, every decision applies; a restart raises the leader epoch of all that the broker
// led; a fenced broker leads nothing, and the ISR never runs empty.
func TestBrokers_AnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "brokers")
		image := cluster(t, n)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var topics []control.NewTopic
		for i := range 3 {
			topics = append(topics, control.NewTopic{Name: fmt.Sprint("t", i), Partitions: 3, ReplicationFactor: int16(1 + rng.IntN(n))})
		}
		records, _ := control.DecideCreateTopics(image, control.CreateTopics{Topics: topics}, control.Env{Rules: rules{}, Random: &random{}})
		image = commit(t, image, records)
		for step := range 20 {
			id := model.BrokerID(rng.IntN(n))
			before := image
			b, _ := image.Broker(id)
			var err error
			switch rng.IntN(3) {
			case 0:
				image = restart(t, image, id, 2+step)
				for topic := range before.Topics() {
					now, _ := image.TopicByID(topic.ID)
					for i, p := range topic.Partitions {
						if p.Leader == id && now.Partitions[i].LeaderEpoch <= p.LeaderEpoch {
							t.Fatalf("%s-%d was led by %d, which restarted, and keeps leader epoch %d", topic.Name, i, id, p.LeaderEpoch)
						}
					}
				}
				if after, _ := image.Broker(id); after.Epoch <= b.Epoch {
					t.Fatalf("broker epoch %d after %d", after.Epoch, b.Epoch)
				}
			case 1:
				if records, err = control.DecideFence(image, id); err == nil {
					image = commit(t, image, records)
				}
			case 2:
				if records, err = control.DecideUnfence(image, id, b.Epoch); err == nil {
					image = commit(t, image, records)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			for topic := range image.Topics() {
				for i, p := range topic.Partitions {
					if len(p.ISR) == 0 {
						t.Fatalf("%s-%d has an empty ISR", topic.Name, i)
					}
					if b, ok := image.Broker(p.Leader); p.Leader != model.NoBroker && (!ok || b.Fenced) {
						t.Fatalf("%s-%d is led by %d, which is fenced", topic.Name, i, p.Leader)
					}
					if p.Leader == model.NoBroker && slices.ContainsFunc(p.ISR, func(id model.BrokerID) bool { b, _ := image.Broker(id); return !b.Fenced }) {
						t.Fatalf("%s-%d has no leader, but an active ISR member in %v", topic.Name, i, p.ISR)
					}
				}
			}
		}
	})
}

// BenchmarkRestart is a broker's restart in a cluster where it leads 10 000 partitions, up to the image.
func BenchmarkRestart(b *testing.B) {
	image := cluster(b, 1)
	records, _ := control.DecideCreateTopics(image, control.CreateTopics{Topics: []control.NewTopic{{Name: "t", Partitions: 5000, ReplicationFactor: 1}}}, control.Env{Rules: rules{}, Random: &random{}})
	image = commit(b, image, records)
	var topics []control.NewTopic
	for i := range 500 {
		topics = append(topics, control.NewTopic{Name: fmt.Sprint("s", i), Partitions: 10, ReplicationFactor: 1})
	}
	records, _ = control.DecideCreateTopics(image, control.CreateTopics{Topics: topics}, control.Env{Rules: rules{}, Random: &wide{}})
	image = commit(b, image, records)
	bytes := 0
	for incarnation := int64(1); b.Loop(); incarnation++ {
		records, _, err := control.DecideRegisterBroker(image, control.RegisterBroker{
			ClusterID: "c", Incarnation: uuid(1), DirectoryIDs: []model.UUID{uuid(1)}, Endpoints: []model.Endpoint{{Listener: "PLAINTEXT"}},
		})
		if err != nil {
			b.Fatal(err)
		}
		batch, err := metadata.EncodeBatch(records, metadata.Fence{Offset: image.Offset()})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := image.Commit(batch); err != nil {
			b.Fatal(err)
		}
		bytes = len(batch)
	}
	b.ReportMetric(float64(bytes), "batch-bytes")
}

// wide is random for more than 255 ids.
type wide struct{ n int }

func (r *wide) Read(p []byte) (int, error) {
	r.n++
	clear(p)
	p[0], p[1], p[2] = 1, byte(r.n), byte(r.n>>8)
	return len(p), nil
}
