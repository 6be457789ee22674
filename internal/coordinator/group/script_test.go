package group_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// Scripts drive one shard the way the runtime does. After each command the durable state must equal that
// of a shard that replays the whole log, and that of one that replays a compacted head and the tail.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		d := newDriver(t, group.DefaultConfig())
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			d.t = t
			out := d.run(td)
			d.checkReloads()
			return shorten(out)
		})
	})
}

var errAppend = kafkaerr.NotEnoughReplicas

// driver is a runtime without a log: appends succeed and are committed at once, unless told otherwise.
type driver struct {
	t      *testing.T
	config group.Config
	shard  *group.Shard
	now    time.Time
	log    []coordinator.Record
	drawn  int
	memory *memory // of the shard
	fail   bool
	out    strings.Builder
	events bool
	// answers holds what each waiter was answered.
	answers map[coordinator.WaiterID]any
}

func newDriver(t *testing.T, config group.Config) *driver {
	d := &driver{t: t, config: config, now: time.UnixMilli(1_000_000), answers: map[coordinator.WaiterID]any{}, memory: &memory{}}
	d.shard = d.newShard(d.memory)
	d.apply(d.shard.Loaded(d.now))
	return d
}

func (d *driver) newShard(m *memory) *group.Shard {
	return group.New(d.config, func() model.UUID {
		d.drawn++
		return model.UUID{14: byte(d.drawn >> 8), 15: byte(d.drawn)}
	}, m)
}

// memory is a coordinator.Memory of one shard.
type memory struct{ used, limit int }

func (m *memory) Fits(bytes int) bool { return m.limit == 0 || m.used+bytes <= m.limit }
func (m *memory) Hold(bytes int)      { m.used += bytes }

// apply does with an Output what the runtime does.
func (d *driver) apply(out coordinator.Output) {
	d.t.Helper()
	if d.events {
		for _, e := range out.Events {
			fmt.Fprintf(&d.out, "event %s %v\n", e.Name, e.Attrs)
		}
	}
	for _, rec := range out.Records {
		if rec.Value == nil && !out.Flush {
			d.t.Error("what is deleted must be gone for the next call")
		}
	}
	failed := d.fail && len(out.Records) > 0
	for _, r := range out.Replies {
		if failed && r.AfterCommit {
			fmt.Fprintf(&d.out, "%d: fails with the append\n", r.Waiter)
			d.answers[r.Waiter] = errAppend
			continue
		}
		d.answer(r)
	}
	if failed {
		d.fail = false
		fmt.Fprintf(&d.out, "append fails\n")
		if out.Failed != nil {
			again := out.Failed(errAppend)
			if len(again.Records) > 0 || again.Failed != nil {
				d.t.Fatal("Failed asks for another append")
			}
			d.apply(again)
		}
		return
	}
	for _, rec := range out.Records {
		d.log = append(d.log, rec)
		if err := d.shard.Replay(rec); err != nil {
			d.t.Fatalf("replay what the shard wrote: %v", err)
		}
		fmt.Fprintf(&d.out, "writes %s\n", describeRecord(rec))
	}
	if err := d.shard.CheckInvariants(d.memory.used); err != nil {
		d.t.Error(err)
	}
}

func (d *driver) answer(r coordinator.Reply) {
	if _, again := d.answers[r.Waiter]; again {
		d.t.Errorf("waiter %d is answered twice", r.Waiter)
	}
	d.answers[r.Waiter] = r.Response
	if synced, ok := r.Response.(*group.SyncGroupResponse); ok && synced.Err == kafkaerr.None && synced.Assignment == nil {
		d.t.Errorf("waiter %d is assigned null, which clients cannot read", r.Waiter)
	}
	wait := ""
	if r.AfterCommit {
		wait = " (committed)"
	}
	fmt.Fprintf(&d.out, "%d:%s %s\n", r.Waiter, wait, describeResponse(r.Response))
}

func (d *driver) handle(w coordinator.WaiterID, body any) {
	d.t.Helper()
	d.apply(d.shard.Handle(d.now, coordinator.Request{Waiter: w, Body: body}))
}

// advance moves the clock, firing timers at their time.
func (d *driver) advance(by time.Duration) {
	d.t.Helper()
	end := d.now.Add(by)
	for {
		next, ok := d.shard.NextDeadline()
		if !ok || next.After(end) {
			break
		}
		if next.After(d.now) {
			d.now = next
		}
		d.apply(d.shard.Tick(d.now))
	}
	d.now = end
}

// reload throws the shard away, as after a failover, and replays the log.
func (d *driver) reload() {
	d.t.Helper()
	d.apply(d.shard.Unload())
	d.memory.used = 0
	d.shard = d.replayed(d.log, d.memory)
	d.apply(d.shard.Loaded(d.now))
}

