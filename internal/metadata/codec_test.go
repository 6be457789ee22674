package metadata_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// everyRecord has each kind of record, every field set.
func everyRecord() []metadata.Record {
	full := partition(1, 2, 3)
	full.ISR, full.ELR, full.LastKnownELR = []model.BrokerID{1}, []model.BrokerID{2}, []model.BrokerID{3}
	full.Adding, full.Removing = []model.BrokerID{3}, []model.BrokerID{2}
	full.LeaderEpoch, full.PartitionEpoch, full.Recovering = 4, 5, true
	change := metadata.NewPartitionChange(uuid(200), 1)
	change.Leader, change.Recovery = model.NoBroker, metadata.RecoveryEnds
	change.Replicas, change.Directories = []model.BrokerID{1}, []model.UUID{uuid(1)}
	change.ISR, change.ELR, change.LastKnownELR = []model.BrokerID{1}, []model.BrokerID{}, []model.BrokerID{2}
	change.Adding, change.Removing = []model.BrokerID{}, []model.BrokerID{2}
	broker := register(3, 1)
	broker.Rack, broker.Fenced, broker.ShuttingDown = "rack", true, true
	return []metadata.Record{
		&metadata.ActivateControllerRecord{Epoch: 1 << 30},
		&metadata.ClusterRecord{ID: "cluster"},
		&metadata.FeatureLevelRecord{Name: "metadata.version", Level: 3, Epoch: 2},
		broker,
		&metadata.BrokerChangeRecord{ID: 1, Epoch: 3, Fenced: true, ShuttingDown: true},
		&metadata.UnregisterBrokerRecord{ID: 1, Epoch: 1 << 40},
		&metadata.TopicRecord{Name: "orders", ID: uuid(200)},
		&metadata.RemoveTopicRecord{ID: uuid(200)},
		&metadata.PartitionRecord{TopicID: uuid(200), Partition: 7, State: full},
		change,
		metadata.NewPartitionChange(uuid(200), 2),
		&metadata.ConfigRecord{ResourceType: 2, ResourceName: "orders", Key: "retention.ms", Value: ptr("")},
		&metadata.ConfigRecord{ResourceType: 2, ResourceName: "orders", Key: "retention.ms"},
		&metadata.ProducerIDsRecord{BrokerID: 1, BrokerEpoch: 3, NextID: 1000},
	}
}

