package archtest

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// place is where the table puts a package.
type place struct {
	pattern string // as written: "storage/segment", "kafka/api/*"
	floor   int
	chain   int // number of the chain within the floor
	step    int // position within the chain; lower steps may be imported
	pure    bool
}

// layers is the parsed table.
type layers struct {
	places []place
	exempt []string
}

// parseLayers reads the table's text; its form is explained at the top of layers.txt.
func parseLayers(r io.Reader) (*layers, error) {
	t := &layers{}
	floor, chain := -1, 0
	scanner := bufio.NewScanner(r)
	for n := 1; scanner.Scan(); n++ {
		line, _, _ := strings.Cut(scanner.Text(), "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "floor":
			floor++
			if len(fields) < 2 || fields[1] != fmt.Sprint(floor) {
				return nil, fmt.Errorf("line %d: want floor %d", n, floor)
			}
		case fields[0] == "exempt":
			for name := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSpace(line), "exempt"), ",") {
				t.exempt = append(t.exempt, strings.TrimSpace(name))
			}
		case floor < 0:
			return nil, fmt.Errorf("line %d: packages before the first floor", n)
		default:
			chain++
			if err := t.addChain(line, floor, chain); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	return t, scanner.Err()
}

func (t *layers) addChain(line string, floor, chain int) error {
	for step, group := range strings.Split(line, "<") {
		for name := range strings.SplitSeq(group, ",") {
			name, pure := strings.CutSuffix(strings.TrimSpace(name), " P")
			if name == "" || strings.Contains(name, " ") {
				return fmt.Errorf("cannot read %q", strings.TrimSpace(line))
			}
			if slices.ContainsFunc(t.places, func(p place) bool { return p.pattern == name }) {
				return fmt.Errorf("%s stands twice in the table", name)
			}
			t.places = append(t.places, place{name, floor, chain, step, pure})
		}
	}
	return nil
}

// find returns the place of the package with this path below internal/ (or below the module's root
// for cmd/walser).
func (t *layers) find(pkg string) (place, bool) {
	for _, p := range t.places {
		if ok, _ := path.Match(p.pattern, pkg); ok {
			return p, true
		}
	}
	return place{}, false
}

// isExempt reports whether pkg is outside the table: listed so, or a package of test helpers.
func (t *layers) isExempt(pkg string) bool {
	if slices.Contains(t.exempt, pkg) {
		return true
	}
	base := path.Base(pkg)
	return strings.HasSuffix(base, "test") && base != "test"
}

// mayImport reports whether a package at place from may import one at place to.
func mayImport(from, to place) bool {
	if to.floor != from.floor {
		return to.floor < from.floor
	}
	return to.chain == from.chain && to.step < from.step
}
