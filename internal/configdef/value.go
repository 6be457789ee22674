package configdef

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Value is a parsed value. The zero Value is null.
type Value struct {
	Type Type
	Null bool

	number int64
	real   float64
	text   string
	list   []string
}

// Bool returns the value of a boolean key; false if null.
func (v Value) Bool() bool { return v.number != 0 }

// Int returns the value of an int, short or long key; 0 if null.
func (v Value) Int() int64 { return v.number }

// Float returns the value of a double key; 0 if null.
func (v Value) Float() float64 { return v.real }

// Text returns the value of a string, class or password key; "" if null.
func (v Value) Text() string { return v.text }

// List returns the value of a list key, without repetitions; empty if null. The slice is shared and
// must not be changed.
func (v Value) List() []string { return v.list }

// String returns the value in the form that Kafka answers it: numbers without signs and zeros that
// say nothing, doubles as Java prints them, lists joined by commas. A null value is "". The text of a
// password is in it.
func (v Value) String() string {
	if v.Null {
		return ""
	}
	switch v.Type {
	case Boolean:
		return strconv.FormatBool(v.Bool())
	case Int, Short, Long:
		return strconv.FormatInt(v.number, 10)
	case Double:
		return javaDouble(v.real)
	case List:
		return strings.Join(v.list, ",")
	default:
		return v.text
	}
}

// IntValue makes the value of an int, short or long key.
func IntValue(t Type, n int64) Value { return Value{Type: t, number: n} }

// ValueError says that a text is not a value of a key.
type ValueError struct {
	Key   string
	Value string // hidden if the key is sensitive
	Bound string // what a value must be, as in "must be at least 1"
}

// Error returns key, value and bound in one line.
func (e *ValueError) Error() string {
	return fmt.Sprintf("invalid value %q for %s: %s", e.Value, e.Key, e.Bound)
}

// Parse reads text as Kafka does (white space around it does not count, booleans in any case, lists
// split at commas with repetitions dropped) and checks the key's bound. The error is a *ValueError.
func (k Key) Parse(text string) (Value, error) {
	trimmed := trim(text)
	v := Value{Type: k.Type}
	fault := ""
	switch k.Type {
	case Boolean:
		switch {
		case strings.EqualFold(trimmed, "true"):
			v.number = 1
		case strings.EqualFold(trimmed, "false"):
		default:
			fault = "must be true or false"
		}
	case Int, Short, Long:
		bits := map[Type]int{Short: 16, Int: 32, Long: 64}[k.Type]
		n, err := strconv.ParseInt(trimmed, 10, bits)
		v.number = n
		if err != nil {
			fault = fmt.Sprintf("must be a whole number of %d bits", bits)
		}
	case Double:
		f, err := strconv.ParseFloat(trimmed, 64)
		v.real = f
		if err != nil || math.IsNaN(f) || strings.Contains(trimmed, "_") {
			fault = "must be a number"
		}
	case List:
		v.list = splitList(trimmed)
	default:
		v.text = trimmed
	}
	if fault == "" {
		fault = k.Bound.check(v)
	}
	if fault != "" {
		shown := text
		if k.Sensitive {
			shown = "[hidden]"
		}
		return Value{}, &ValueError{Key: k.Name, Value: shown, Bound: fault}
	}
	return v, nil
}

// Normalize parses text and returns it in the form of Value.String.
func (k Key) Normalize(text string) (string, error) {
	v, err := k.Parse(text)
	return v.String(), err
}

func splitList(trimmed string) []string {
	if trimmed == "" {
		return nil
	}
	var list []string
	for part := range strings.SplitSeq(trimmed, ",") {
		part = trim(part)
		if !slices.Contains(list, part) {
			list = append(list, part)
		}
	}
	return list
}

// javaDouble writes f as Double.toString does: plain between 1e-3 and 1e7, else with an exponent, and
// always with a digit after the point.
func javaDouble(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	if a := math.Abs(f); a == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return mantissa + "E" + strconv.Itoa(n)
}

// trim takes off what Java's String.trim does: not all that Unicode calls space, but control characters.
func trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return r <= ' ' })
}
