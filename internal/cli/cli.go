package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/vfs"
)

// Deps is what the commands need of the world.
type Deps struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// StdinIsTerminal says whether someone can answer a prompt.
	StdinIsTerminal bool
	// Env is what os.Environ returns.
	Env []string
	// FS is the file system of log dump.
	FS vfs.FS
	// Now is the wall clock; offsets relative to now are measured against it.
	Now func() time.Time
	// StartNode runs the node of walser server.
	StartNode StartNode
}

// StartNode runs a node until ctx ends, shuts it down in order, and returns nil; or returns why it could
// not start or go on. An address that is taken is an error that wraps syscall.EADDRINUSE.
type StartNode func(ctx context.Context, n Node) error

// Node is what StartNode is given.
type Node struct {
	Config *config.Static
	Logger *slog.Logger // writes to standard error
	// Ready is called once, when clients are served, with the first advertised address as host:port.
	Ready func(bootstrap string)
}

// Main runs the command that args (without the program's name) ask for, and returns the exit code of the
// process. When ctx ends, as by Ctrl-C, commands that run until they are told to stop end with ExitOK.
func Main(ctx context.Context, deps Deps, args []string) int {
	return newApp(deps).main(ctx, args)
}

// app is one run of the program: the world, the global flags, and how clients are made.
type app struct {
	Deps
	flags   globalFlags
	connect connector
}

// globalFlags are the flags that every command has.
type globalFlags struct {
	bootstrap     string
	brokers       string // alias of bootstrap
	commandConfig string
	properties    []string
	output        string
	noHeaders     bool
	quiet         bool
	verbose       bool
	timeout       time.Duration
	yes           bool
}

func newApp(deps Deps) *app {
	return &app{Deps: deps, connect: connectKafka}
}

func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	f := a.explain(err)
	if f.Code == ExitUsage && f.Fix == "" {
		f.Fix = fmt.Sprintf("`%s --help` shows arguments and flags", ran.CommandPath())
	}
	f.print(a.Stderr)
	return f.Code
}

// root returns the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "walser",
		Short: "Walser is an event streaming platform that speaks Kafka's protocol",
		Long: `Walser is an event streaming platform that speaks Kafka's protocol.

  walser server                        run a node; no configuration needed
  echo hello | walser produce demo     write a record to the topic demo
  walser consume demo -n1              read one

Every command but server works against Apache Kafka as well.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.checkGlobalFlags(cmd)
		},
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)

	fs := root.PersistentFlags()
	fs.SortFlags = false
	fs.StringVarP(&a.flags.bootstrap, "bootstrap-server", "b", "", "`host:port,…` to connect to first (env WALSER_BOOTSTRAP_SERVER; default "+defaultBootstrap+")")
	fs.StringVar(&a.flags.brokers, "brokers", "", "same as --bootstrap-server")
	_ = fs.MarkHidden("brokers") // it exists
	fs.StringVar(&a.flags.commandConfig, "command-config", "", "Kafka client properties `file`")
	fs.StringArrayVarP(&a.flags.properties, "property", "X", nil, "client property as `key=value`, by Kafka's name; may be repeated")
	fs.StringVarP(&a.flags.output, "output", "o", "", "`notation`: table, json, jsonl or yaml")
	fs.BoolVar(&a.flags.noHeaders, "no-headers", false, "leave the headers of tables out")
	fs.BoolVarP(&a.flags.quiet, "quiet", "q", false, "no notes on standard error")
	fs.BoolVarP(&a.flags.verbose, "verbose", "v", false, "log what the client or node does to standard error")
	fs.DurationVar(&a.flags.timeout, "timeout", 30*time.Second, "how long to wait for the cluster")
	fs.BoolVarP(&a.flags.yes, "yes", "y", false, "answer yes to every question")
	a.complete(root, "output", outputNames()...)

	root.AddCommand(
		a.serverCommand(),
		a.produceCommand(),
		a.consumeCommand(),
		a.topicCommand(),
		a.groupCommand(),
		a.clusterCommand(),
		a.logCommand(),
		a.benchCommand(),
		a.versionCommand(),
	)
	return root
}

// group is what a command runs that only has commands below it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var near string
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		near = "did you mean " + strings.Join(s, " or ") + "?"
	}
	return &Failure{Code: ExitUsage, Cause: fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0]), Fix: near}
}

// parent returns a command that only has commands below it.
func parent(use, short string, aliases []string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Aliases: aliases, Args: cobra.ArbitraryArgs, RunE: group, SuggestionsMinimumDistance: 2}
	c.AddCommand(children...)
	return c
}

func (a *app) checkGlobalFlags(cmd *cobra.Command) error {
	if o := a.flags.output; o != "" && !slices.Contains(outputNames(), o) {
		return usage("--output %s: want one of %s", o, strings.Join(outputNames(), ", "))
	}
	if a.flags.timeout <= 0 {
		return usage("--timeout %s: must be above 0", a.flags.timeout)
	}
	if a.flags.brokers != "" {
		if a.flags.bootstrap != "" {
			return usage("--brokers is another name of --bootstrap-server: give one of them")
		}
		a.flags.bootstrap = a.flags.brokers
	}
	if f := cmd.Flags().Lookup("bootstrap-server"); f != nil && f.Changed && f.Value.String() == "" {
		return usage("--bootstrap-server is empty")
	}
	return nil
}

// exactly, atLeastOne and atMostOne are checks of arguments that say what is wanted.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return usage("%s takes no argument %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

func atLeastOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s needs at least one %s", cmd.CommandPath(), name)
		}
		return nil
	}
}

func atMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage("%s takes one %s, not %d", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}

// complete makes the shell complete a flag's value.
func (a *app) complete(cmd *cobra.Command, flag string, values ...string) {
	fixed := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // a flag that the command does not have: every run of every command would show it
	}
}

// note tells the user something beside the result.
func (a *app) note(format string, args ...any) {
	if !a.flags.quiet {
		fmt.Fprintf(a.Stderr, format+"\n", args...)
	}
}

// confirm asks before something is destroyed. The default is no.
func (a *app) confirm(ctx context.Context, format string, args ...any) error {
	if a.flags.yes {
		return nil
	}
	question := fmt.Sprintf(format, args...)
	if !a.StdinIsTerminal {
		return &Failure{
			Code: ExitUsage, Cause: fmt.Errorf("%s Nobody can answer: standard input is no terminal", question),
			Setting: "--yes (-y)", Fix: "say --yes if that is meant",
		}
	}
	fmt.Fprintf(a.Stderr, "%s [y/N] ", question)
	answer, err := a.readLine(ctx)
	if err != nil {
		return err
	}
	if s := strings.ToLower(strings.TrimSpace(answer)); s != "y" && s != "yes" {
		return errors.New("not confirmed, nothing was done")
	}
	return nil
}

// readLine reads a line from standard input, or returns when ctx ends. The read itself cannot be taken
// back; it ends with the process.
func (a *app) readLine(ctx context.Context) (string, error) {
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() {
		var b []byte
		one := make([]byte, 1)
		for {
			n, err := a.Stdin.Read(one)
			if n == 1 && one[0] == '\n' || err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				read <- line{string(b), err}
				return
			}
			b = append(b, one[:n]...)
		}
	}()
	select {
	case l := <-read:
		return l.text, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// getenv returns the value of an environment variable, "" if it is not set.
func (a *app) getenv(name string) string {
	for _, kv := range slices.Backward(a.Env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}
