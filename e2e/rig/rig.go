// Package rig is what the tests of real processes share: the walser binary under test, Apache Kafka beside it,
// the folder of the tools that are not Go, addresses and logs.
package rig

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

var walser = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("E2E_WALSER"); path != "" {
		return filepath.Abs(path)
	}
	root, err := sources()
	if err != nil {
		return "", err
	}
	built = filepath.Join(os.TempDir(), fmt.Sprintf("walser-e2e-%d", os.Getpid()))
	build := exec.Command("go", "build", "-o", built, "./cmd/walser")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build walser: %w\n%s", err, out)
	}
	return built, nil
})

// built is the binary that walser has built, "" if none.
var built string

// sources returns the folder that holds the sources of walser, one above the tests or further up.
func sources() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "walser")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no folder above the tests holds cmd/walser")
}

// Walser returns the binary under test: the one that E2E_WALSER names, or one that is built once for all tests of
// a package.
func Walser(t testing.TB) string {
	t.Helper()
	path, err := walser()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main runs the tests of a package, and removes what Walser has built for them.
func Main(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.Remove(built) // it is a temporary file
	}
	os.Exit(code)
}

// Tools is the folder with the clients that are not Go, "" if there is none.
func Tools() string { return os.Getenv("E2E_TOOLS") }

// Needs returns the path of a tool, which lies in the folder of Tools unless it is absolute. It skips or fails the test where
// the tool is not installed.
func Needs(t testing.TB, path string) string {
	t.Helper()
	full := filepath.Join(Tools(), path)
	if filepath.IsAbs(path) {
		full = path
	}
	if _, err := os.Stat(full); err == nil && (Tools() != "" || filepath.IsAbs(path)) {
		return full
	}
	if os.Getenv("E2E_REQUIRE") != "" {
		t.Fatalf("%s is missing: .ci/e2e installs it", full)
	}
	t.Skipf("%s is missing: .ci/e2e installs it", full)
	return ""
}

// FreeAddr returns an address on loopback where nothing listens now. The port lies below those that Linux
// gives to whoever asks for any, so that no client of another test takes it before it is listened on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		if l, err = net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatalf("find a free port: %v", err)
	return ""
}

// Log is what a process writes, for a test to read meanwhile.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all of the log.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Tail returns the last n bytes of the log.
func (l *Log) Tail(n int) string {
	s := l.String()
	return s[max(0, len(s)-n):]
}
