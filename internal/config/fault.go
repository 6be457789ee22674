package config

import (
	"fmt"
	"strings"
)

// Fault is one reason why a node cannot start with its settings.
type Fault struct {
	Field  string
	Value  string // "" if nothing sets the field; hidden if the field is sensitive
	Bound  string // what the value must be
	Source Source
	Fix    string // what to do about it
}

// String returns the fault in one line.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.Field)
	if f.Value != "" {
		fmt.Fprintf(&b, " = %q", f.Value)
	}
	if f.Source.Origin != FromDefault {
		fmt.Fprintf(&b, " (%s)", f.Source)
	}
	b.WriteString(": " + f.Bound)
	if f.Fix != "" {
		b.WriteString("; " + f.Fix)
	}
	return b.String()
}

// Faults is the error of Load: every reason why the node cannot start, in the order of the fields' names
// within each stage.
type Faults []Fault

// Error lists the faults, one to a line.
func (f Faults) Error() string {
	if len(f) == 1 {
		return "configuration: " + f[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "configuration has %d faults:", len(f))
	for _, one := range f {
		b.WriteString("\n  " + one.String())
	}
	return b.String()
}

// Warning is something strange that does not keep a node from starting.
type Warning struct {
	Field  string
	Source Source
	Text   string
}

// String returns the warning in one line.
func (w Warning) String() string {
	if w.Source.Origin == FromDefault {
		return w.Field + ": " + w.Text
	}
	return fmt.Sprintf("%s (%s): %s", w.Field, w.Source, w.Text)
}
