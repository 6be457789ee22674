package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v4"
)

// The notations of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputJSONL = "jsonl"
	outputYAML  = "yaml"
)

func outputNames() []string { return []string{outputTable, outputJSON, outputJSONL, outputYAML} }

// section is one table of a result. Its cells say the same as the values beside it, for people.
type section struct {
	title   string // shown above the table if there are several sections
	headers []string
	rows    [][]any
	// numeric are the columns that are aligned to the right.
	numeric []int
}

// printList prints the things of one noun: as an array in JSON and YAML, as one line each in JSONL.
func printList[T any](a *app, values []T, sections ...section) error {
	if values == nil {
		values = []T{}
	}
	switch a.flags.output {
	case outputJSON:
		return writeJSON(a.Stdout, values)
	case outputYAML:
		return writeYAML(a.Stdout, values)
	case outputJSONL:
		for _, v := range values {
			if err := writeJSONL(a.Stdout, v); err != nil {
				return err
			}
		}
		return nil
	}
	return a.printTables(sections)
}

// printOne prints a single thing.
func printOne[T any](a *app, value T, sections ...section) error {
	switch a.flags.output {
	case outputJSON:
		return writeJSON(a.Stdout, value)
	case outputJSONL:
		return writeJSONL(a.Stdout, value)
	case outputYAML:
		return writeYAML(a.Stdout, value)
	}
	return a.printTables(sections)
}

func (a *app) printTables(sections []section) error {
	for i, s := range sections {
		if s.title != "" && len(sections) > 1 && !a.flags.noHeaders {
			if i > 0 {
				fmt.Fprintln(a.Stdout)
			}
			fmt.Fprintf(a.Stdout, "%s\n", s.title)
		}
		if err := a.printTable(s); err != nil {
			return err
		}
	}
	return nil
}

// printTable prints aligned columns with two spaces between them, and nothing else that a script would
// have to cut away.
func (a *app) printTable(s section) error {
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	w.SetStyle(style)
	if !a.flags.noHeaders {
		header := make(table.Row, len(s.headers))
		for i, h := range s.headers {
			header[i] = h
		}
		w.AppendHeader(header)
	}
	columns := make([]table.ColumnConfig, len(s.headers))
	for i := range columns {
		columns[i] = table.ColumnConfig{Number: i + 1, Align: text.AlignLeft, AlignHeader: text.AlignLeft}
	}
	for _, i := range s.numeric {
		columns[i].Align, columns[i].AlignHeader = text.AlignRight, text.AlignRight
	}
	w.SetColumnConfigs(columns)
	for _, row := range s.rows {
		w.AppendRow(row)
	}
	for line := range strings.Lines(w.Render()) {
		if _, err := fmt.Fprintln(a.Stdout, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	b, err := encodeJSON(v, "  ")
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

func writeJSONL(w io.Writer, v any) error {
	b, err := encodeJSON(v, "")
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// encodeJSON ends with a line feed, and leaves <, > and & as they are: this is no web page.
func encodeJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	return b.Bytes(), nil
}

// writeYAML writes what writeJSON would, field for field: the JSON is read as YAML, which it is, and
// written in blocks.
func writeYAML(w io.Writer, v any) error {
	b, err := encodeJSON(v, "")
	if err != nil {
		return err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	blocks(&n)
	b, err = yaml.Marshal(&n)
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// blocks takes the flow style away from a tree, except from empty collections, and quotes from scalars
// that read the same without.
func blocks(n *yaml.Node) {
	if len(n.Content) > 0 {
		n.Style &^= yaml.FlowStyle
	}
	if n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		blocks(c)
	}
}
