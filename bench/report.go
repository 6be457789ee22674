package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

// report gathers the rounds of a run and says how the peers compare.
type report struct {
	machine   machine
	peers     []*peer
	options   *options
	scenarios []*scenarioReport
}

// scenarioReport is one scenario's rounds, by peer in the order in which they ran.
type scenarioReport struct {
	scenario *scenario
	rounds   map[string][]measurement
}

func newReport(m machine, o *options, peers []*peer) *report {
	return &report{machine: m, options: o, peers: peers}
}

func (r *report) add(s *scenario, m measurement) {
	i := slices.IndexFunc(r.scenarios, func(other *scenarioReport) bool { return other.scenario == s })
	if i < 0 {
		i = len(r.scenarios)
		r.scenarios = append(r.scenarios, &scenarioReport{scenario: s, rounds: map[string][]measurement{}})
	}
	rounds := r.scenarios[i].rounds
	rounds[m.Peer] = append(rounds[m.Peer], m)
}

func (r *report) empty() bool { return len(r.scenarios) == 0 }

// row is a figure of all peers in one scenario.
type row struct {
	Name   string                    `json:"name"`
	Unit   string                    `json:"unit"`
	Peers  map[string]loadgen.Spread `json:"peers"`
	Ratios map[string]ratio          `json:"ratios,omitempty"` // to kafka, by peer
}

// ratio is how a peer compares with Kafka in one figure.
type ratio struct {
	loadgen.Spread
	Better int `json:"better_rounds"` // in which the peer was better
}

// rows compares the peers of a scenario figure by figure.
func (s *scenarioReport) rows() []row {
	var rows []row
	for _, f := range figures() {
		if f.kinds != nil && !slices.Contains(f.kinds, s.scenario.kind) {
			continue
		}
		values := map[string][]float64{}
		for name, rounds := range s.rounds {
			for i := range rounds {
				values[name] = append(values[name], f.of(&rounds[i]))
			}
		}
		r := row{Name: f.name, Unit: f.unit, Peers: map[string]loadgen.Spread{}, Ratios: map[string]ratio{}}
		for name, v := range values {
			r.Peers[name] = loadgen.SpreadOf(v)
			if f.better == neither || name == peerKafka {
				continue
			}
			if spread, ok := loadgen.RatioOf(v, values[peerKafka]); ok {
				r.Ratios[name] = ratio{Spread: spread, Better: betterIn(v, values[peerKafka], f.better)}
			}
		}
		rows = append(rows, r)
	}
	return rows
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

// pinned returns what all rounds had in common, as lines.
func (r *report) pinned() [][2]string {
	o := r.options
	lines := [][2]string{}
	for _, line := range r.machine.lines() {
		lines = append(lines, [2]string{"machine", line})
	}
	lines = append(lines,
		[2]string{"client", r.machine.Client + ", " + r.machine.Go + ", on the same machine; repository at " + r.machine.Commit},
		[2]string{"rounds", fmt.Sprintf("%d of each, alternating (ABBA), a fresh process and directory for each", o.rounds)},
		[2]string{"round", fmt.Sprintf("warm-up %v, measured %v; at most %d MiB written, or a backlog of %d MiB", o.warmup, o.measure, o.maxBytes>>20, o.backlog>>20)},
	)
	if o.warmup < 10*time.Second || o.rounds < 5 {
		lines = append(lines, [2]string{"round", "FIRST LOOK: the JVM wants a warm-up of 10 s and a median five rounds; quote figures of -full"})
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
	for _, s := range r.scenarios {
		fmt.Fprintf(&b, "\n%s: %s\n", s.scenario.name, s.scenario.what)
		for _, line := range s.scenario.describe() {
			fmt.Fprintf(&b, "  %s\n", line)
		}
		r.writeScenario(&b, s)
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

func (r *report) writeScenario(w io.Writer, s *scenarioReport) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	fmt.Fprint(tw, "  figure")
	for _, p := range r.peers {
		fmt.Fprint(tw, "\t", p.name)
	}
	compared := r.compared(s)
	for _, name := range compared {
		fmt.Fprintf(tw, "\t%s / kafka\tbetter in", name)
	}
	fmt.Fprintln(tw)
	for _, row := range s.rows() {
		fmt.Fprintf(tw, "  %s, %s", row.Name, row.Unit)
		for _, p := range r.peers {
			fmt.Fprint(tw, "\t", spread(row.Peers[p.name]))
		}
		for _, name := range compared {
			if ratio, ok := row.Ratios[name]; ok {
				fmt.Fprintf(tw, "\t%s\t%d of %d", spread(ratio.Spread), ratio.Better, ratio.Rounds)
			} else {
				fmt.Fprint(tw, "\t\t")
			}
		}
		fmt.Fprintln(tw)
	}
}

// compared returns the peers that have a round of Kafka to be compared with.
func (r *report) compared(s *scenarioReport) (names []string) {
	if len(s.rounds[peerKafka]) == 0 {
		return nil
	}
	for _, p := range r.peers {
		if p.name != peerKafka {
			names = append(names, p.name)
		}
	}
	return names
}

func spread(s loadgen.Spread) string {
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
	type scenarioJSON struct {
		Name    string                   `json:"name"`
		What    string                   `json:"what"`
		Load    loadgen.Load             `json:"load"`
		Figures []row                    `json:"figures"`
		Rounds  map[string][]measurement `json:"rounds"`
	}
	out := struct {
		Machine   machine        `json:"machine"`
		Pinned    [][2]string    `json:"pinned"`
		Scenarios []scenarioJSON `json:"scenarios"`
	}{Machine: r.machine, Pinned: r.pinned()}
	for _, s := range r.scenarios {
		out.Scenarios = append(out.Scenarios, scenarioJSON{s.scenario.name, s.scenario.what, s.scenario.load, s.rows(), s.rounds})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
