package cli_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/walser-io/walser/internal/cli"
)

// cluster plays a cluster with two topics, orders (offsets 10 to 20 in each of two partitions) and empty,
// and notes what it is told to do.
type cluster struct {
	cli.Admin // what a test does not expect is a nil dereference
	members   int
	did       []string
	fail      map[string]error // by topic or group
}

func (c *cluster) note(format string, args ...any) {
	c.did = append(c.did, fmt.Sprintf(format, args...))
}

func (c *cluster) ListTopicsWithInternal(_ context.Context, names ...string) (kadm.TopicDetails, error) {
	partition := func(topic string, p int32) kadm.PartitionDetail {
		return kadm.PartitionDetail{Topic: topic, Partition: p, Leader: 1, Replicas: []int32{1, 2}, ISR: []int32{1}}
	}
	all := kadm.TopicDetails{
		"orders":             {Topic: "orders", ID: kadm.TopicID{1}, Partitions: kadm.PartitionDetails{0: partition("orders", 0), 1: partition("orders", 1)}},
		"empty":              {Topic: "empty", Partitions: kadm.PartitionDetails{0: partition("empty", 0)}},
		"__consumer_offsets": {Topic: "__consumer_offsets", IsInternal: true, Partitions: kadm.PartitionDetails{0: partition("__consumer_offsets", 0)}},
	}
	for _, n := range names {
		if _, ok := all[n]; !ok {
			all[n] = kadm.TopicDetail{Topic: n, Err: kerr.UnknownTopicOrPartition}
		}
	}
	return all, nil
}

func offsets(at int64, topics []string) kadm.ListedOffsets {
	all := kadm.ListedOffsets{}
	for _, t := range topics {
		all[t] = map[int32]kadm.ListedOffset{}
		for p := range int32(2) {
			all[t][p] = kadm.ListedOffset{Topic: t, Partition: p, Offset: at}
		}
	}
	return all
}

func (c *cluster) ListStartOffsets(_ context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return offsets(10, topics), nil
}

func (c *cluster) ListEndOffsets(_ context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return offsets(20, topics), nil
}

func (c *cluster) ListOffsetsAfterMilli(_ context.Context, ms int64, topics ...string) (kadm.ListedOffsets, error) {
	c.note("offsets after %d", ms)
	return offsets(15, topics), nil
}

func (c *cluster) CreateTopics(_ context.Context, p int32, r int16, configs map[string]*string, topics ...string) (kadm.CreateTopicResponses, error) {
	c.note("create %v partitions=%d replicas=%d configs=%d", topics, p, r, len(configs))
	all := kadm.CreateTopicResponses{}
	for _, t := range topics {
		all[t] = kadm.CreateTopicResponse{Topic: t, Err: c.fail[t], ErrMessage: "in the broker's words"}
	}
	return all, nil
}

func (c *cluster) DeleteTopics(_ context.Context, topics ...string) (kadm.DeleteTopicResponses, error) {
	c.note("delete %v", topics)
	all := kadm.DeleteTopicResponses{}
	for _, t := range topics {
		all[t] = kadm.DeleteTopicResponse{Topic: t, Err: c.fail[t]}
	}
	return all, nil
}

func (c *cluster) AlterTopicConfigs(_ context.Context, configs []kadm.AlterConfig, topics ...string) (kadm.AlterConfigsResponses, error) {
	var all kadm.AlterConfigsResponses
	for _, a := range configs {
		v := "-"
		if a.Value != nil {
			v = *a.Value
		}
		c.note("%d %s %s", a.Op, a.Name, v)
	}
	for _, t := range topics {
		all = append(all, kadm.AlterConfigsResponse{Name: t, Err: c.fail[t]})
	}
	return all, nil
}

func (c *cluster) UpdatePartitions(_ context.Context, n int, topics ...string) (kadm.CreatePartitionsResponses, error) {
	c.note("partitions %d of %v", n, topics)
	all := kadm.CreatePartitionsResponses{}
	for _, t := range topics {
		all[t] = kadm.CreatePartitionsResponse{Topic: t}
	}
	return all, nil
}

func (c *cluster) DeleteRecords(_ context.Context, os kadm.Offsets) (kadm.DeleteRecordsResponses, error) {
	all := kadm.DeleteRecordsResponses{}
	for _, o := range os.Sorted() {
		c.note("trim %s-%d to %d", o.Topic, o.Partition, o.At)
		if all[o.Topic] == nil {
			all[o.Topic] = map[int32]kadm.DeleteRecordsResponse{}
		}
		all[o.Topic][o.Partition] = kadm.DeleteRecordsResponse{Topic: o.Topic, Partition: o.Partition, LowWatermark: o.At, Err: c.fail[fmt.Sprint(o.Partition)]}
	}
	return all, nil
}

