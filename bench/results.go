package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/walser-io/walser/internal/loadgen"
)

// results is the directory that keeps what a run has measured: cases/NAME.json for each finished case,
// profiles/, and the report. A later run takes finished cases from it.
type results struct{ dir string }

// openResults creates the directory. Without resume it forgets the cases that are in it.
func openResults(dir string, resume bool) (results, error) {
	r := results{dir}
	for _, sub := range []string{"cases", "profiles"} {
		if !resume {
			if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
				return r, err
			}
		}
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return r, fmt.Errorf("make a place for results: %w; give -results DIRECTORY", err)
		}
	}
	return r, nil
}

func (r results) file(name string) string { return filepath.Join(r.dir, "cases", name+".json") }

// load returns a finished case, unless there is none or it was measured differently.
func (r results) load(name, key string) (*caseReport, bool, error) {
	text, err := os.ReadFile(r.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var c caseReport
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, false, fmt.Errorf("%s: %w; remove it to measure the case again", r.file(name), err)
	}
	return &c, c.Key == key, nil
}

// store keeps a finished case.
func (r results) store(c *caseReport) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(r.file(c.Case), text)
}

// profile names the place of the CPU profile of a round.
func (r results) profile(name, peer string, round int) string {
	return filepath.Join(r.dir, "profiles", fmt.Sprintf("%s.%s.%d.pprof", name, peer, round))
}

// writeWhole writes a file that is there whole or not at all.
func writeWhole(name string, text []byte) error {
	if err := os.WriteFile(name+".part", text, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".part", name)
}

// key names everything that a case's figures depend on: the machine, the brokers, the load and how long it
// runs. Targets are not among it: they are judged when the report is written.
func (b *bench) key(c *benchCase) string {
	m := b.machine
	m.LoadBefore, m.Commit = 0, ""
	peers := map[string][]string{}
	for _, p := range b.peersOf(c) {
		peers[p.name] = p.describe
	}
	text, _ := json.Marshal(struct { // of strings and numbers
		Machine machine
		Peers   map[string][]string
		Kind    kind
		Load    loadgen.Load
		Preset  preset
	}{m, peers, c.kind, c.load, b.preset})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
