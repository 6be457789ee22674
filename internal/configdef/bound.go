package configdef

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Bound is what a value must satisfy beyond its type. The zero Bound lets every value pass.
type Bound struct {
	text  string
	fault func(Value) string // "" if the value is allowed, else what it must be
}

// String describes the bound for documentation, as in "≥ 1"; "" if there is none.
func (b Bound) String() string { return b.text }

func (b Bound) check(v Value) string {
	if v.Type == List && slices.Contains(v.list, "") {
		return "must not have an empty entry"
	}
	if b.fault == nil {
		return ""
	}
	return b.fault(v)
}

// number returns a numeric value as the bounds compare it.
func (v Value) number64() float64 {
	if v.Type == Double {
		return v.real
	}
	return float64(v.number)
}

func atLeast(low int64) Bound {
	return Bound{"≥ " + strconv.FormatInt(low, 10), func(v Value) string {
		if v.number64() < float64(low) {
			return fmt.Sprintf("must be at least %d", low)
		}
		return ""
	}}
}

func between(low, high float64) Bound {
	lowText, highText := trimNumber(low), trimNumber(high)
	return Bound{lowText + " … " + highText, func(v Value) string {
		if n := v.number64(); n < low || n > high || math.IsNaN(n) {
			return "must be between " + lowText + " and " + highText
		}
		return ""
	}}
}

func trimNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// oneOf bounds a string, or every entry of a list.
func oneOf(words ...string) Bound {
	return Bound{strings.Join(words, ", "), func(v Value) string {
		entries := v.list
		if v.Type != List {
			entries = []string{v.text}
		}
		for _, e := range entries {
			if !slices.Contains(words, e) {
				return "must be one of " + strings.Join(words, ", ")
			}
		}
		return ""
	}}
}

// oneOfFold is oneOf for a string in any case.
func oneOfFold(words ...string) Bound {
	return Bound{strings.Join(words, ", ") + " (in any case)", func(v Value) string {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, v.text) }) {
			return "must be one of " + strings.Join(words, ", ")
		}
		return ""
	}}
}

// notEmpty bounds a string or a list.
func notEmpty() Bound {
	return Bound{"not empty", func(v Value) string {
		if v.text == "" && len(v.list) == 0 {
			return "must not be empty"
		}
		return ""
	}}
}

// also joins two bounds; the description is the second's.
func (b Bound) also(c Bound) Bound {
	return Bound{c.text, func(v Value) string {
		if fault := b.check(v); fault != "" {
			return fault
		}
		return c.check(v)
	}}
}

// gzipLevel allows 1 … 9 and -1, which stands for gzip's own default.
func gzipLevel() Bound {
	return Bound{"1 … 9, or -1", func(v Value) string {
		if v.number != -1 && (v.number < 1 || v.number > 9) {
			return "must be between 1 and 9, or -1"
		}
		return ""
	}}
}

// throttledReplicas allows nothing, "*", or partition:broker pairs. Kafka takes a list of only commas
// for empty; so does this bound's key, by way of splitList.
func throttledReplicas() Bound {
	const text = "partition:broker pairs, or *"
	return Bound{text, func(v Value) string {
		if len(v.list) == 1 && v.list[0] == "*" {
			return ""
		}
		for _, pair := range v.list {
			partition, broker, ok := strings.Cut(pair, ":")
			if !ok || !digits(partition) || !digits(broker) {
				return "must be a list of " + text
			}
		}
		return ""
	}}
}

// voters allows id@host:port entries.
func voters() Bound {
	return Bound{"id@host:port, …", func(v Value) string {
		for _, entry := range v.list {
			id, address, ok := strings.Cut(entry, "@")
			if !ok || !digits(id) || !hostPort(address) {
				return "must be a list of id@host:port"
			}
		}
		return ""
	}}
}

// addresses allows host:port entries.
func addresses() Bound {
	return Bound{"host:port, …", func(v Value) string {
		for _, entry := range v.list {
			if !hostPort(entry) {
				return "must be a list of host:port"
			}
		}
		return ""
	}}
}

// offsetReset allows latest, earliest and by_duration: with a positive ISO 8601 duration.
func offsetReset() Bound {
	return Bound{"latest, earliest, by_duration:PnDTnHnMn.nS", func(v Value) string {
		duration, ok := strings.CutPrefix(v.text, "by_duration:")
		if v.text == "latest" || v.text == "earliest" || ok && strings.HasPrefix(duration, "P") && len(duration) > 2 {
			return ""
		}
		return "must be latest, earliest, or by_duration: and an ISO 8601 duration"
	}}
}

func hostPort(s string) bool {
	i := strings.LastIndexByte(s, ':')
	if i < 1 || strings.ContainsFunc(s[:i], notInHost) {
		return false
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	return err == nil && port > 0
}

// notInHost holds for what no host name, IPv4 or (bracketed, scoped) IPv6 address has in it.
func notInHost(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-%._:[]", r))
}

func digits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}
