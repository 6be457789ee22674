package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/walser-io/walser/internal/storage/epoch"
	"github.com/walser-io/walser/internal/storage/segment"
)

const snapshotSuffix = ".snapshot"

func (a *app) logCommand() *cobra.Command {
	return parent("log", "Look into log files", nil, a.logDump())
}

func (a *app) logDump() *cobra.Command {
	var (
		d       dumper
		decode  string
		logDirs []string
	)
	c := &cobra.Command{
		Use:   "dump FILE|DIRECTORY|TOPIC-PARTITION…",
		Short: "Print what is in a partition's files, without a node",
		Long: `Print what is in a partition's files, without a node: .log, .index, .timeindex, .txnindex, .snapshot and
leader-epoch-checkpoint, Walser's and Apache Kafka's alike. Every batch's checksum is computed, and every
index entry is compared with the batch that it points to; what does not fit is an error (exit code 7).

The text is that of Kafka's kafka-dump-log, line for line; -o jsonl has the same as objects. A
TOPIC-PARTITION is looked for in --log-dir, by default where walser server keeps its data.`,
		Example: `  walser log dump demo-0
  walser log dump --records /var/lib/walser/orders-3/00000000000000000000.log
  walser log dump --records --decode offsets __consumer_offsets-17`,
		Args: atLeastOne("file, directory or TOPIC-PARTITION"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault // files
		},
		RunE: func(_ *cobra.Command, args []string) error {
			switch decode {
			case "":
				d.decode = plainText
			case "offsets":
				d.decode, d.records = decodeOffsets, true
			default:
				return usage("--decode %s: want offsets", decode)
			}
			d.a, d.out = a, bufio.NewWriterSize(a.Stdout, 64<<10)
			return d.dump(args, logDirs)
		},
	}
	c.Flags().BoolVar(&d.records, "records", false, "print the records of each batch")
	c.Flags().StringVar(&decode, "decode", "", "read keys and values as those of an internal `topic`: offsets")
	c.Flags().StringArrayVar(&logDirs, "log-dir", nil, "data `directory` in which a TOPIC-PARTITION is looked for; may be repeated")
	a.complete(c, "decode", "offsets")
	return c
}

// dumper prints files and gathers what is wrong with them.
type dumper struct {
	a        *app
	out      *bufio.Writer
	records  bool
	decode   decoder
	problems []string
}

func (d *dumper) dump(args, logDirs []string) error {
	var files []string
	for _, arg := range args {
		found, err := d.files(arg, logDirs)
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	for _, f := range files {
		if err := d.file(f); err != nil {
			return cmp.Or(d.out.Flush(), fmt.Errorf("dump %s: %w", f, err))
		}
	}
	if err := d.out.Flush(); err != nil {
		return err
	}
	if len(d.problems) > 0 {
		return &Failure{Code: ExitCheck, Cause: errors.New(strings.Join(d.problems, "\n"))}
	}
	return nil
}

// files returns the files that an argument stands for.
func (d *dumper) files(arg string, logDirs []string) ([]string, error) {
	info, err := d.a.FS.Stat(arg)
	if errors.Is(err, fs.ErrNotExist) && regexp.MustCompile(`^[a-zA-Z0-9._-]+-[0-9]+$`).MatchString(arg) {
		if len(logDirs) == 0 {
			if dir, ok := d.a.dataDir(); ok {
				logDirs = []string{dir}
			}
		}
		for _, dir := range logDirs {
			candidate := filepath.Join(dir, arg)
			if at, failed := d.a.FS.Stat(candidate); failed == nil {
				info, err, arg = at, nil, candidate
				break
			}
		}
		if err != nil {
			return nil, &Failure{Code: ExitNotFound, Cause: fmt.Errorf("there is no file or directory %s, and no such partition in %s", arg, strings.Join(logDirs, ", ")), Setting: "--log-dir"}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound("there is no file or directory %s", arg)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if !dumpable(arg) {
			return nil, usage("%s: want a file named %s", arg, strings.Join(append(suffixes(), epoch.FileName), ", "))
		}
		return []string{arg}, nil
	}
	entries, err := d.a.FS.ReadDir(arg)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && dumpable(e.Name()) {
			files = append(files, filepath.Join(arg, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, notFound("%s is no partition's directory: it holds no segment", arg)
	}
	return files, nil
}

func suffixes() []string {
	return []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix, snapshotSuffix}
}

// dumpable says whether a name is one that dump can read. Names of segment files begin with an offset.
func dumpable(name string) bool {
	base := filepath.Base(name)
	if base == epoch.FileName {
		return true
	}
	_, err := baseOffset(name)
	return err == nil && slices.Contains(suffixes(), filepath.Ext(base))
}

// file prints one file.
func (d *dumper) file(name string) error {
	d.title("Dumping %s\n", name)
	switch filepath.Ext(name) {
	case segment.LogSuffix:
		return d.log(name)
	case segment.IndexSuffix:
		return d.index(name)
	case segment.TimeIndexSuffix:
		return d.timeIndex(name)
	case segment.TxnIndexSuffix:
		return d.txnIndex(name)
	case snapshotSuffix:
		return d.producers(name)
	}
	return d.epochs(name)
}

// title prints a line that has no place in JSON.
func (d *dumper) title(format string, args ...any) {
	if d.text() {
		fmt.Fprintf(d.out, format, args...)
	}
}

func (d *dumper) text() bool {
	return d.a.flags.output == "" || d.a.flags.output == outputTable
}

// emit prints one entry: the text, or the value in the notation that was asked for.
func (d *dumper) emit(v any, format string, args ...any) error {
	switch d.a.flags.output {
	case outputJSON:
		return writeJSON(d.out, v)
	case outputJSONL:
		return writeJSONL(d.out, v)
	case outputYAML:
		if _, err := d.out.WriteString("---\n"); err != nil {
			return err
		}
		return writeYAML(d.out, v)
	}
	_, err := fmt.Fprintf(d.out, format, args...)
	return err
}

// problem notes something that does not fit. The dump goes on.
func (d *dumper) problem(format string, args ...any) {
	const enough = 100
	switch len(d.problems) {
	case enough:
		d.problems = append(d.problems, "and more")
	case enough + 1:
	default:
		d.problems = append(d.problems, fmt.Sprintf(format, args...))
	}
}
