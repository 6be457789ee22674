package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// report gathers the cases of a run and says how the peers compare.
type report struct {
	machine machine
	peers   []*peer
	options *options
	cases   []*caseReport
}

// caseReport is one case's rounds, by peer in the order in which they ran. It is what is stored of a case.
type caseReport struct {
	Key     string                   `json:"key"`
	Case    string                   `json:"case"`
	Took    time.Duration            `json:"took_ns"`
	With    []string                 `json:"with,omitempty"`    // what else is pinned
	Missing string                   `json:"missing,omitempty"` // why there are no rounds
	Rounds  map[string][]measurement `json:"rounds"`

	source *benchCase
}

// row is a figure of all peers in one case.
type row struct {
	Name   string            `json:"name"`
	Peers  map[string]spread `json:"peers"`
	Ratios map[string]ratio  `json:"ratios,omitempty"` // to kafka, by peer
}

// ratio is how a peer compares with Kafka in one figure.
type ratio struct {
	spread
	Better int `json:"better_rounds"` // in which the peer was better
}

// values returns a figure of every round, by peer.
func (c *caseReport) values(f figure) map[string][]float64 {
	values := map[string][]float64{}
	for name, rounds := range c.Rounds {
		for i := range rounds {
			values[name] = append(values[name], f.of(&rounds[i]))
		}
	}
	return values
}

