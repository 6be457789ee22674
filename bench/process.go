package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	readyTimeout = 3 * time.Minute // Apache Kafka waits for its own old session
	endTimeout   = 10 * time.Second
)

// place is where a broker runs.
type place struct {
	addr      string
	dir       string // its own
	clusterID string // tells it from any other
	profile   string // where the broker puts CPU profiles; empty: it makes none
}

// process is a running broker. Its files lie in a directory that the caller removes after end.
type process struct {
	place
	name    string
	cmd     *exec.Cmd
	logFile string
	exited  chan struct{}
	startUp time.Duration // from exec to the first Metadata answer that names the broker

	profiling bool // a CPU profile has been begun
}

// launch starts a broker's process, whose log goes on where an earlier one's ended.
func launch(name string, at place, cmd *exec.Cmd) (*process, error) {
	p := &process{place: at, name: name, cmd: cmd, logFile: filepath.Join(at.dir, "broker.log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, childAttr()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

// startProcess starts a broker and waits until it answers.
func startProcess(ctx context.Context, name string, at place, cmd *exec.Cmd) (*process, error) {
	began := time.Now()
	p, err := launch(name, at, cmd)
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, func(ctx context.Context) error { return awaitMetadata(ctx, at) }); err != nil {
		return nil, errors.Join(p.explain(fmt.Errorf("wait for %s: %w", name, err)), p.end())
	}
	p.startUp = time.Since(began)
	return p, nil
}

// ready waits for something that a broker that has just been launched does soon.
func (p *process) ready(ctx context.Context, await func(context.Context) error) error {
	ctx, cancel := p.bound(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("it does not answer within %v", readyTimeout))
	defer stop()
	return await(ctx)
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

// machineCPU returns the CPU time that the whole machine has used: /proc/stat without idle and iowait. A
// guest's time is in user already.
func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachine(string(text))
}

// parseMachine reads the first line of /proc/stat: user nice system idle iowait irq softirq steal (proc_stat(5)).
func parseMachine(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	return ticks(fields[1:4], fields[6:8])
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
	return ticks(fields[utime : utime+4])
}

// ticks adds up times of /proc.
func ticks(lists ...[]string) (time.Duration, error) {
	var sum int64
	for _, field := range slices.Concat(lists...) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("a time in /proc: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * (time.Second / userHZ), nil
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
