package group_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/model"
)

func ptr[T any](v T) *T { return &v }

// The bytes that a stable group and its offsets leave in the log, against another implementation of
// Kafka's formats.
func TestRecords_AreKafkas(t *testing.T) {
	d := newDriver(t, group.DefaultConfig())
	id := model.UUID{1, 2, 3, 15: 9}
	member, static := lengthen("c#1"), lengthen("i#2")
	wants := subscription("t")
	d.handle(1, &group.JoinGroup{
		Version: 3, GroupID: "g", ClientID: "c", ClientHost: "/10.0.0.1", SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 60_000,
		ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range", Metadata: wants}},
	})
	d.handle(2, &group.JoinGroup{
		Version: 9, GroupID: "g", ClientID: "d", ClientHost: "/10.0.0.2", SessionTimeoutMs: 20_000, RebalanceTimeoutMs: 30_000,
		InstanceID: ptr("i"), ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range", Metadata: wants}},
	})
	d.advance(6 * time.Second)
	d.handle(3, &group.SyncGroup{GroupID: "g", MemberID: member, Generation: 1, Assignments: []group.Assignment{{MemberID: member, Assignment: []byte("one")}}})
	commit := &group.OffsetCommit{
		Version: 9, GroupID: "g", MemberID: member, Generation: 1, RetentionMs: -1,
		Topics: []group.OffsetCommitTopic{{ID: id, Name: "t", Partitions: []group.OffsetCommitPartition{{Partition: 3, Offset: 42, LeaderEpoch: 7, Metadata: "m"}}}},
	}
	d.handle(4, commit)
	commit.Topics[0].ID = model.UUID{}
	d.handle(5, commit)
	commit.RetentionMs = 5000
	d.handle(6, commit)
	d.handle(7, &group.OffsetDelete{GroupID: "g", Topics: []group.OffsetFetchTopic{{Name: "u", Partitions: []int32{0}}}})
	d.handle(8, &group.LeaveGroup{GroupID: "g", Members: []group.LeavingMember{{MemberID: member}, {InstanceID: ptr("i")}}})
	d.handle(9, &group.DeleteGroups{GroupIDs: []string{"g"}})

	groupKey := (&kmsg.GroupMetadataKey{Version: 2, Group: "g"}).AppendTo(nil)
	offsetKey := (&kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t", Partition: 3}).AppendTo(nil)
	offset := kmsg.OffsetCommitValue{Version: 4, Offset: 42, LeaderEpoch: 7, Metadata: "m", CommitTimestamp: 1_006_000, TopicID: id}
	offsetNoID := offset
	offsetNoID.TopicID = [16]byte{}
	offsetExpires := offset
	offsetExpires.Version, offsetExpires.ExpireTimestamp = 1, 1_011_000
	want := []coordinator.Record{
		{Key: groupKey, TimestampMs: 1_000_000, Value: (&kmsg.GroupMetadataValue{Version: 3, CurrentStateTimestamp: 1_000_000}).AppendTo(nil)},
		{Key: groupKey, TimestampMs: 1_006_000, Value: (&kmsg.GroupMetadataValue{
			Version: 3, ProtocolType: "consumer", Generation: 1, Protocol: ptr("range"), Leader: ptr(member), CurrentStateTimestamp: 1_006_000,
			Members: []kmsg.GroupMetadataValueMember{
				{MemberID: member, ClientID: "c", ClientHost: "/10.0.0.1", RebalanceTimeoutMillis: 60_000, SessionTimeoutMillis: 10_000, Subscription: wants, Assignment: []byte("one")},
				{MemberID: static, InstanceID: ptr("i"), ClientID: "d", ClientHost: "/10.0.0.2", RebalanceTimeoutMillis: 30_000, SessionTimeoutMillis: 20_000, Subscription: wants, Assignment: []byte{}},
			},
		}).AppendTo(nil)},
		{Key: offsetKey, TimestampMs: 1_006_000, Value: offset.AppendTo(nil)},
		{Key: offsetKey, TimestampMs: 1_006_000, Value: offsetNoID.AppendTo(nil)},
		{Key: offsetKey, TimestampMs: 1_006_000, Value: offsetExpires.AppendTo(nil)},
		{Key: groupKey, TimestampMs: 1_006_000, Value: (&kmsg.GroupMetadataValue{
			Version: 3, ProtocolType: "consumer", Generation: 2, CurrentStateTimestamp: 1_006_000,
		}).AppendTo(nil)},
		{Key: offsetKey, TimestampMs: 1_006_000},
		{Key: groupKey, TimestampMs: 1_006_000},
	}
	if diff := cmp.Diff(want, d.log); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// Every version that brokers have written loads; the fields an old one lacks take Kafka's presets.
func TestReplay_OldVersions(t *testing.T) {
	for version := int16(0); version <= 4; version++ {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := group.New(group.DefaultConfig(), func() model.UUID { return model.UUID{} }, nil)
			replay := func(key, value []byte) {
				t.Helper()
				if err := s.Replay(coordinator.Record{Key: key, Value: value}); err != nil {
					t.Fatal(err)
				}
			}
			replay((&kmsg.OffsetCommitKey{Version: min(version, 1), Group: "g", Topic: "t", Partition: 1}).AppendTo(nil),
				(&kmsg.OffsetCommitValue{Version: version, Offset: 5, LeaderEpoch: 6, Metadata: "m", CommitTimestamp: 7, ExpireTimestamp: 8, TopicID: [16]byte{1}}).AppendTo(nil))
			replay((&kmsg.GroupMetadataKey{Version: 2, Group: "g"}).AppendTo(nil),
				(&kmsg.GroupMetadataValue{
					Version: version, ProtocolType: "consumer", Generation: 3, Protocol: ptr("range"), Leader: ptr("m"), CurrentStateTimestamp: 9,
					Members: []kmsg.GroupMetadataValueMember{{
						MemberID: "m", InstanceID: ptr("i"), ClientID: "c", ClientHost: "/h", RebalanceTimeoutMillis: 10, SessionTimeoutMillis: 11,
						Subscription: []byte("wants"), Assignment: []byte("has"),
					}},
				}).AppendTo(nil))
			since, rebalance, instance, epoch, expires, id := -1, 11, "", -1, -1, model.UUID{}
			if version >= 1 {
				rebalance = 10
			}
			if version == 1 {
				expires = 8
			}
			if version >= 2 {
				since = 9
			}
			if version >= 3 {
				instance, epoch = "i", 6
			}
			if version >= 4 {
				id = model.UUID{1}
			}
			want := fmt.Sprintf(`group g type="consumer" generation=3 protocol="range" leader="m" since=%d
  member m instance=%s client=c/h rebalance=%d session=11 wants="wants" has="has"
offset g t-1 = 5 epoch=%d "m" at=7 expires=%d id=%s
`, since, instance, rebalance, epoch, expires, id)
			if got := s.Durable(); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestReplay_RefusesDamage(t *testing.T) {
	key := (&kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t"}).AppendTo(nil)
	groupKey := (&kmsg.GroupMetadataKey{Version: 2, Group: "g"}).AppendTo(nil)
	value := (&kmsg.OffsetCommitValue{Version: 3, Metadata: "m"}).AppendTo(nil)
	for name, rec := range map[string]coordinator.Record{
		"no key":              {Value: value},
		"key without type":    {Key: []byte{0}, Value: value},
		"key cut":             {Key: key[:len(key)-1], Value: value},
		"value empty":         {Key: key, Value: []byte{}},
		"value cut":           {Key: key, Value: value[:len(value)-1]},
		"value of the future": {Key: key, Value: append([]byte{0, 5}, value[2:]...)},
		"group key cut":       {Key: groupKey[:len(groupKey)-1], Value: []byte{0, 3}},
		"group value cut":     {Key: groupKey, Value: []byte{0, 3, 0}},
		"group tombstone cut": {Key: groupKey[:len(groupKey)-1]},
	} {
		t.Run(name, func(t *testing.T) {
			s := group.New(group.DefaultConfig(), nil, nil)
			if err := s.Replay(rec); !errors.Is(err, group.ErrCorruptRecord) {
				t.Errorf("Replay: %v, want ErrCorruptRecord", err)
			}
			if got := s.Durable(); got != "" {
				t.Errorf("left behind: %s", got)
			}
		})
	}
}

func TestReplay_SkipsOtherTypes(t *testing.T) {
	s := group.New(group.DefaultConfig(), nil, nil)
	for kind := range byte(30) {
		if kind <= 2 {
			continue
		}
		if err := s.Replay(coordinator.Record{Key: []byte{0, kind, 1, 2}, Value: []byte{9, 9}}); err != nil {
			t.Errorf("type %d: %v", kind, err)
		}
	}
}

// Compaction may have taken earlier records away: tombstones of nothing are fine.
func TestReplay_ToleratesMissingRecords(t *testing.T) {
	m := &memory{}
	s := group.New(group.DefaultConfig(), nil, m)
	for _, key := range [][]byte{
		(&kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t"}).AppendTo(nil),
		(&kmsg.GroupMetadataKey{Version: 2, Group: "g"}).AppendTo(nil),
	} {
		if err := s.Replay(coordinator.Record{Key: key}); err != nil {
			t.Error(err)
		}
	}
	d := &driver{t: t, shard: s, memory: m, now: time.UnixMilli(0), answers: map[coordinator.WaiterID]any{}}
	d.apply(s.Loaded(d.now))
	d.handle(1, &group.ListGroups{})
	if got := d.out.String(); !strings.Contains(got, "list ok:\n") {
		t.Errorf("groups that were deleted are listed: %s", got)
	}
}

//fuzz:decoder group/records[.]go:.*(recordType|read[A-Za-z]*)[(]|wire/zz_(record|consumer_protocol).*[)] [dD]ecode[(]
func FuzzOffsetsTopicReplay(f *testing.F) {
	f.Add((&kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t"}).AppendTo(nil), (&kmsg.OffsetCommitValue{Version: 4, TopicID: [16]byte{1}}).AppendTo(nil), false)
	f.Add((&kmsg.OffsetCommitKey{Version: 0, Group: "g", Topic: "t"}).AppendTo(nil), (&kmsg.OffsetCommitValue{Version: 1}).AppendTo(nil), true)
	for version := range int16(5) {
		f.Add((&kmsg.GroupMetadataKey{Version: 2, Group: "g"}).AppendTo(nil), (&kmsg.GroupMetadataValue{
			Version: version, ProtocolType: "consumer", Protocol: ptr("range"), Leader: ptr("m"),
			Members: []kmsg.GroupMetadataValueMember{{MemberID: "m", InstanceID: ptr("i"), Subscription: subscription("t")}},
		}).AppendTo(nil), false)
	}
	f.Add([]byte{0, 3, 0, 0}, []byte{0, 0}, false)
	f.Fuzz(func(t *testing.T, key, value []byte, tombstone bool) {
		m := &memory{}
		s := group.New(group.DefaultConfig(), func() model.UUID { return model.UUID{} }, m)
		seed := coordinator.Record{
			Key:   (&kmsg.GroupMetadataKey{Version: 2, Group: "g"}).AppendTo(nil),
			Value: (&kmsg.GroupMetadataValue{Version: 3, ProtocolType: "consumer", Protocol: ptr("range")}).AppendTo(nil),
		}
		if err := s.Replay(seed); err != nil {
			t.Fatal(err)
		}
		if tombstone {
			value = nil
		} else if value == nil {
			value = []byte{}
		}
		rec := coordinator.Record{Key: key, Value: value}
		if err := s.Replay(rec); err != nil && !errors.Is(err, group.ErrCorruptRecord) {
			t.Fatalf("Replay: %v", err)
		}
		// Whatever was loaded can be served.
		d := &driver{t: t, config: group.DefaultConfig(), shard: s, memory: m, now: time.UnixMilli(1 << 40), answers: map[coordinator.WaiterID]any{}}
		d.apply(s.Loaded(d.now))
		d.handle(1, &group.DescribeGroups{Version: 6, GroupIDs: []string{"g"}})
		d.handle(2, &group.JoinGroup{
			Version: 9, GroupID: "g", InstanceID: ptr("i"), SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 10_000,
			ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range", Metadata: subscription("t")}},
		})
		d.handle(3, &group.OffsetFetch{GroupID: "g", All: true})
		d.advance(time.Hour)
		d.apply(s.Unload())
	})
}
