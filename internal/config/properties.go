package config

import (
	"bytes"
	"strings"

	"github.com/magiconair/properties"
)

// readProperties reads Java's properties notation. The library reads one logical line at a time, so that
// every value knows its line and every faulty line is told, not only the first. ${} is left alone: it
// belongs to Kafka's configuration providers.
func readProperties(f *File, faults *Faults) []setting {
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	var found []setting
	for text, line := range logicalLines(f.Data) {
		source := Source{Origin: FromFile, Name: f.Name, Line: line}
		p, err := loader.LoadBytes(text)
		if err != nil {
			*faults = append(*faults, Fault{
				Field: "line", Value: clip(string(text)), Source: source,
				Bound: "must be key=value", Fix: "double a backslash that stands for itself",
			})
			continue
		}
		for _, name := range p.Keys() {
			value, _ := p.Get(name)
			found = append(found, setting{name: name, value: value, source: source})
		}
	}
	return found
}

// logicalLines yields the lines that hold a key, with those they continue on, and the number of the first.
func logicalLines(data []byte) func(func([]byte, int) bool) {
	return func(yield func([]byte, int) bool) {
		line := 0
		for len(data) > 0 {
			line++
			first, length := line, lineLength(data)
			start := bytes.TrimLeft(data[:length], " \t\f\r\n")
			if len(start) == 0 || start[0] == '#' || start[0] == '!' {
				data = data[length:]
				continue
			}
			for length < len(data) && continues(data[:length]) {
				line++
				length += lineLength(data[length:])
			}
			if !yield(data[:length], first) {
				return
			}
			data = data[length:]
		}
	}
}

// lineLength returns the length of the first line of data with its end: \n, \r or \r\n.
func lineLength(data []byte) int {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0:
		return len(data)
	case data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n':
		return i + 2
	}
	return i + 1
}

// continues reports whether a line ends with a backslash that is not itself escaped.
func continues(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n")
	n := len(line) - len(bytes.TrimRight(line, `\`))
	return n%2 == 1
}

// clip shortens what a message quotes, and hides what may be a secret behind the first separator.
func clip(text string) string {
	if i := strings.IndexAny(text, "=: \t\r\n"); i >= 0 {
		text = text[:i]
	}
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return text
}
