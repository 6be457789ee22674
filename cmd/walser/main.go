// Command walser is the whole of Walser in one file: a node, and the commands to use one.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/walser-io/walser/internal/cli"
	"github.com/walser-io/walser/internal/vfs"
)

// envProfile names a file that CPU profiles are written to when SIGUSR1 asks for them.
const envProfile = "WALSER_CPU_PROFILE"

func main() {
	if file := os.Getenv(envProfile); file != "" {
		profileOnSignal(file)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Main(ctx, cli.Deps{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		StdinIsTerminal: term.IsTerminal(int(os.Stdin.Fd())),
		Env:             os.Environ(),
		FS:              vfs.OS(),
		Now:             time.Now,
		StartNode:       cli.RunNode,
	}, os.Args[1:]))
}
