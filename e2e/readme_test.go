package e2e

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/walser-io/walser/e2e/rig"
)

// TestREADME does what the README says, with its commands as they stand there; only the port and the data
// directory are moved out of the way.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(readme, -1) {
		for line := range strings.Lines(string(block[1])) {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) != 4 || commands[3] != "go test ./..." {
		t.Fatalf("the README has the commands %q; this test knows server, produce, consume and the tests", commands)
	}
	addr := rig.FreeAddr(t)
	env := append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "WALSER_LISTENERS=PLAINTEXT://"+addr, "WALSER_BOOTSTRAP_SERVER="+addr)
	shell := func(command string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = "..", env
		return cmd
	}

	log := &rig.Log{}
	server := shell(commands[0])
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run has a child, which must end with it
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGTERM)
		_ = server.Wait() // it was asked to end
	})
	for deadline := time.Now().Add(3 * time.Minute); ; { // it may have to compile
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen:\n%s", commands[0], log)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if out, err := shell(commands[1]).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", commands[1], err, out)
	}
	consume := shell(commands[2])
	var stderr bytes.Buffer
	consume.Stderr = &stderr
	out, err := consume.Output()
	if err != nil || string(out) != "hello\n" {
		t.Fatalf("%s: %q, %v, want hello\n%s", commands[2], out, err, &stderr)
	}
}
