package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/walser-io/walser/internal/cli"
	"github.com/walser-io/walser/internal/vfs"
)

// TestMain lets scripts run walser as a program of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"walser": func() { os.Exit(cli.Main(context.Background(), realDeps(), os.Args[1:])) }})
}

// realDeps are those of the program, with a node that says what it was given.
func realDeps() cli.Deps {
	return cli.Deps{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ(), FS: vfs.OS(), Now: time.Now,
		StartNode: func(_ context.Context, n cli.Node) error {
			listener := n.Config.Node().AdvertisedListeners[0]
			n.Ready(listener.Address())
			return nil
		},
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits CODE PROGRAM ARGS…: the program ends with that exit code.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: exits code program args…")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					exit, ok := errors.AsType[*exec.ExitError](err)
					if !ok {
						ts.Fatalf("%v", err)
					}
					got = exit.ExitCode()
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
			// writelog DIR: package storage writes logs into a data directory.
			"writelog": func(ts *testscript.TestScript, neg bool, args []string) {
				ts.Check(writeLogs(ts.MkAbs(args[0])))
			},
			// spoil FILE AT: changes one byte; AT counts from the end if negative.
			"spoil": func(ts *testscript.TestScript, neg bool, args []string) {
				name := ts.MkAbs(args[0])
				b, err := os.ReadFile(name)
				ts.Check(err)
				at, err := strconv.Atoi(args[1])
				ts.Check(err)
				if at < 0 {
					at += len(b)
				}
				b[at] ^= 0xff
				ts.Check(os.WriteFile(name, b, 0o600))
			},
		},
	})
}

// ran is what a command did.
type ran struct {
	code           int
	stdout, stderr string
}

// run runs a command in this process against a cluster that adm plays.
func run(adm cli.Admin, stdin string, terminal bool, args ...string) ran {
	var stdout, stderr bytes.Buffer
	code := cli.MainWith(context.Background(), cli.Deps{
		Stdin: strings.NewReader(stdin), StdinIsTerminal: terminal, Stdout: &stdout, Stderr: &stderr,
		FS: vfs.NewMem(1), Now: func() time.Time { return time.UnixMilli(2_000_000_000_000) },
	}, adm, args)
	return ran{code, stdout.String(), stderr.String()}
}

func (r ran) String() string {
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", r.code, r.stdout, r.stderr)
}

// TestServerTakenPort: a taken port names the setting to change.
func TestServerTakenPort(t *testing.T) {
	var stderr bytes.Buffer
	code := cli.Main(context.Background(), cli.Deps{
		Stdout: io.Discard, Stderr: &stderr, Env: []string{"HOME=" + t.TempDir()}, FS: vfs.NewMem(1), Now: time.Now,
		StartNode: func(context.Context, cli.Node) error { return takePortTwice() },
	}, []string{"server"})
	if code != cli.ExitConflict || !strings.Contains(stderr.String(), "setting: listeners\n") {
		t.Errorf("exit code %d\n%s", code, stderr.String())
	}
}

// TestServerLogDirs: directories that the node cannot use name the setting to change, and the way out.
func TestServerLogDirs(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(dir string) error
		code  int
		says  []string
	}{
		"another's": {
			func(dir string) error { return os.Mkdir(filepath.Join(dir, "orders-0"), 0o755) }, cli.ExitError,
			[]string{`it holds "orders-0" but no meta.properties`, "setting: log.dirs\n", "fix: name a directory of this node, or an empty one"},
		},
		"torn": {
			func(dir string) error { return os.WriteFile(filepath.Join(dir, "meta.properties"), nil, 0o644) }, cli.ExitError,
			[]string{"meta.properties: corrupt file", "setting: log.dirs\n"},
		},
		"in use": {
			func(dir string) error {
				lock, err := vfs.OS().Lock(filepath.Join(dir, ".lock"))
				if err == nil {
					t.Cleanup(func() { lock.Close() })
				}
				return err
			}, cli.ExitConflict,
			[]string{"another broker uses it", "setting: log.dirs\n", "fix: stop the node that uses it"},
		},
		"no directory": {
			func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o644)) }, cli.ExitError,
			[]string{"not a directory", "setting: log.dirs\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := errors.Join(os.Mkdir(dir, 0o755), tt.spoil(dir)); err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			code := cli.Main(context.Background(), cli.Deps{
				Stdout: io.Discard, Stderr: &stderr, FS: vfs.OS(), Now: time.Now, StartNode: cli.RunNode,
			}, []string{"server", "-q", "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "log.dirs=" + dir})
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("%q is missing in:\n%s", want, stderr.String())
				}
			}
		})
	}
}

// TestServerErrors: what ends a node is told as it is, and not as what a client meets.
func TestServerErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		stderr string
	}{
		"no such address": {
			fmt.Errorf("listen on X: %w", &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRNOTAVAIL}),
			"error: listen on X: listen tcp: cannot assign requested address\n  setting: listeners\n  fix: name an address of this machine",
		},
		"time":                {fmt.Errorf("stop a part: %w", context.DeadlineExceeded), "error: stop a part: context deadline exceeded\n"},
		"a file's end":        {fmt.Errorf("read a file: %w", io.EOF), "error: read a file: EOF\n"},
		"a part that gave up": {fmt.Errorf("run a part: %w", context.Canceled), "error: run a part: context canceled\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := cli.Main(t.Context(), cli.Deps{
				Stdout: io.Discard, Stderr: &stderr, Env: []string{"HOME=" + t.TempDir()}, FS: vfs.NewMem(1), Now: time.Now,
				StartNode: func(context.Context, cli.Node) error { return tt.err },
			}, []string{"server"})
			if code != cli.ExitError || !strings.HasPrefix(stderr.String(), tt.stderr) || strings.Contains(stderr.String(), "cluster") {
				t.Errorf("exit code %d\n%s", code, stderr.String())
			}
		})
	}
}

// TestServerEndsByInterrupt: Ctrl-C is the ordinary end of a node.
func TestServerEndsByInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var stderr bytes.Buffer
	code := cli.Main(ctx, cli.Deps{
		Stdout: io.Discard, Stderr: &stderr, Env: []string{"HOME=" + t.TempDir()}, FS: vfs.NewMem(1), Now: time.Now,
		StartNode: func(ctx context.Context, _ cli.Node) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		},
	}, []string{"server"})
	if code != cli.ExitOK || stderr.Len() > 0 {
		t.Errorf("exit code %d\n%s", code, stderr.String())
	}
}
