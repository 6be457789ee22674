// Command gen turns the message definitions of internal/wire/defs into Go: one zz_<name>.go per
// <name>.def, and zz_keys.go with what spans all keys. It runs in internal/wire (see its go:generate
// line), takes nothing but the definitions, and writes the same bytes every time; a test compares what
// is committed. docs/formats/wire.md describes the notation.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes the output for dir/defs into dir and removes output that no definition stands behind.
func run(dir string) error {
	output, err := generate(filepath.Join(dir, "defs"))
	if err != nil {
		return err
	}
	stale, err := filepath.Glob(filepath.Join(dir, "zz_*.go"))
	if err != nil {
		return err
	}
	for _, path := range stale {
		if _, ok := output[filepath.Base(path)]; ok {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for name, text := range output {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the text of every output file by name.
func generate(defs string) (map[string][]byte, error) {
	paths, err := filepath.Glob(filepath.Join(defs, "*.def"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	output := map[string][]byte{}
	var all []*message
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		messages, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".def")
		if output["zz_"+name+".go"], err = emitMessages(name, messages); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
		all = append(all, messages...)
	}
	if err := checkNames(all); err != nil {
		return nil, err
	}
	output["zz_keys.go"], err = emitKeys(all)
	return output, err
}

// checkNames refuses two structs of one name, or two messages of one kind and key.
func checkNames(all []*message) error {
	owner := map[string]string{}
	for _, m := range all {
		for _, s := range m.structs {
			if other, taken := owner[s.name]; taken {
				return fmt.Errorf("struct %s stands in %s and in %s: prefix both with their message", s.name, other, m.name)
			}
			owner[s.name] = m.name
		}
	}
	return nil
}
