package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/node"
	"github.com/walser-io/walser/internal/vfs"
)

func (a *app) serverCommand() *cobra.Command {
	var (
		file string
		set  []string
	)
	c := &cobra.Command{
		Use:   "server",
		Short: "Run a node",
		Long: `Run a node until Ctrl-C.

Without settings it listens on loopback and keeps its data under the user's data home. --config takes Kafka's
server.properties, or the same keys as YAML. Each key can be given as an environment variable
(WALSER_LISTENERS for listeners), and with --set, which wins.`,
		Example: "  walser server\n  walser server --config server.properties --set log.dirs=/var/lib/walser",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.serverConfig(file, set)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	c.Flags().StringVar(&file, "config", "", "settings `file`: properties, or YAML if its name ends so")
	c.Flags().StringArrayVar(&set, "set", nil, "setting as `key=value`; may be repeated")
	return c
}

// serverConfig reads the layers of a node's settings.
func (a *app) serverConfig(file string, set []string) (*config.Static, error) {
	sources := config.Sources{Set: set, Defaults: map[string]string{}}
	if file != "" {
		f, err := config.ReadFile(file)
		if err != nil {
			failure := &Failure{Code: ExitError, Cause: err, Setting: "--config"}
			if errors.Is(err, fs.ErrNotExist) {
				failure.Code = ExitNotFound
			}
			return nil, failure
		}
		sources.File = f
	}
	if dir, ok := a.dataDir(); ok {
		sources.Defaults["log.dir"] = dir
	}
	cfg, err := config.Load(sources, a.Env)
	if err != nil {
		return nil, &Failure{
			Code: ExitUsage, Cause: fmt.Errorf("the node cannot start with these settings:\n%w", err),
			Setting: "--config, WALSER_* and KAFKA_* environment variables, --set",
		}
	}
	for _, w := range cfg.Warnings() {
		a.note("warning: %s", w)
	}
	if len(cfg.Node().LogDirs) == 0 {
		return nil, &Failure{
			Code: ExitUsage, Cause: errors.New("there is no place for data: no home directory is known"),
			Setting: "log.dirs, XDG_DATA_HOME, HOME", Fix: "walser server --set log.dirs=DIRECTORY",
		}
	}
	return cfg, nil
}

// dataDir returns where a node that nobody configured keeps its data; false if no home is known.
func (a *app) dataDir() (string, bool) {
	if dir := a.getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "walser"), true
	}
	if dir := a.getenv("LocalAppData"); runtime.GOOS == "windows" && dir != "" {
		return filepath.Join(dir, "walser"), true
	}
	if home := a.getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "walser"), true
	}
	return "", false
}

func (a *app) serve(ctx context.Context, cfg *config.Static) error {
	level := slog.LevelInfo
	switch {
	case a.flags.verbose:
		level = slog.LevelDebug
	case a.flags.quiet:
		level = slog.LevelWarn
	}
	err := a.StartNode(ctx, Node{
		Config: cfg,
		Logger: slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: level})),
		Ready:  func(bootstrap string) { a.welcome(bootstrap, cfg) },
	})
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return &Failure{
			Code: ExitConflict, Cause: err, Setting: "listeners",
			Fix: "stop what listens there, or choose another port: walser server --set listeners=PLAINTEXT://127.0.0.1:19092",
		}
	}
	if socket, ok := errors.AsType[*net.OpError](err); ok && socket.Op == "listen" {
		return &Failure{
			Code: ExitError, Cause: err, Setting: "listeners",
			Fix: "name an address of this machine and a port that you may open: walser server --set listeners=PLAINTEXT://127.0.0.1:9092",
		}
	}
	if errors.Is(err, node.ErrLogDirs) {
		failure := &Failure{
			Code: ExitError, Cause: err, Setting: "log.dirs",
			Fix: "name a directory of this node, or an empty one: walser server --set log.dirs=DIRECTORY",
		}
		if errors.Is(err, vfs.ErrLocked) {
			failure.Code = ExitConflict
			failure.Fix = "stop the node that uses it, or choose another directory: walser server --set log.dirs=DIRECTORY"
		}
		return failure
	}
	return &Failure{Code: ExitError, Cause: err} // what a node says is not about a cluster that does not answer
}

// welcome says where the node is and what to do next.
func (a *app) welcome(bootstrap string, cfg *config.Static) {
	if a.flags.quiet {
		return
	}
	var b string
	if !isDefaultBootstrap(bootstrap) {
		b = " -b " + bootstrap
	}
	fmt.Fprintf(a.Stdout, `Walser is ready.
  bootstrap server  %s
  data              %s

Next, in another terminal:
  echo hello | walser produce demo%s
  walser consume demo -n1%s
`, bootstrap, cfg.Node().LogDirs[0], b, b)
}

// isDefaultBootstrap says whether clients find the node without being told.
func isDefaultBootstrap(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && port == "9092" && (host == "localhost" || host == "127.0.0.1" || host == "::1")
}
