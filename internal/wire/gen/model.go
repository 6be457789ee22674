package main

import (
	"fmt"
	"strconv"
	"strings"
)

// kind says what a message is for.
type kind int

const (
	request kind = iota
	response
	data // neither: a record of an internal topic, or what clients send each other
)

// message is a request, a response or a data struct, with every struct it consists of.
type message struct {
	name     string
	kind     kind
	api      string // of a request or response: the name of the API
	key      int
	doc      string
	versions versionRange
	flexible int // first flexible version, or noFlexible
	hot      bool
	structs  []*structDef // the message itself first
}

const noFlexible = 1<<15 - 1

// structDef is a message or a struct within one.
type structDef struct {
	name     string
	parent   string       // "ProduceRequest.TopicData" of a nested struct, "" of a message or a shared one
	versions versionRange // in which it can occur; conditions on its fields are relative to it
	fields   []*field
}

// field is one field of a struct.
type field struct {
	name      string
	typ       string // without [] and ?; a structDef's name where ref is set
	ref       *structDef
	array     bool
	versions  versionRange
	nullable  versionRange // empty if never
	preset    string       // as in the definition; "" for the zero of the type
	tag       int          // -1 for none
	ignorable bool
	words     string
}

// versionRange is lo to hi, both included; it is empty where lo > hi.
type versionRange struct{ lo, hi int }

var noVersions = versionRange{1, 0}

func (v versionRange) empty() bool { return v.lo > v.hi }

// within returns the Go condition under which a version that lies in outer also lies in v: "" for always.
func (v versionRange) within(outer versionRange) string {
	var parts []string
	if v.lo > outer.lo {
		parts = append(parts, fmt.Sprintf("version >= %d", v.lo))
	}
	if v.hi < outer.hi {
		parts = append(parts, fmt.Sprintf("version <= %d", v.hi))
	}
	if v.lo == v.hi && len(parts) == 2 {
		return fmt.Sprintf("version == %d", v.lo)
	}
	return strings.Join(parts, " && ")
}

// without is the opposite of within, which must not be "".
func (v versionRange) without(outer versionRange) string {
	var parts []string
	if v.lo > outer.lo {
		parts = append(parts, fmt.Sprintf("version < %d", v.lo))
	}
	if v.hi < outer.hi {
		parts = append(parts, fmt.Sprintf("version > %d", v.hi))
	}
	if len(parts) == 2 {
		return "(" + strings.Join(parts, " || ") + ")"
	}
	return strings.Join(parts, "")
}

// String writes v as a definition does, against the highest version top.
func (v versionRange) format(top int) string {
	switch {
	case v.hi == top:
		return strconv.Itoa(v.lo) + "+"
	case v.lo == v.hi:
		return strconv.Itoa(v.lo)
	}
	return fmt.Sprintf("%d-%d", v.lo, v.hi)
}

// parseRange reads "3+", "3-7", "3" or "none"; an open end is top.
func parseRange(s string, top int) (versionRange, error) {
	if s == "none" {
		return noVersions, nil
	}
	lo, hi, dash := strings.Cut(s, "-")
	lo, plus := strings.CutSuffix(lo, "+")
	v := versionRange{}
	var err error
	if v.lo, err = strconv.Atoi(lo); err != nil || plus && dash {
		return v, fmt.Errorf("%q is not a range of versions", s)
	}
	switch {
	case plus:
		v.hi = top
	case dash:
		if v.hi, err = strconv.Atoi(hi); err != nil {
			return v, fmt.Errorf("%q is not a range of versions", s)
		}
	default:
		v.hi = v.lo
	}
	if v.empty() {
		return v, fmt.Errorf("%q holds no version", s)
	}
	return v, nil
}

// scalars are the types of one fixed size: what reads and writes them, and how many bytes they take.
var scalars = map[string]struct {
	goType, method string
	size           int
}{
	"int8":    {"int8", "Int8", 1},
	"int16":   {"int16", "Int16", 2},
	"uint16":  {"uint16", "Uint16", 2},
	"int32":   {"int32", "Int32", 4},
	"int64":   {"int64", "Int64", 8},
	"float64": {"float64", "Float64", 8},
	"bool":    {"bool", "Bool", 1},
	"uuid":    {"model.UUID", "UUID", 16},
	"error":   {"kafkaerr.Code", "Int16", 2},
}

// scalarArrays are the element types, other than structs, that the runtime has array methods for.
var scalarArrays = map[string]string{
	"int8": "int8s", "int16": "int16s", "int32": "int32s", "int64": "int64s", "uuid": "uuids", "string": "texts",
}

// isFlexible reports whether a version of m is flexible.
func (m *message) isFlexible(version int) bool { return version >= m.flexible }

// hasTags reports whether structs of m carry tagged fields in any version.
func (m *message) hasTags() bool { return m.flexible <= m.versions.hi }

// minSize returns the least number of bytes that s takes in any of its versions.
func (m *message) minSize(s *structDef) int {
	least := -1
	for version := s.versions.lo; version <= s.versions.hi; version++ {
		if size := m.minSizeAt(s, version); least < 0 || size < least {
			least = size
		}
	}
	return least
}

func (m *message) minSizeAt(s *structDef, version int) int {
	flexible := m.isFlexible(version)
	size := 0
	if flexible {
		size = 1 // the count of tagged fields
	}
	for _, f := range s.fields {
		scalar, isScalar := scalars[f.typ]
		switch {
		case version < f.versions.lo || version > f.versions.hi || f.tag >= 0:
		case flexible && (f.array || f.typ == "string" || f.typ == "bytes" || f.typ == "records"):
			size++
		case f.array || f.typ == "bytes" || f.typ == "records":
			size += 4
		case f.typ == "string":
			size += 2
		case isScalar:
			size += scalar.size
		case !f.nullable.empty():
			size++
		default:
			size += m.minSizeAt(f.ref, version)
		}
	}
	return size
}
