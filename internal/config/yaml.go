package config

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/walser-io/walser/internal/configdef"
)

// maxDepth bounds nesting; Kafka's longest key has ten parts.
const maxDepth = 16

// readYAML reads keys from YAML. Nested maps are joined with dots, lists with commas; a map where a key
// takes pairs (listener.security.protocol.map) becomes name:value pairs. Scalars are taken as written.
// Anchors and aliases are refused: they are of no use here, and expand without end.
func readYAML(f *File, faults *Faults) []setting {
	r := yamlReader{file: f, faults: faults, lines: map[string]int{}}
	decoder := yaml.NewDecoder(bytes.NewReader(f.Data))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if !errors.Is(err, io.EOF) {
			r.fault(1, "file", "must be YAML: "+firstLine(err.Error()), "")
		}
		return nil
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		r.fault(1, "file", "must hold one YAML document", "remove what follows the second ---")
	}
	for _, n := range document.Content {
		if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
			continue // only comments
		}
		r.walk("", n, 0)
	}
	return r.found
}

type yamlReader struct {
	file   *File
	faults *Faults
	found  []setting
	lines  map[string]int // where each key was first set
}

func (r *yamlReader) fault(line int, field, bound, fix string) {
	*r.faults = append(*r.faults, Fault{
		Field: field, Bound: bound, Fix: fix,
		Source: Source{Origin: FromFile, Name: r.file.Name, Line: line},
	})
}

func (r *yamlReader) walk(name string, n *yaml.Node, depth int) {
	field := name
	if field == "" {
		field = "file"
	}
	switch {
	case depth > maxDepth:
		r.fault(n.Line, field, "must not be nested deeper than "+strconv.Itoa(maxDepth), "")
	case n.Kind == yaml.MappingNode && takesPairs(name):
		var pairs []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			pairs = append(pairs, n.Content[i].Value+":"+n.Content[i+1].Value)
		}
		r.set(name, strings.Join(pairs, ","), n)
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Value == "" {
				r.fault(key.Line, field, "must have plain keys", "")
				continue
			}
			child := key.Value
			if name != "" {
				child = name + "." + child
			}
			r.walk(child, n.Content[i+1], depth+1)
		}
	case name == "":
		r.fault(n.Line, field, "must be a map of keys to values", "")
	case n.Kind == yaml.SequenceNode:
		var entries []string
		for _, entry := range n.Content {
			if entry.Kind != yaml.ScalarNode || strings.Contains(entry.Value, ",") {
				r.fault(entry.Line, field, "must be a list of plain values without commas", "")
				return
			}
			entries = append(entries, entry.Value)
		}
		r.set(name, strings.Join(entries, ","), n)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		// A key without a value is a key that is not set.
	case n.Kind == yaml.ScalarNode:
		r.set(name, n.Value, n)
	default:
		r.fault(n.Line, field, "must not use anchors and aliases", "write the value out")
	}
}

func (r *yamlReader) set(name, value string, n *yaml.Node) {
	if first, ok := r.lines[name]; ok {
		r.fault(n.Line, name, "must be set once, and line "+strconv.Itoa(first)+" sets it too", "remove one of the two")
		return
	}
	r.lines[name] = n.Line
	r.found = append(r.found, setting{name, value, Source{Origin: FromFile, Name: r.file.Name, Line: n.Line}})
}

// takesPairs reports whether a map under that name is the value of one key.
func takesPairs(name string) bool {
	k, ok := configdef.Broker().Lookup(name)
	return ok && k.Type == configdef.String
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
