package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parser reads one definition file, line by line.
type parser struct {
	messages []*message
	comment  []string // the comment lines right above
	doc      string
	key      int
	api      string
	name     string // of a data struct
	isData   bool
	hot      bool
	versions versionRange
	flexible int

	message *message
	open    []*structDef // by depth: the struct that a line of that indent adds a field to
	last    *field       // the field a deeper line belongs to
}

// parse reads the text of a definition file.
func parse(text string) ([]*message, error) {
	p := &parser{}
	for n, line := range strings.Split(text, "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	for _, m := range p.messages {
		if err := resolve(m); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return p.messages, nil
}

func (p *parser) line(line string) error {
	text, words, _ := strings.Cut(line, "#")
	content := strings.TrimLeft(text, " ")
	indent := len(text) - len(content)
	fields := strings.Fields(content)
	switch {
	case len(fields) == 0 && indent == 0 && words != "":
		p.comment = append(p.comment, strings.TrimSpace(words))
		return nil
	case len(fields) == 0:
		p.comment = nil
		return nil
	case indent == 0:
		return p.directive(fields)
	case p.message == nil:
		return fmt.Errorf("%q stands before request, response or fields", fields[0])
	case indent%2 != 0:
		return fmt.Errorf("indent of %d, want two spaces per level", indent)
	case fields[0] == "struct":
		return p.shared(fields, indent/2)
	}
	return p.field(fields, strings.TrimSpace(words), indent/2)
}

// directive reads a line without indent.
func (p *parser) directive(fields []string) (err error) {
	argument := strings.Join(fields[1:], " ")
	switch fields[0] {
	case "api":
		if len(fields) != 3 {
			return fmt.Errorf("want: api <key> <name>")
		}
		if p.key, err = strconv.Atoi(fields[1]); err != nil {
			return fmt.Errorf("key %q is not a number", fields[1])
		}
		p.api, p.isData, p.doc = fields[2], false, strings.Join(p.comment, " ")
	case "data":
		p.name, p.isData, p.hot, p.doc = argument, true, false, strings.Join(p.comment, " ")
	case "versions":
		p.versions, err = parseRange(argument, -1)
	case "flexible":
		v, err := parseRange(argument, noFlexible)
		if err != nil {
			return err
		}
		if p.flexible = v.lo; v.empty() {
			p.flexible = noFlexible
		}
	case "hot":
		p.hot = true
	case "request", "response", "fields":
		p.begin(fields[0])
	default:
		return fmt.Errorf("unknown word %q", fields[0])
	}
	return err
}

// begin opens a message.
func (p *parser) begin(section string) {
	m := &message{name: p.name, kind: data, doc: p.doc, versions: p.versions, flexible: p.flexible, hot: p.hot}
	if section != "fields" {
		m.kind, m.name = request, p.api+"Request"
		if section == "response" {
			m.kind, m.name = response, p.api+"Response"
		}
		m.api, m.key = p.api, p.key
	}
	root := &structDef{name: m.name, versions: m.versions}
	m.structs = []*structDef{root}
	p.messages = append(p.messages, m)
	p.message, p.open, p.last = m, []*structDef{nil, root}, nil
}

// shared opens a struct that several fields of the message refer to.
func (p *parser) shared(fields []string, depth int) error {
	if len(fields) != 2 || depth != 1 {
		return fmt.Errorf("want, one level deep: struct <name>")
	}
	s := &structDef{name: fields[1], versions: p.message.versions}
	p.message.structs = append(p.message.structs, s)
	p.open, p.last = []*structDef{nil, p.open[1], s}, nil
	return nil
}

// field reads: Name Type [versions] [= preset] [tag N] [ignorable].
func (p *parser) field(fields []string, words string, depth int) error {
	if len(fields) < 2 {
		return fmt.Errorf("want: <name> <type> [<versions>] [= <preset>] [tag <n>] [ignorable]")
	}
	if depth == len(p.open) && p.last != nil { // the first field of a nested struct
		s := &structDef{name: p.last.typ, versions: p.last.versions, parent: p.open[depth-1].name + "." + p.last.name}
		p.message.structs = append(p.message.structs, s)
		p.open = append(p.open, s)
	}
	if depth >= len(p.open) || p.open[depth] == nil {
		return fmt.Errorf("field %s is indented deeper than a struct is open", fields[0])
	}
	p.open = p.open[:depth+1]
	owner := p.open[depth]
	f := &field{name: fields[0], versions: owner.versions, nullable: noVersions, tag: -1, words: words}

	rest := fields[2:]
	if len(rest) > 0 && rest[0][0] >= '0' && rest[0][0] <= '9' {
		v, err := parseRange(rest[0], owner.versions.hi)
		if err != nil {
			return err
		}
		if v.lo < owner.versions.lo || v.hi > owner.versions.hi {
			return fmt.Errorf("field %s has versions %s outside those of its struct", f.name, rest[0])
		}
		f.versions, rest = v, rest[1:]
	}
	for len(rest) > 0 {
		switch {
		case rest[0] == "=" && len(rest) > 1:
			f.preset, rest = rest[1], rest[2:]
		case rest[0] == "tag" && len(rest) > 1:
			tag, err := strconv.Atoi(rest[1])
			if err != nil {
				return fmt.Errorf("tag %q is not a number", rest[1])
			}
			f.tag, rest = tag, rest[2:]
		case rest[0] == "ignorable":
			f.ignorable, rest = true, rest[1:]
		default:
			return fmt.Errorf("field %s: unknown word %q", f.name, rest[0])
		}
	}

	typ, null, isNullable := strings.Cut(fields[1], "?")
	f.typ, f.array = strings.CutPrefix(typ, "[]")
	if isNullable {
		if f.nullable = f.versions; null != "" {
			v, err := parseRange(null, f.versions.hi)
			if err != nil {
				return err
			}
			f.nullable = v
		}
	}
	owner.fields = append(owner.fields, f)
	p.last = f
	return nil
}

// resolve links fields to their structs and refuses what the emitter cannot express.
func resolve(m *message) error {
	byName := map[string]*structDef{}
	for _, s := range m.structs {
		byName[s.name] = s
	}
	for _, s := range m.structs {
		for _, f := range s.fields {
			if err := resolveField(m, f, byName); err != nil {
				return fmt.Errorf("%s.%s: %w", s.name, f.name, err)
			}
		}
	}
	for _, s := range m.structs {
		for _, f := range s.fields {
			if f.array && f.ref != nil && m.minSize(f.ref) < 1 {
				return fmt.Errorf("%s can be empty: its count could not be bounded", f.ref.name)
			}
		}
	}
	return nil
}

func resolveField(m *message, f *field, byName map[string]*structDef) error {
	_, isScalar := scalars[f.typ]
	isVariable := f.typ == "string" || f.typ == "bytes" || f.typ == "records"
	f.ref = byName[f.typ]
	switch {
	case !isScalar && !isVariable && f.ref == nil:
		return fmt.Errorf("unknown type %q", f.typ)
	case f.array && f.ref == nil && scalarArrays[f.typ] == "":
		return fmt.Errorf("arrays of %s are not known", f.typ)
	case f.array && m.hot && f.typ == "string":
		return fmt.Errorf("arrays of strings would be copied in a hot message")
	case isScalar && !f.array && !f.nullable.empty():
		return fmt.Errorf("a %s cannot be null", f.typ)
	case f.ref != nil && !f.array && !f.nullable.empty() && (f.nullable != f.versions || m.hot):
		return fmt.Errorf("a struct is nullable in all versions of a message that is not hot, or in none")
	case f.tag >= 0 && f.versions.lo < m.flexible:
		return fmt.Errorf("tagged in versions that are not flexible")
	case f.tag >= 0 && f.array && !f.nullable.empty():
		return fmt.Errorf("a tagged array cannot be null")
	case f.preset == "null" && !f.array:
		return fmt.Errorf("null is the preset of every nullable field that is not an array")
	}
	return nil
}