func (c *cluster) DescribeGroups(_ context.Context, groups ...string) (kadm.DescribedGroups, error) {
	g := kadm.DescribedGroup{Group: groups[0], State: "Empty"}
	if c.members > 0 {
		g.State, g.Members = "Stable", make([]kadm.DescribedGroupMember, c.members)
	}
	return kadm.DescribedGroups{groups[0]: g}, nil
}

func (c *cluster) FetchOffsets(_ context.Context, group string) (kadm.OffsetResponses, error) {
	all := kadm.OffsetResponses{}
	if group == "billing" {
		all.Add(kadm.OffsetResponse{Offset: kadm.Offset{Topic: "orders", Partition: 1, At: 17}})
	}
	return all, nil
}

func (c *cluster) CommitOffsets(_ context.Context, group string, os kadm.Offsets) (kadm.OffsetResponses, error) {
	all := kadm.OffsetResponses{}
	for _, o := range os.Sorted() {
		c.note("commit %s %s-%d %d", group, o.Topic, o.Partition, o.At)
		all.Add(kadm.OffsetResponse{Offset: o})
	}
	return all, nil
}

func (c *cluster) DeleteGroups(_ context.Context, groups ...string) (kadm.DeleteGroupResponses, error) {
	all := kadm.DeleteGroupResponses{}
	for _, g := range groups {
		c.note("delete group %s", g)
		all[g] = kadm.DeleteGroupResponse{Group: g, Err: c.fail[g]}
	}
	return all, nil
}

func (c *cluster) BrokerMetadata(context.Context) (kadm.Metadata, error) {
	return kadm.Metadata{Cluster: "c1", Controller: 1, Brokers: kadm.BrokerDetails{{NodeID: 1, Host: "h", Port: 9092}}}, nil
}