func (d *driver) replayed(log []coordinator.Record, m *memory) *group.Shard {
	d.t.Helper()
	s := d.newShard(m)
	for _, rec := range log {
		if err := s.Replay(rec); err != nil {
			d.t.Fatalf("replay: %v", err)
		}
	}
	return s
}

func (d *driver) checkReloads() {
	d.t.Helper()
	live := d.shard.Durable()
	if got := d.replayed(d.log, &memory{}).Durable(); got != live {
		d.t.Errorf("live:\n%s\nreloaded:\n%s", live, got)
	}
	for _, cut := range []int{len(d.log) / 3, len(d.log) / 2, len(d.log)} {
		compacted := append(compact(d.log[:cut]), d.log[cut:]...)
		if got := d.replayed(compacted, &memory{}).Durable(); got != live {
			d.t.Errorf("live:\n%s\ncompacted up to record %d:\n%s", live, cut, got)
		}
	}
}

// compact keeps the last record of each key, and no tombstone.
func compact(log []coordinator.Record) []coordinator.Record {
	last := map[string]int{}
	for i, rec := range log {
		last[string(rec.Key)] = i
	}
	var kept []coordinator.Record
	for i, rec := range log {
		if last[string(rec.Key)] == i && rec.Value != nil {
			kept = append(kept, rec)
		}
	}
	return kept
}

// run executes one command of a script.
func (d *driver) run(td *datadriven.TestData) string {
	d.out.Reset()
	a := args{td}
	switch w := coordinator.WaiterID(a.int("w", 0)); td.Cmd {
	case "config":
		d.config.MaxSize = int(a.int("max-size", int64(d.config.MaxSize)))
		d.config.InitialRebalanceDelay = time.Duration(a.int("initial-delay", d.config.InitialRebalanceDelay.Milliseconds())) * time.Millisecond
		d.config.OffsetsRetention = time.Duration(a.int("retention", d.config.OffsetsRetention.Milliseconds())) * time.Millisecond
		d.memory.limit = int(a.int("memory", int64(d.memory.limit)))
		d.reload()
	case "memory":
		fmt.Fprintf(&d.out, "%d bytes\n", d.memory.used)
	case "events":
		d.events = a.string("on", "true") == "true"
	case "join":
		d.handle(w, a.join())
	case "sync":
		d.handle(w, a.sync())
	case "heartbeat":
		d.handle(w, &group.Heartbeat{GroupID: a.string("g", ""), MemberID: a.member(), InstanceID: a.nullable("instance"), Generation: int32(a.int("gen", 0))})
	case "leave":
		req := &group.LeaveGroup{GroupID: a.string("g", "")}
		for _, m := range a.list("members") {
			id, instance, static := strings.Cut(m, "@")
			member := group.LeavingMember{MemberID: lengthen(id)}
			if static {
				member.InstanceID = &instance
			}
			req.Members = append(req.Members, member)
		}
		d.handle(w, req)
	case "commit":
		d.handle(w, a.commit())
	case "fetch":
		req := &group.OffsetFetch{GroupID: a.string("g", ""), All: len(a.list("topics")) == 0, Topics: a.topics()}
		d.handle(w, req)
	case "delete-offsets":
		d.handle(w, &group.OffsetDelete{GroupID: a.string("g", ""), Topics: a.topics()})
	case "delete-groups":
		d.handle(w, &group.DeleteGroups{GroupIDs: a.list("g")})
	case "topics-deleted":
		req := &group.TopicsDeleted{}
		for _, name := range a.list("topics") {
			req.Topics = append(req.Topics, group.DeletedTopic{Name: name, ID: model.UUID{0: byte(a.int("id", 0))}})
		}
		d.handle(w, req)
	case "list":
		d.handle(w, &group.ListGroups{States: a.list("states"), Types: a.list("types")})
	case "describe":
		d.handle(w, &group.DescribeGroups{Version: int16(a.int("v", 6)), GroupIDs: a.list("g")})
	case "cancel":
		d.apply(d.shard.Cancel(d.now, w))
	case "advance":
		d.advance(time.Duration(a.int("ms", 0)) * time.Millisecond)
	case "fail-append":
		d.fail = true
	case "reload":
		d.reload()
	case "durable":
		return d.shard.Durable()
	default:
		d.t.Fatalf("unknown command %q", td.Cmd)
	}
	return d.out.String()
}

// args reads the arguments of a command.
type args struct{ *datadriven.TestData }