// rows compares the peers of a case figure by figure.
func (c *caseReport) rows() []row {
	var rows []row
	for _, f := range figuresOf(c.source.kind) {
		values := c.values(f)
		r := row{Name: f.name, Peers: map[string]spread{}, Ratios: map[string]ratio{}}
		for name, v := range values {
			r.Peers[name] = spreadOf(v)
			if f.better == neither || name == peerKafka {
				continue
			}
			if spread, ok := ratioOf(v, values[peerKafka]); ok {
				r.Ratios[name] = ratio{spread: spread, Better: betterIn(v, values[peerKafka], f.better)}
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// quietCores is what the kernel and the peers whose turn it is not may use beside a load.
const quietCores = 0.3

// otherCores returns the most that something else used in a round.
func (c *caseReport) otherCores() (most float64) {
	for _, rounds := range c.Rounds {
		for i := range rounds {
			if rounds[i].Elapsed > 0 {
				most = max(most, rounds[i].otherCores())
			}
		}
	}
	return most
}

// betterIn returns in how many rounds a was better than b.
func betterIn(a, b []float64, which better) (n int) {
	for i := range min(len(a), len(b)) {
		if which == higher && a[i] > b[i] || which == lower && a[i] < b[i] {
			n++
		}
	}
	return n
}

// verdicts judges the targets of a case.
func (c *caseReport) verdicts() []verdict {
	var verdicts []verdict
	for _, t := range c.source.targets {
		for _, f := range figuresOf(c.source.kind) {
			if f.name == t.Figure {
				verdicts = append(verdicts, t.judge(c.Case, c.values(f)))
			}
		}
	}
	return verdicts
}

func (r *report) verdicts() (all []verdict) {
	for _, c := range r.cases {
		all = append(all, c.verdicts()...)
	}
	return all
}

// pinned returns what all rounds had in common, as lines.
func (r *report) pinned() [][2]string {
	o := r.options
	lines := [][2]string{}
	for _, line := range r.machine.lines() {
		lines = append(lines, [2]string{"machine", line})
	}
	lines = append(lines,
		[2]string{"client", r.machine.Client + ", " + r.machine.Go + ", on the same machine; repository at " + r.machine.Commit},
		[2]string{"case", fmt.Sprintf("fresh processes and directories; each is warmed up for %v; rounds of each: %d, alternating (ABBA)", o.Warmup, o.Rounds)},
		[2]string{"round", fmt.Sprintf("a new topic, settles for %v, measured %v (%v in the tail cases); at most %d MiB written, or a backlog of %d MiB",
			o.Settle, o.Measure, 3*o.Measure, o.MaxBytes>>20, o.Backlog>>20)},
	)
	if o.Fill {
		lines = append(lines, [2]string{"round", "free memory is filled with page cache before each, so that the first touch of a page costs nobody anything"})
	}
	if o.firstLook() {
		lines = append(lines, [2]string{"round", "FIRST LOOK: the JVM wants a warm-up of 10 s and a median five rounds; quote figures of a run without -quick"})
	}
	for _, p := range r.peers {
		for _, line := range p.describe {
			lines = append(lines, [2]string{p.name, line})
		}
	}
	return lines
}

// writeTable prints the report for people.
func (r *report) writeTable(w io.Writer) error {
	var b strings.Builder
	writePairs(&b, r.pinned())
	r.writeVerdicts(&b)
	for _, c := range r.cases {
		fmt.Fprintf(&b, "\n%s: %s\n", c.Case, c.source.what)
		for _, line := range append(c.source.describe(), c.With...) {
			fmt.Fprintf(&b, "  %s\n", line)
		}
		if c.Missing != "" {
			fmt.Fprintf(&b, "  NOT MEASURED: %s\n", c.Missing)
			continue
		}
		if cores := c.otherCores(); cores > quietCores {
			fmt.Fprintf(&b, "  NOT QUIET: something else used %s cores meanwhile\n", number(cores))
		}
		r.writeCase(&b, c)
	}
	b.WriteString("\nEach cell is the median of the rounds and, in brackets, the lowest and the highest. A ratio is that of the\n" +
		"medians; in brackets stand the lowest and the highest of the rounds' own ratios, then in how many rounds the\n" +
		"peer was better than Kafka.\n")
	_, err := io.WriteString(w, blanks.ReplaceAllString(b.String(), "\n"))
	return err
}

// blanks are what a tabwriter leaves behind empty cells.
var blanks = regexp.MustCompile(` +\n`)

func writePairs(w io.Writer, pairs [][2]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	for i, pair := range pairs {
		if i > 0 && pairs[i-1][0] == pair[0] {
			pair[0] = ""
		}
		fmt.Fprintf(tw, "%s\t%s\n", pair[0], pair[1])
	}
}

// writeVerdicts prints the table of targets.
func (r *report) writeVerdicts(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "\ncase\tpeer\tfigure\tmeasured\ttarget\tmedian\tin rounds")
	held, of := 0, 0
	for _, v := range r.verdicts() {
		measured, unit := "–", ""
		if v.ToKafka {
			unit = "×"
		}
		if v.Measured {
			measured = number(v.Value.Median) + unit
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%d of %d\n", v.Case, v.Peer, v.Figure, measured, v.target, v.word(), v.HoldsIn, v.Value.Rounds)
		of++
		if v.Holds {
			held++
		}
	}
	fmt.Fprintf(tw, "%d of %d targets hold\n", held, of)
}

func (r *report) writeCase(w io.Writer, c *caseReport) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	var peers, compared []string
	for _, p := range r.peers {
		if len(c.Rounds[p.name]) == 0 {
			continue
		}
		peers = append(peers, p.name)
		if p.name != peerKafka && len(c.Rounds[peerKafka]) > 0 {
			compared = append(compared, p.name)
		}
	}
	fmt.Fprint(tw, "  figure")
	for _, name := range peers {
		fmt.Fprint(tw, "\t", name)
	}
	for _, name := range compared {
		fmt.Fprintf(tw, "\t%s / kafka\tbetter in", name)
	}
	fmt.Fprintln(tw)
	for _, row := range c.rows() {
		fmt.Fprintf(tw, "  %s", row.Name)
		for _, name := range peers {
			fmt.Fprint(tw, "\t", row.Peers[name])
		}
		for _, name := range compared {
			if ratio, ok := row.Ratios[name]; ok {
				fmt.Fprintf(tw, "\t%s\t%d of %d", ratio.spread, ratio.Better, ratio.Rounds)
			} else {
				fmt.Fprint(tw, "\t\t")
			}
		}
		fmt.Fprintln(tw)
	}
}

// String is the spread as a table has it.
func (s spread) String() string {
	switch s.Rounds {
	case 0:
		return "–"
	case 1:
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

// number prints about three digits.
func number(v float64) string {
	digits := 3
	for _, limit := range []float64{1, 10, 100} {
		if v >= limit {
			digits--
		}
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// writeJSON prints the report for programs, with every round.
func (r *report) writeJSON(w io.Writer) error {
	type caseJSON struct {
		*caseReport
		What    string   `json:"what"`
		Load    any      `json:"load"`
		Pinned  []string `json:"pinned"`
		Figures []row    `json:"figures"`
	}
	out := struct {
		Machine  machine     `json:"machine"`
		Pinned   [][2]string `json:"pinned"`
		Verdicts []verdict   `json:"verdicts"`
		Cases    []caseJSON  `json:"cases"`
	}{Machine: r.machine, Pinned: r.pinned(), Verdicts: r.verdicts()}
	for _, c := range r.cases {
		out.Cases = append(out.Cases, caseJSON{c, c.source.what, c.source.load, c.source.describe(), c.rows()})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// writeFiles puts the report into a directory, as report.txt, report.json and report.svg.
func (r *report) writeFiles(dir string) error {
	write := func(name string, print func(io.Writer) error) error {
		var text bytes.Buffer
		if err := print(&text); err != nil {
			return err
		}
		return writeWhole(filepath.Join(dir, name), text.Bytes())
	}
	return errors.Join(
		write("report.txt", r.writeTable),
		write("report.json", r.writeJSON),
		write("report.svg", func(w io.Writer) error { return writePlot(w, r.verdicts()) }),
	)
}
