package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	readyTimeout = 60 * time.Second
	endTimeout   = 10 * time.Second
)

// place is where a broker runs.
type place struct {
	addr      string
	dir       string // its own
	clusterID string // tells it from any other
}

// process is a running broker. Its files lie in a directory that the caller removes after end.
type process struct {
	place
	name    string
	cmd     *exec.Cmd
	logFile string
	exited  chan struct{}
	startUp time.Duration // from exec to the first Metadata answer that names the broker
}

// startProcess starts a broker and waits until it answers.
func startProcess(ctx context.Context, name string, at place, cmd *exec.Cmd) (*process, error) {
	p := &process{place: at, name: name, cmd: cmd, logFile: filepath.Join(at.dir, "broker.log"), exited: make(chan struct{})}
	log, err := os.Create(p.logFile)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, childAttr()
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is in its log
	}()
	ctx, cancel := p.bound(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("it does not answer within %v", readyTimeout))
	defer stop()
	if err := awaitMetadata(ctx, at); err != nil {
		return nil, errors.Join(p.explain(fmt.Errorf("wait for %s: %w", name, err)), p.end())
	}
	p.startUp = time.Since(began)
	return p, nil
}

// bound returns a context that also ends when the process does.
func (p *process) bound(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.exited:
			cancel(fmt.Errorf("%s has ended", p.name))
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// explain adds the end of the broker's log to an error.
func (p *process) explain(err error) error {
	log, readErr := os.ReadFile(p.logFile)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	return fmt.Errorf("%w\nthe end of its log:\n%s", err, log[max(0, len(log)-3000):])
}

// end kills the process and waits for it. What it wrote is thrown away, so it need not close it well.
func (p *process) end() error {
	_ = p.cmd.Process.Kill() // it may be gone already
	select {
	case <-p.exited:
		return nil
	case <-time.After(endTimeout):
		return fmt.Errorf("%s (pid %d) did not end within %v of SIGKILL", p.name, p.cmd.Process.Pid, endTimeout)
	}
}

// cpu returns the CPU time that the process has used, in user and kernel mode, with that of its children that
// have ended. Neither peer leaves children running.
func (p *process) cpu() (time.Duration, error) { return cpuOf(strconv.Itoa(p.cmd.Process.Pid)) }

// memory returns the resident set: what it was at most, and what it is.
func (p *process) memory() (peak, now int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	if peak, err = field(string(text), "VmHWM"); err != nil {
		return 0, 0, err
	}
	now, err = field(string(text), "VmRSS")
	return peak << 10, now << 10, err
}

// diskRead returns the bytes that the process caused to be read from a disk.
func (p *process) diskRead() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return field(string(text), "read_bytes")
}

// cpuOf reads the CPU time of a process, "self" for this one.
func cpuOf(pid string) (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStat(string(text))
}

// userHZ is the unit of /proc/PID/stat, fixed in the kernel's interface.
const userHZ = 100

// parseStat returns utime + stime + cutime + cstime of /proc/PID/stat (proc_pid_stat(5)).
func parseStat(text string) (time.Duration, error) {
	// The second field is the name in brackets, which may hold anything; the third is the state.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime = 14 - 3
	if len(fields) < utime+4 {
		return 0, fmt.Errorf("/proc/PID/stat is too short: %q", text)
	}
	var ticks int64
	for _, f := range fields[utime : utime+4] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / userHZ), nil
}

// field returns the number behind "name:" in a file of /proc.
func field(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if words := strings.Fields(rest); len(words) > 0 {
				return strconv.ParseInt(words[0], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("there is no %s in /proc", name)
}

// awaitMetadata asks for Metadata, as a client would first, until an answer names the broker. It asks over a
// socket of its own, since a client library waits between its tries.
func awaitMetadata(ctx context.Context, at place) error {
	for {
		named, err := askMetadata(ctx, at)
		if named {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
}

func askMetadata(ctx context.Context, at place) (named bool, err error) {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", at.addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // fails only on a closed connection, as the write does
	request := kmsg.NewPtrMetadataRequest()
	request.Version, request.Topics = 8, []kmsg.MetadataRequestTopic{} // no topic; 8 is the last with plain headers
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("walser-bench")).AppendRequest(nil, request, 1)); err != nil {
		return false, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return false, err
	}
	answer := make([]byte, min(binary.BigEndian.Uint32(size[:]), 1<<20))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return false, err
	}
	response := kmsg.NewPtrMetadataResponse()
	response.Version = request.Version
	if err := response.ReadFrom(bytes.TrimPrefix(answer, []byte{0, 0, 0, 1})); err != nil {
		return false, err
	}
	if id := response.ClusterID; id == nil || *id != at.clusterID {
		return false, errors.New("another broker answers there")
	}
	for _, broker := range response.Brokers {
		if net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port))) == at.addr {
			return true, nil
		}
	}
	return false, errors.New("its Metadata does not name it yet")
}

// freeAddr returns an address on loopback where nothing listens now. The port lies below those that Linux
// gives to whoever asks for any, so that nobody takes it while a broker gets ready to listen.
func freeAddr() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// newClusterID returns an id in the form that Kafka gives to ids.
func newClusterID() string {
	for {
		var id [16]byte
		binary.LittleEndian.PutUint64(id[:], rand.Uint64())
		binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
		if text := base64.RawURLEncoding.EncodeToString(id[:]); text[0] != '-' { // or it would be taken for a flag
			return text
		}
	}
}
