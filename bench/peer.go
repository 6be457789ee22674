package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The names of the peers, as on the command line and in a report.
const (
	peerWalser        = "walser"         // acknowledges from the page cache, as Kafka does
	peerWalserDefault = "walser-default" // flushes before it acknowledges, as one node does by default
	peerKafka         = "kafka"
)

// deleteSoon makes a broker remove the files of a deleted topic soon, so that the writeback of one round's
// files does not fall into the next. It is the one setting that both peers have and neither by default.
const deleteSoon = "log.segment.delete.delay.ms=500"

// peer is a broker that can be started again and again.
type peer struct {
	name     string
	describe []string // what a report says of it
	prepare  func(ctx context.Context, at place) error
	// command returns the command that runs the broker in a prepared directory, with whatever lies in it.
	command  func(at place) *exec.Cmd
	profiled bool // it writes CPU profiles when asked
}

// start starts the broker in a directory that it creates.
func (p *peer) start(ctx context.Context, dir string) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	at := place{addr: addr, dir: dir, clusterID: newClusterID()}
	if p.profiled {
		at.profile = filepath.Join(dir, "cpu.pprof")
	}
	if err := errors.Join(os.Mkdir(dir, 0o755), p.prepare(ctx, at)); err != nil {
		return nil, err
	}
	return startProcess(ctx, p.name, at, p.command(at))
}

// preparePeers builds and finds what the chosen peers need. Files that last for the run go into dir.
func preparePeers(ctx context.Context, o *options, dir string, progress io.Writer) ([]*peer, error) {
	var peers []*peer
	for _, name := range o.peers {
		var (
			p   *peer
			err error
		)
		switch name {
		case peerKafka:
			p, err = prepareKafka(ctx, o, progress)
		default:
			p, err = prepareWalser(ctx, o, name, dir, progress)
		}
		if err != nil {
			return nil, err
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func prepareWalser(ctx context.Context, o *options, name, dir string, progress io.Writer) (*peer, error) {
	binary, source := o.walser, "the binary "+o.walser
	if binary == "" {
		root, err := repository()
		if err != nil {
			return nil, err
		}
		binary, source = filepath.Join(dir, "walser"), "built from "+commit(ctx, root)+", CGO_ENABLED=0 -trimpath -buildvcs=false"
		if _, err := os.Stat(binary); err != nil {
			fmt.Fprintln(progress, "building walser")
			build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "./cmd/walser")
			build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("build walser: %w\n%s", err, out)
			}
		}
	}
	sum, err := digest(binary)
	if err != nil {
		return nil, err
	}
	p := &peer{
		name: name, describe: []string{"Walser, " + source, "sha256 of the binary " + sum + "; " + deleteSoon}, profiled: true,
		prepare: func(context.Context, place) error { return nil },
	}
	if name == peerWalser {
		p.describe = append(p.describe, "log.write.caching=true: acknowledges from the page cache, as Kafka does; a power loss can take what was not written back")
	} else {
		p.describe = append(p.describe, "log.write.caching=auto, its default: one replica acknowledges after the fsync; Kafka promises less")
	}
	p.command = func(at place) *exec.Cmd {
		args := []string{
			"server", "--set", "listeners=PLAINTEXT://" + at.addr, "--set", "log.dirs=" + filepath.Join(at.dir, "data"),
			"--set", "cluster.id=" + at.clusterID, "--set", deleteSoon,
		}
		if name == peerWalser {
			args = append(args, "--set", "log.write.caching=true")
		}
		cmd := exec.Command(binary, args...)
		cmd.Env = append(environment("WALSER_", "KAFKA_"), envProfile+"="+at.profile)
		return cmd
	}
	return p, nil
}

// digest returns the beginning of a file's SHA-256.
func digest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// environment returns this process's environment without the variables that would configure a peer.
func environment(prefixes ...string) []string {
	var kept []string
variables:
	for _, variable := range os.Environ() {
		for _, prefix := range prefixes {
			if strings.HasPrefix(variable, prefix) {
				continue variables
			}
		}
		kept = append(kept, variable)
	}
	return kept
}

// repository returns the root of this source tree, which holds this module's directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(text), "module github.com/walser-io/walser\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("this is not a clone of the repository, so walser cannot be built: give -walser BINARY")
		}
	}
}

// commit names the commit of a source tree, and whether the tree differs from it.
func commit(ctx context.Context, root string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	id, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "an unknown commit"
	}
	if changes, err := git("status", "--porcelain", "--", "cmd", "internal", "bench", "go.mod"); err != nil || changes != "" {
		return "commit " + id + " with changes"
	}
	return "commit " + id
}