// TestCommands runs commands against the cluster above: what they ask of it, print, and exit with.
func TestCommands(t *testing.T) {
	for _, tc := range []struct {
		name    string
		cluster cluster
		args    string
		answer  string // to a prompt; none: standard input is no terminal
		code    int
		did     []string
		stdout  string // whole
		stderr  string // part
	}{
		{name: "list", args: "topic list", stdout: "NAME    PARTITIONS  REPLICAS  ID\nempty            1         2\norders           2         2  AQAAAAAAAAAAAAAAAAAAAA\n"},
		{name: "list matches whole names", args: "topic list ord.*s --no-headers", stdout: "orders  2  2  AQAAAAAAAAAAAAAAAAAAAA\n"},
		{name: "list nothing", args: "topic list ord -o json", stdout: "[]\n"},
		{name: "list internal", args: "topic list -i __.* -o jsonl", stdout: `{"name":"__consumer_offsets","internal":true,"partitionCount":1,"replicationFactor":2}` + "\n"},
		{name: "describe yaml", args: "topic describe empty --partitions -o yaml", stdout: "- name: empty\n  internal: false\n  partitionCount: 1\n  replicationFactor: 2\n  partitions:\n    - partition: 0\n      leader: 1\n      leaderEpoch: 0\n      replicas:\n        - 1\n        - 2\n      isr:\n        - 1\n      offline: []\n      startOffset: 10\n      endOffset: 20\n"},
		{name: "describe missing", args: "topic describe nope", code: cli.ExitNotFound, stderr: "walser topic list"},
		{name: "describe one missing", args: "topic describe nope orders --partitions --no-headers", code: cli.ExitPartial, stdout: "0  1  0  1,2  1  10  20\n1  1  0  1,2  1  10  20\n", stderr: "topic nope"},
		{name: "create", args: "topic create b a -p 3 --config a=1 --config b=", did: []string{"create [b a] partitions=3 replicas=-1 configs=2"}, stdout: "TOPIC  STATUS\nb      created\na      created\n"},
		{name: "create existing", cluster: cluster{fail: map[string]error{"a": kerr.TopicAlreadyExists}}, args: "topic create a", code: cli.ExitConflict, did: []string{"create [a] partitions=-1 replicas=-1 configs=0"}, stderr: "error: topic a: TOPIC_ALREADY_EXISTS: in the broker's words\n"},
		{name: "create existing is fine", cluster: cluster{fail: map[string]error{"a": kerr.TopicAlreadyExists}}, args: "topic create a --if-not-exists -o jsonl", did: []string{"create [a] partitions=-1 replicas=-1 configs=0"}, stdout: `{"name":"a","status":"exists"}` + "\n"},
		{name: "create partly", cluster: cluster{fail: map[string]error{"a": kerr.TopicAlreadyExists}}, args: "topic create a b", code: cli.ExitPartial, did: []string{"create [a b] partitions=-1 replicas=-1 configs=0"}, stdout: "TOPIC  STATUS\na      failed\nb      created\n", stderr: "topic a"},
		{name: "create denied", cluster: cluster{fail: map[string]error{"a": kerr.TopicAuthorizationFailed}}, args: "topic create a", code: cli.ExitDenied, did: []string{"create [a] partitions=-1 replicas=-1 configs=0"}},
		{name: "alter", args: "topic alter orders --set x=1 --unset y --append z=2 --partitions 4", did: []string{"0 x 1", "2 z 2", "1 y -", "partitions 4 of [orders]"}, stdout: "TOPIC   STATUS\norders  altered\n"},
		{name: "alter stops at the first fault", cluster: cluster{fail: map[string]error{"a": kerr.InvalidConfig}}, args: "topic alter a --set x=1 --partitions 4", code: cli.ExitError, did: []string{"0 x 1"}, stderr: "INVALID_CONFIG"},
		{name: "delete asks", args: "topic delete orders", answer: "y\n", did: []string{"delete [orders]"}, stdout: "TOPIC   STATUS\norders  deleted\n", stderr: "Delete orders with all records? [y/N] "},
		{name: "delete takes silence for no", args: "topic delete orders", answer: "\n", code: cli.ExitError, stderr: "not confirmed"},
		{name: "delete refuses without terminal", args: "topic delete orders", code: cli.ExitUsage, stderr: "--yes"},
		{name: "delete missing", cluster: cluster{fail: map[string]error{"a": kerr.UnknownTopicOrPartition}}, args: "topic delete -y a", code: cli.ExitNotFound, did: []string{"delete [a]"}},
		{name: "delete missing is fine", cluster: cluster{fail: map[string]error{"a": kerr.UnknownTopicOrPartition}}, args: "topic delete -y a --if-exists --no-headers", did: []string{"delete [a]"}, stdout: "a  missing\n"},
		{name: "trim", args: "topic trim orders --to -3 -y --no-headers", did: []string{"trim orders-0 to 17", "trim orders-1 to 17"}, stdout: "orders  0  17  trimmed\norders  1  17  trimmed\n"},
		{name: "trim by time, one partition", args: "topic trim orders --to @-1h -p 1 -y -o jsonl", did: []string{"offsets after 1999996400000", "trim orders-1 to 15"}, stdout: `{"topic":"orders","partition":1,"startOffset":15,"status":"trimmed"}` + "\n"},
		{name: "trim planned", args: "topic trim orders --to end -p 0 --dry-run --no-headers", stdout: "orders  0  20  planned\n"},
		{name: "trim partly", cluster: cluster{fail: map[string]error{"0": kerr.NotLeaderForPartition}}, args: "topic trim orders --to end -y --no-headers", code: cli.ExitPartial, did: []string{"trim orders-0 to 20", "trim orders-1 to 20"}, stdout: "orders  0  20  failed\norders  1  20  trimmed\n", stderr: "orders-0"},
		{name: "trim no such partition", args: "topic trim orders --to end -y -p 7", code: cli.ExitNotFound, stderr: "no partition 7"},
		{name: "seek what is committed", args: "group seek billing --to start -y --no-headers", did: []string{"commit billing orders-1 10"}, stdout: "orders  1  17  10  moved\n"},
		{
			name: "seek topics", args: "group seek new --to +2 --topic orders:0 --topic empty -y -o jsonl", did: []string{"commit new empty-0 12", "commit new orders-0 12"},
			stdout: `{"group":"new","topic":"empty","partition":0,"before":null,"after":12,"status":"moved"}` + "\n" + `{"group":"new","topic":"orders","partition":0,"before":null,"after":12,"status":"moved"}` + "\n",
		},
		{name: "seek planned", args: "group seek billing --to end --dry-run --no-headers", stdout: "orders  1  17  20  planned\n"},
		{name: "seek nothing committed", args: "group seek new --to start -y", code: cli.ExitNotFound, stderr: "--topic"},
		{name: "seek a running group", cluster: cluster{members: 2}, args: "group seek billing --to start -y", code: cli.ExitConflict, stderr: "2 running members"},
		{name: "delete groups", cluster: cluster{fail: map[string]error{"b": kerr.NonEmptyGroup}}, args: "group delete a b -y --no-headers", code: cli.ExitPartial, did: []string{"delete group a", "delete group b"}, stdout: "a  deleted\nb  failed\n", stderr: "stop the group's consumers"},
		{name: "cluster", args: "cluster info -o jsonl", stdout: `{"id":"c1","controller":1,"brokers":[{"id":1,"host":"h","port":9092}]}` + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := run(&tc.cluster, tc.answer, tc.answer != "", strings.Fields(tc.args)...)
			if got.code != tc.code || got.stdout != tc.stdout || !strings.Contains(got.stderr, tc.stderr) || (tc.stderr == "" && tc.code == 0 && got.stderr != "") {
				t.Errorf("%v\nwant exit %d\n--- stdout\n%s--- stderr with %q", got, tc.code, tc.stdout, tc.stderr)
			}
			if !slices.Equal(tc.cluster.did, tc.did) {
				t.Errorf("the cluster was told %q, want %q", tc.cluster.did, tc.did)
			}
		})
	}
}
