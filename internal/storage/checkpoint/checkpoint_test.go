package checkpoint_test

import (
	"errors"
	"io/fs"
	"maps"
	"testing"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/vfs"
)

func TestOffsets_TextIsKafkas(t *testing.T) {
	offsets := checkpoint.Offsets{{Topic: "b", Partition: 10}: 7, {Topic: "b", Partition: 2}: 0, {Topic: "a-1", Partition: 0}: 1 << 40}
	text := checkpoint.AppendOffsets(nil, offsets)
	if want := "0\n3\na-1 0 1099511627776\nb 2 0\nb 10 7\n"; string(text) != want {
		t.Fatalf("wrote %q, want %q", text, want)
	}
	back, err := checkpoint.DecodeOffsets(text)
	if err != nil || !maps.Equal(back, offsets) {
		t.Fatalf("read back %v, %v", back, err)
	}
}

func TestDecodeOffsets_Refuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "version": "1\n0\n", "cut": "0\n1\na 0", "missing entry": "0\n2\na 0 1\n", "trailing": "0\n0\na 0 1\n",
		"huge count": "0\n2147483647\na 0 1\n", "partition": "0\n1\na -1 1\n", "offset": "0\n1\na 0 x\n", "twice": "0\n2\na 0 1\na 0 2\n",
		"topic": "0\n1\na/b 0 1\n", "zeros": "\x00\x00\x00\x00",
	} {
		if _, err := checkpoint.DecodeOffsets([]byte(text)); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("%s: DecodeOffsets(%q) = %v, want ErrCorrupt", name, text, err)
		}
	}
}

func TestMetaProperties(t *testing.T) {
	mem := vfs.NewMem(1)
	if err := mem.MkdirAll("/d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mem.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.ReadMetaProperties(mem, "/d"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an unformatted directory: %v", err)
	}
	want := checkpoint.MetaProperties{ClusterID: "Some-Cluster_id", NodeID: 3, DirectoryID: model.UUID{1, 2, 3}}
	if err := checkpoint.WriteMetaProperties(mem, "/d", want); err != nil {
		t.Fatal(err)
	}
	mem = mem.Crash(vfs.CrashOptions{})
	if got, err := checkpoint.ReadMetaProperties(mem, "/d"); err != nil || got != want {
		t.Fatalf("read %+v, %v; want %+v", got, err, want)
	}
	// As kafka-storage writes it.
	const kafkas = "#\n#Sat Nov 21 08:00:00 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\ndirectory.id=GOGFDpVSRaCHxKIBIN2Iqg\nnode.id=1\nversion=1\n"
	if got, err := checkpoint.DecodeMetaProperties([]byte(kafkas)); err != nil || got.NodeID != 1 || got.DirectoryID.String() != "GOGFDpVSRaCHxKIBIN2Iqg" {
		t.Fatalf("Kafka's file reads %+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"version 0": "version=0\nbroker.id=1\ncluster.id=x\n", "no cluster": "version=1\nnode.id=1\ndirectory.id=GOGFDpVSRaCHxKIBIN2Iqg\n",
		"no directory": "version=1\nnode.id=1\ncluster.id=x\n", "node": "version=1\nnode.id=x\ncluster.id=x\ndirectory.id=GOGFDpVSRaCHxKIBIN2Iqg\n", "empty": "",
	} {
		if _, err := checkpoint.DecodeMetaProperties([]byte(text)); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestPartitionMetadata(t *testing.T) {
	id := model.TopicID{9, 8, 7}
	text := checkpoint.AppendPartitionMetadata(nil, id)
	if want := "version: 0\ntopic_id: " + id.String(); string(text) != want {
		t.Fatalf("wrote %q, want %q", text, want)
	}
	for _, text := range []string{string(text), string(text) + "\n"} {
		if got, err := checkpoint.DecodePartitionMetadata([]byte(text)); err != nil || got != id {
			t.Errorf("%q reads %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "version: 1\ntopic_id: " + id.String(), "version: 0\n", "version: 0\ntopic_id: short"} {
		if _, err := checkpoint.DecodePartitionMetadata([]byte(text)); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("%q: %v, want ErrCorrupt", text, err)
		}
	}
}

func TestCleanShutdown(t *testing.T) {
	mem := vfs.NewMem(1)
	if err := errors.Join(mem.MkdirAll("/d", 0o755), mem.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.WriteCleanShutdown(mem, "/d", 17); err != nil {
		t.Fatal(err)
	}
	mem = mem.Crash(vfs.CrashOptions{})
	text, err := vfs.ReadFile(mem, "/d/"+checkpoint.CleanShutdownFile)
	if err != nil || string(text) != `{"version":0,"brokerEpoch":17}` {
		t.Fatalf("the file holds %q, %v", text, err)
	}
	if epoch, clean, err := checkpoint.ReadCleanShutdown(mem, "/d"); epoch != 17 || !clean || err != nil {
		t.Fatalf("read %d, %v, %v", epoch, clean, err)
	}
	// The removal is durable at once: a mark that comes back would vouch for what was written since.
	if err := checkpoint.RemoveCleanShutdown(mem, "/d"); err != nil {
		t.Fatal(err)
	}
	mem = mem.Crash(vfs.CrashOptions{})
	if _, clean, err := checkpoint.ReadCleanShutdown(mem, "/d"); clean || err != nil {
		t.Fatalf("after its removal and a power loss the mark is there: %v, %v", clean, err)
	}
}