func (a args) list(key string) []string {
	for _, arg := range a.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

func (a args) string(key, preset string) string {
	if vals := a.list(key); len(vals) > 0 {
		return vals[0]
	}
	return preset
}

func (a args) nullable(key string) *string {
	if !a.HasArg(key) {
		return nil
	}
	value := a.string(key, "")
	return &value
}

func (a args) int(key string, preset int64) int64 {
	n, err := strconv.ParseInt(a.string(key, strconv.FormatInt(preset, 10)), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%s: %s: %v", a.Pos, key, err))
	}
	return n
}

func (a args) member() string { return lengthen(a.string("m", "")) }

func (a args) join() *group.JoinGroup {
	req := &group.JoinGroup{
		Version: int16(a.int("v", 9)), GroupID: a.string("g", ""), MemberID: a.member(),
		InstanceID: a.nullable("instance"), ClientID: a.string("client", "c"), ClientHost: "/127.0.0.1",
		SessionTimeoutMs: int32(a.int("session", 10_000)), RebalanceTimeoutMs: int32(a.int("rebalance", 60_000)),
		ProtocolType: a.string("type", "consumer"), Reason: a.string("reason", ""),
	}
	protocols := a.list("p")
	if protocols == nil {
		protocols = []string{"range:t"}
	}
	for _, p := range protocols {
		if p == "none" {
			break
		}
		name, topics, _ := strings.Cut(p, ":")
		metadata := []byte(topics)
		if req.ProtocolType == "consumer" {
			metadata = subscription(strings.Split(topics, "+")...)
		}
		metadata = append(metadata, make([]byte, a.int("more", 0))...)
		req.Protocols = append(req.Protocols, group.Protocol{Name: name, Metadata: metadata})
	}
	return req
}

func subscription(topics ...string) []byte {
	var w wire.Writer
	w.Int16(1)
	(&wire.ConsumerProtocolSubscription{Topics: topics}).Encode(&w, 1)
	return w.Bytes()
}

func (a args) sync() *group.SyncGroup {
	req := &group.SyncGroup{
		GroupID: a.string("g", ""), MemberID: a.member(), InstanceID: a.nullable("instance"),
		Generation: int32(a.int("gen", 0)), ProtocolType: a.nullable("type"), ProtocolName: a.nullable("p"),
	}
	for _, assignment := range a.list("assign") {
		id, bytes, _ := strings.Cut(assignment, ":")
		req.Assignments = append(req.Assignments, group.Assignment{MemberID: lengthen(id), Assignment: []byte(bytes)})
	}
	return req
}

// commit reads topics as t-0:42 or t-0:42:metadata.
func (a args) commit() *group.OffsetCommit {
	req := &group.OffsetCommit{
		Version: int16(a.int("v", 9)), GroupID: a.string("g", ""), MemberID: a.member(), InstanceID: a.nullable("instance"),
		Generation: int32(a.int("gen", -1)), RetentionMs: a.int("retention", -1),
	}
	for _, text := range a.list("o") {
		parts := strings.Split(text, ":")
		name, partition, _ := strings.Cut(parts[0], "-")
		n, _ := strconv.Atoi(partition)
		offset, _ := strconv.ParseInt(parts[1], 10, 64)
		p := group.OffsetCommitPartition{Partition: int32(n), Offset: offset, LeaderEpoch: int32(a.int("epoch", -1))}
		if len(parts) > 2 {
			p.Metadata = strings.Repeat(parts[2], int(a.int("times", 1)))
		}
		req.Topics = append(req.Topics, group.OffsetCommitTopic{
			ID: model.UUID{0: byte(a.int("id", 0))}, Name: name, Partitions: []group.OffsetCommitPartition{p},
		})
	}
	return req
}

func (a args) topics() []group.OffsetFetchTopic {
	var topics []group.OffsetFetchTopic
	for _, text := range a.list("topics") {
		name, partition, _ := strings.Cut(text, "-")
		n, _ := strconv.Atoi(partition)
		topics = append(topics, group.OffsetFetchTopic{
			ID: model.UUID{0: byte(a.int("id", 0))}, Name: name, Partitions: []int32{int32(n)},
		})
	}
	return topics
}

// Member ids are drawn as c-00000000-0000-0000-0000-00000000000a; scripts say c#10.
var drawnID = regexp.MustCompile(`-0{8}-0000-0000-0000-([0-9a-f]{12})`)

func shorten(s string) string {
	return drawnID.ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseInt(m[len(m)-12:], 16, 64)
		if err != nil {
			panic(err)
		}
		return fmt.Sprintf("#%d", n)
	})
}

func lengthen(id string) string {
	prefix, n, ok := strings.Cut(id, "#")
	if !ok {
		return id
	}
	drawn, _ := strconv.Atoi(n)
	return fmt.Sprintf("%s-00000000-0000-0000-0000-%012x", prefix, drawn)
}

func code(c kafkaerr.Code) string {
	if c == kafkaerr.None {
		return "ok"
	}
	return c.Error()
}

func codes(topics [][]kafkaerr.Code) string {
	var all []string
	for _, topic := range topics {
		for _, c := range topic {
			all = append(all, code(c))
		}
	}
	return strings.Join(all, " ")
}

