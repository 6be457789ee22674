package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/walser-io/walser/e2e/rig"
)

// client is one stock client, driven through the steps of the table.
type client interface {
	name() string
	codecs() []string // compression codecs it can write
	create(t *testing.T, addr, topic string, partitions int)
	// produce writes the values <codec>-<first> … and returns when all are acknowledged.
	produce(t *testing.T, addr, topic, codec string, first, count int)
	// join starts a member of a group that reads topic from the start and commits what it read.
	join(t *testing.T, addr, topic, group string) member
	// offsetsAt returns the offset of the first record not older than a time (ms), by partition.
	offsetsAt(t *testing.T, addr, topic string, timestamp int64) map[int32]int64
}

// member is a running group member.
type member interface {
	events() <-chan event
	leave(t *testing.T) // commits, leaves the group, ends
}

// event is what a member tells of itself.
type event struct {
	Event      string           `json:"event"`
	Partitions []int32          `json:"partitions"`
	Values     []string         `json:"values"`
	Offsets    map[string]int64 `json:"offsets"`
}

// script is a client in another language; clients/README.md describes its protocol.
type script struct {
	label   string
	command []string
	codec   []string
}

type step struct {
	Step       string `json:"step"`
	Bootstrap  string `json:"bootstrap"`
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions,omitempty"`
	Codec      string `json:"codec,omitempty"`
	First      int    `json:"first"`
	Count      int    `json:"count"`
	Group      string `json:"group,omitempty"`
	Timestamp  int64  `json:"timestamp,omitempty"`
}

func (s script) name() string     { return s.label }
func (s script) codecs() []string { return s.codec }

func (s script) create(t *testing.T, addr, topic string, partitions int) {
	s.run(t, step{Step: "create", Bootstrap: addr, Topic: topic, Partitions: partitions})
}

func (s script) produce(t *testing.T, addr, topic, codec string, first, count int) {
	s.run(t, step{Step: "produce", Bootstrap: addr, Topic: topic, Codec: codec, First: first, Count: count})
}

func (s script) offsetsAt(t *testing.T, addr, topic string, timestamp int64) map[int32]int64 {
	offsets := map[int32]int64{}
	for _, e := range s.run(t, step{Step: "at", Bootstrap: addr, Topic: topic, Timestamp: timestamp}) {
		for p, offset := range e.Offsets {
			var partition int32
			if _, err := fmt.Sscan(p, &partition); err != nil {
				t.Fatal(err)
			}
			offsets[partition] = offset
		}
	}
	return offsets
}

// run carries out a step to its end.
func (s script) run(t *testing.T, st step) []event {
	t.Helper()
	cmd := s.start(t, st)
	var events []event
	for e := range cmd.out {
		events = append(events, e)
	}
	cmd.wait(t)
	return events
}

func (s script) join(t *testing.T, addr, topic, group string) member {
	return s.start(t, step{Step: "consume", Bootstrap: addr, Topic: topic, Group: group})
}

// running is a script at work.
type running struct {
	what  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	err   *rig.Log
	out   chan event
}

func (s script) start(t *testing.T, st step) *running {
	t.Helper()
	arg, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(s.command[0], append(s.command[1:], string(arg))...)
	r := &running{what: s.label + " " + st.Step, cmd: cmd, err: &rig.Log{}, out: make(chan event, 10_000)}
	cmd.Stderr = r.err
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(rig.Tools(), "node", "node_modules"))
	if r.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // ends what a failed test left
	go func() {
		defer close(r.out)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event != "" {
				r.out <- e
			}
		}
	}()
	return r
}

func (r *running) events() <-chan event { return r.out }

func (r *running) leave(t *testing.T) {
	t.Helper()
	r.stdin.Close()
	for range r.out {
	}
	r.wait(t)
}

func (r *running) wait(t *testing.T) {
	t.Helper()
	timer := time.AfterFunc(60*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", r.what, err, r.err.Tail(4000))
	}
}
