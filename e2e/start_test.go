package e2e

import (
	encbinary "encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The limits of a node that holds nothing.
const (
	readyWithin = 250 * time.Millisecond
	idleMemory  = 60 << 20
)

// TestStart measures how long it takes from exec on an empty directory to the first Metadata answer that
// names the broker, and what a node holds that nobody uses.
func TestStart(t *testing.T) {
	const runs = 7
	var took []time.Duration
	var idle int64
	for range runs {
		n := newNode(t)
		begun := time.Now()
		n.launch()
		awaitMetadata(t, n)
		took = append(took, time.Since(begun))
		if len(took) == runs {
			time.Sleep(2 * time.Second) // what start-up left to do is done
			idle = n.residentMemory()
		}
		n.stop()
	}
	slices.Sort(took)
	median := took[runs/2]
	t.Logf("exec to first Metadata: median of %d %v (%v to %v); idle at %.1f MiB resident",
		runs, median.Round(100*time.Microsecond), took[0].Round(100*time.Microsecond), took[runs-1].Round(100*time.Microsecond), float64(idle)/(1<<20))
	if median >= readyWithin {
		t.Errorf("the first Metadata answer takes %v, want less than %v", median, readyWithin)
	}
	if idle >= idleMemory {
		t.Errorf("an idle node holds %d MiB, want less than %d", idle>>20, int64(idleMemory)>>20)
	}
}

// awaitMetadata asks for Metadata as soon as the node listens, and returns when the answer names it. It
// speaks for itself, since a client's back-off would be measured with it.
func awaitMetadata(t *testing.T, n *node) {
	t.Helper()
	until := time.Now().Add(20 * time.Second)
	var conn net.Conn
	for {
		var err error
		if conn, err = net.Dial("tcp", n.addr); err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("walser does not listen on %s:\n%s", n.addr, n.log.Tail(8000))
		}
		time.Sleep(200 * time.Microsecond)
	}
	defer conn.Close()
	if err := conn.SetDeadline(until); err != nil {
		t.Fatal(err)
	}
	request := kmsg.NewPtrMetadataRequest()
	request.Version = 12
	request.Topics = []kmsg.MetadataRequestTopic{}
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, request, 1)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatalf("read the Metadata answer: %v", err)
	}
	answer := make([]byte, encbinary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatalf("read the Metadata answer: %v", err)
	}
	response := kmsg.NewPtrMetadataResponse()
	response.Version = request.Version
	if err := response.ReadFrom(answer[5:]); err != nil { // after correlation id and no tagged fields
		t.Fatal(err)
	}
	for _, b := range response.Brokers {
		if net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))) == n.addr {
			return
		}
	}
	t.Fatalf("the first Metadata answer names %+v, want %s", response.Brokers, n.addr)
}

// residentMemory returns the resident memory of the process in bytes.
func (n *node) residentMemory() int64 {
	n.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		n.t.Skipf("memory is read from /proc: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	n.t.Fatalf("no VmRSS in:\n%s", status)
	return 0
}

// cpuTime returns the time that the process has computed for.
func (n *node) cpuTime() time.Duration {
	n.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		n.t.Skipf("CPU time is read from /proc: %v", err)
	}
	// After the name, which is in brackets: state is the third field, user and system time are 14 and 15.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, text := range fields[11:13] {
		field, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			n.t.Fatal(err)
		}
		ticks += field
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}