func describeResponse(response any) string {
	var b strings.Builder
	switch r := response.(type) {
	case *group.JoinGroupResponse:
		if r.Err != kafkaerr.None {
			fmt.Fprintf(&b, "join %s m=%s", code(r.Err), r.MemberID)
			break
		}
		fmt.Fprintf(&b, "joined gen=%d %s/%s leader=%s m=%s", r.Generation, r.ProtocolType, r.ProtocolName, r.Leader, r.MemberID)
		if r.SkipAssignment {
			b.WriteString(" skip")
		}
		for _, m := range r.Members {
			fmt.Fprintf(&b, "\n     %s", m.MemberID)
			if m.InstanceID != nil {
				fmt.Fprintf(&b, "@%s", *m.InstanceID)
			}
			fmt.Fprintf(&b, " wants %s", topicsOf(m.Metadata))
		}
	case *group.SyncGroupResponse:
		fmt.Fprintf(&b, "sync %s", code(r.Err))
		if r.Err == kafkaerr.None {
			fmt.Fprintf(&b, " %s/%s has %q", r.ProtocolType, r.ProtocolName, r.Assignment)
		}
	case *group.HeartbeatResponse:
		fmt.Fprintf(&b, "heartbeat %s", code(r.Err))
	case *group.LeaveGroupResponse:
		fmt.Fprintf(&b, "leave %s: %s", code(r.Err), codes([][]kafkaerr.Code{r.Members}))
	case *group.OffsetCommitResponse:
		fmt.Fprintf(&b, "commit %s: %s", code(r.Err), codes(r.Topics))
	case *group.OffsetFetchResponse:
		fmt.Fprintf(&b, "fetch %s:", code(r.Err))
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				fmt.Fprintf(&b, " %s-%d=%d/%d%q", topic.Name, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata)
			}
		}
	case *group.OffsetDeleteResponse:
		fmt.Fprintf(&b, "delete offsets %s: %s", code(r.Err), codes(r.Topics))
	case *group.ListGroupsResponse:
		fmt.Fprintf(&b, "list %s:", code(r.Err))
		for _, g := range r.Groups {
			fmt.Fprintf(&b, " %s(%q %s %s)", g.GroupID, g.ProtocolType, g.State, g.Type)
		}
	case *group.DescribeGroupsResponse:
		b.WriteString("describe")
		for _, g := range r.Groups {
			fmt.Fprintf(&b, "\n   %s: %s %s %q/%q %s", g.GroupID, code(g.Err), g.State, g.ProtocolType, g.Protocol, g.Message)
			for _, m := range g.Members {
				fmt.Fprintf(&b, "\n     %s %s%s wants %s has %q", m.MemberID, m.ClientID, m.ClientHost, topicsOf(m.Metadata), m.Assignment)
			}
		}
	case *group.DeleteGroupsResponse:
		fmt.Fprintf(&b, "delete groups: %s", codes([][]kafkaerr.Code{r.Groups}))
	case *group.TopicsDeletedResponse:
		fmt.Fprintf(&b, "topics deleted %s", code(r.Err))
	default:
		fmt.Fprintf(&b, "%T", response)
	}
	return strings.TrimRight(b.String(), " ")
}

func topicsOf(metadata []byte) string {
	var (
		r wire.Reader
		s wire.ConsumerProtocolSubscription
	)
	r.Reset(metadata)
	if s.Decode(&r, r.Int16()); r.Err() != nil {
		return fmt.Sprintf("%q", metadata)
	}
	return strings.Join(s.Topics, "+")
}

func describeRecord(rec coordinator.Record) string {
	var r wire.Reader
	r.Reset(rec.Key)
	var key string
	switch kind := r.Int16(); kind {
	case 1:
		var k wire.OffsetCommitKey
		k.Decode(&r, 0)
		key = fmt.Sprintf("offset %s %s-%d", k.Group, k.Topic, k.Partition)
	case 2:
		var k wire.GroupMetadataKey
		k.Decode(&r, 0)
		key = "group " + k.Group
	}
	if rec.Value == nil {
		return "no " + key
	}
	r.Reset(rec.Value)
	version := r.Int16()
	if strings.HasPrefix(key, "offset") {
		var v wire.OffsetCommitValue
		v.Decode(&r, version)
		return fmt.Sprintf("%s v%d = %d", key, version, v.Offset)
	}
	var v wire.GroupMetadataValue
	v.Decode(&r, version)
	members := make([]string, len(v.Members))
	for i, m := range v.Members {
		members[i] = fmt.Sprintf("%s:%s", m.MemberID, m.Assignment)
	}
	return fmt.Sprintf("%s v%d gen=%d %s", key, version, v.Generation, strings.Join(members, " "))
}