func encode(t testing.TB, records []metadata.Record, fence metadata.Fence) []byte {
	t.Helper()
	b, err := metadata.EncodeBatch(records, fence)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBatch_RoundTrip(t *testing.T) {
	fence := metadata.Fence{ControllerEpoch: 12, Offset: -1}
	b := encode(t, everyRecord(), fence)
	records, got, err := metadata.DecodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b) // what was decoded must not alias the buffer
	if diff := cmp.Diff(everyRecord(), records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if got != fence {
		t.Errorf("fence %+v, want %+v", got, fence)
	}
}

func TestDecodeBatch_Malformed(t *testing.T) {
	whole := encode(t, everyRecord(), metadata.Fence{})
	for n := range whole {
		if _, _, err := metadata.DecodeBatch(whole[:n]); !errors.Is(err, metadata.ErrMalformed) {
			t.Fatalf("the first %d bytes: %v, want ErrMalformed", n, err)
		}
	}
	for _, tc := range []struct{ name, hex string }{
		{"later batch version", "02 00 00 00"},
		{"bytes after the records", "01 00 00 00 00"},
		{"more records than bytes", "01 00 00 ffffffff0f"},
		{"unknown kind", "01 00 00 01 03 7f 00 00"},
		{"later version of a record", "01 00 00 01 03 01 01 02"},
		{"record with bytes left", "01 00 00 01 04 01 00 02 00"},
		{"boolean of 2", "01 00 00 01 05 05 00 02 00 02"},
		{"field of a later version", "01 00 00 01 14 0a 00 00000000000000000000000000000000 00 8008"},
		{"epoch past 32 bits", "01 00 00 01 08 01 00 ffffffffff7f"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(tc.hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := metadata.DecodeBatch(b); !errors.Is(err, metadata.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", tc.name, err)
		}
	}
}

// The format page carries one batch in hex with its meaning; it must be what this release writes.
func TestFormatPage_Example(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/metadata.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```hex\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("the page has no ```hex block")
	}
	var digits strings.Builder
	for line := range strings.Lines(string(block[1])) {
		bytes, _, _ := strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(bytes), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	p := metadata.Partition{
		Replicas: []model.BrokerID{1}, Directories: []model.UUID{uuid(7)}, ISR: []model.BrokerID{1}, Leader: 1,
	}
	want := []metadata.Record{
		&metadata.TopicRecord{Name: "orders", ID: uuid(200)},
		&metadata.PartitionRecord{TopicID: uuid(200), State: p},
		&metadata.ConfigRecord{ResourceType: metadata.TopicResource, ResourceName: "orders", Key: "retention.ms", Value: ptr("-1")},
	}
	fence := metadata.Fence{ControllerEpoch: 3, Offset: 41}
	if encoded := encode(t, want, fence); !bytes.Equal(encoded, b) {
		t.Fatalf("the page says\n%x\nthis release writes\n%x", b, encoded)
	}
	records, got, err := metadata.DecodeBatch(b)
	if err != nil || got != fence {
		t.Fatalf("fence %+v, %v; want %+v", got, err, fence)
	}
	if diff := cmp.Diff(want, records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestReadSnapshot_Malformed(t *testing.T) {
	var file bytes.Buffer
	if err := twoTopics(t).WriteSnapshot(&file); err != nil {
		t.Fatal(err)
	}
	for n := range file.Len() {
		if _, err := metadata.ReadSnapshot(bytes.NewReader(file.Bytes()[:n])); !errors.Is(err, metadata.ErrMalformed) {
			t.Fatalf("the first %d bytes of a snapshot: %v, want ErrMalformed", n, err)
		}
	}
}

//fuzz:decoder metadata/(codec|batch|record_encoding)[.]go
func FuzzDecodeBatch(f *testing.F) {
	f.Add(encode(f, everyRecord(), metadata.Fence{ControllerEpoch: 1, Offset: 2}))
	for _, r := range everyRecord() {
		f.Add(encode(f, []metadata.Record{r}, metadata.Fence{}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		records, fence, err := metadata.DecodeBatch(b)
		if err != nil {
			if !errors.Is(err, metadata.ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, fenceAgain, err := metadata.DecodeBatch(encode(t, records, fence))
		if err != nil || fenceAgain != fence {
			t.Fatalf("written and read again: fence %+v, %v; was %+v", fenceAgain, err, fence)
		}
		if diff := cmp.Diff(records, again); diff != "" {
			t.Fatalf("written and read again:\n%s", diff)
		}
		// Whatever decodes either applies or is refused.
		if _, _, err := metadata.Empty().Apply(0, records); err != nil && !errors.Is(err, metadata.ErrImpossible) {
			t.Fatal(err)
		}
	})
}

//fuzz:decoder metadata/snapshot[.]go:.*(ReadSnapshot|restoreChunk)[(]
func FuzzReadSnapshot(f *testing.F) {
	var file bytes.Buffer
	if err := metadata.Empty().WriteSnapshot(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(file.Bytes()))
	image, _, err := metadata.Empty().Apply(0, []metadata.Record{
		&metadata.ActivateControllerRecord{Epoch: 1}, register(1, 1), &metadata.TopicRecord{Name: "t", ID: uuid(200)},
		&metadata.PartitionRecord{TopicID: uuid(200), State: partition(1)},
	})
	if err != nil {
		f.Fatal(err)
	}
	file.Reset()
	if err := image.WriteSnapshot(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		image, err := metadata.ReadSnapshot(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := image.WriteSnapshot(&again); err != nil {
			t.Fatal(err)
		}
		restored, err := metadata.ReadSnapshot(&again)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "a snapshot and its image written again", image, restored)
	})
}
