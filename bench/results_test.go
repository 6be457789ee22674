package main

import (
	"io"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

func TestResults_Resume(t *testing.T) {
	dir := t.TempDir()
	kept, err := openResults(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := kept.load("c", "key"); err != nil || found {
		t.Errorf("an empty directory: %v, %v", found, err)
	}
	stored := &caseReport{Key: "key", Case: "c", With: []string{"a client"}, Rounds: map[string][]measurement{
		peerKafka: {{Round: 1, Peer: peerKafka, Records: 5, Elapsed: time.Second, Produce: &loadgen.Quantiles{P99: 7}}},
	}}
	if err := kept.store(stored); err != nil {
		t.Fatal(err)
	}
	if kept, err = openResults(dir, true); err != nil {
		t.Fatal(err)
	}
	got, found, err := kept.load("c", "key")
	if err != nil || !found || !reflect.DeepEqual(got, stored) {
		t.Errorf("got %+v, %v, %v, want %+v", got, found, err, stored)
	}
	if _, found, err := kept.load("c", "another key"); err != nil || found {
		t.Errorf("what was measured differently: %v, %v", found, err)
	}
	if err := os.WriteFile(kept.file("bad"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kept.load("bad", "key"); err == nil {
		t.Error("half a file was taken")
	}
	if kept, err = openResults(dir, false); err != nil {
		t.Fatal(err)
	}
	if _, found, err := kept.load("c", "key"); err != nil || found {
		t.Errorf("a new start: %v, %v", found, err)
	}
}

// The key of a case changes with whatever its figures depend on, and with nothing else.
func TestBench_Key(t *testing.T) {
	key := func(change func(*bench, *benchCase)) string {
		o, err := parseOptions([]string{"-case", "produce-1k-64p"}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{options: o, machine: machine{CPUs: 2}, peers: []*peer{{name: peerWalser, describe: []string{"a binary"}}}}
		change(b, &o.cases[0])
		return b.key(&o.cases[0])
	}
	same := key(func(*bench, *benchCase) {})
	for name, change := range map[string]func(*bench, *benchCase){
		"machine": func(b *bench, _ *benchCase) { b.machine.CPUs = 4 },
		"binary":  func(b *bench, _ *benchCase) { b.peers[0].describe = []string{"another"} },
		"peer":    func(b *bench, _ *benchCase) { b.peers = append(b.peers, &peer{name: peerKafka}) },
		"preset":  func(b *bench, _ *benchCase) { b.Rounds = 1 },
		"load":    func(_ *bench, c *benchCase) { c.load.Seed++ },
		"kind":    func(_ *bench, c *benchCase) { c.kind = replay },
	} {
		if key(change) == same {
			t.Errorf("another %s has the same key", name)
		}
	}
	for name, change := range map[string]func(*bench, *benchCase){
		"hour":   func(b *bench, _ *benchCase) { b.machine.LoadBefore = 7 },
		"commit": func(b *bench, _ *benchCase) { b.machine.Commit = "another" },
		"target": func(_ *bench, c *benchCase) { c.targets = nil },
	} {
		if key(change) != same {
			t.Errorf("another %s has another key", name)
		}
	}
}
