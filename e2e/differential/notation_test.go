package differential

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// object is {Name: value, ...} in the order of the script.
type object []field

type field struct {
	name  string
	value any
}

// call is name{...} or name(...): a value that is worked out when the request is sent.
type call struct {
	name string
	arg  any // object or []any
}

// variable is $name, a field saved from an earlier answer.
type variable string

// parseValue reads one value: null, true, a number, "text", hex"00ff", [list], {object}, $variable, or a call.
func parseValue(s string) (any, error) {
	p := &valueParser{s: s}
	v, err := p.value()
	if err == nil {
		if p.space(); p.pos < len(s) {
			err = p.errorf("text after the value")
		}
	}
	return v, err
}

type valueParser struct {
	s   string
	pos int
}

func (p *valueParser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s, before %.40q", fmt.Sprintf(format, args...), p.s[min(p.pos, len(p.s)):])
}

func (p *valueParser) space() {
	for p.pos < len(p.s) && strings.IndexByte(" \n\t,", p.s[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *valueParser) peek() byte {
	p.space()
	if p.pos == len(p.s) {
		return 0
	}
	return p.s[p.pos]
}

func (p *valueParser) word() string {
	start := p.pos
	for p.pos < len(p.s) && (p.s[p.pos] == '_' || p.s[p.pos] == '-' || p.s[p.pos] == '+' || p.s[p.pos] >= '0' && p.s[p.pos] <= '9' || p.s[p.pos]|0x20 >= 'a' && p.s[p.pos]|0x20 <= 'z') {
		p.pos++
	}
	return p.s[start:p.pos]
}

func (p *valueParser) value() (any, error) {
	switch c := p.peek(); c {
	case '{':
		return p.object()
	case '[', '(':
		return p.list(c)
	case '"':
		return p.text()
	case '$':
		p.pos++
		return variable(p.word()), nil
	}
	w := p.word()
	switch w {
	case "":
		return nil, p.errorf("want a value")
	case "null":
		return nil, nil
	case "true", "false":
		return w == "true", nil
	}
	if n, err := strconv.ParseInt(w, 10, 64); err == nil {
		return n, nil
	}
	if p.pos < len(p.s) {
		switch c := p.s[p.pos]; c {
		case '"':
			text, err := p.text()
			if err != nil || w != "hex" {
				return nil, p.errorf("want hex\"...\"")
			}
			return hex.DecodeString(text)
		case '{':
			arg, err := p.object()
			return call{w, arg}, err
		case '(':
			arg, err := p.list(c)
			return call{w, arg}, err
		}
	}
	return nil, p.errorf("%q is no value", w)
}

func (p *valueParser) text() (string, error) {
	quoted, err := strconv.QuotedPrefix(p.s[p.pos:])
	if err != nil {
		return "", p.errorf("want a quoted text")
	}
	p.pos += len(quoted)
	return strconv.Unquote(quoted)
}

func (p *valueParser) object() (object, error) {
	p.pos++
	o := object{}
	for p.peek() != '}' {
		name := p.word()
		if name == "" || p.peek() != ':' {
			return nil, p.errorf("want a field and a colon")
		}
		p.pos++
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		o = append(o, field{name, v})
	}
	p.pos++
	return o, nil
}

func (p *valueParser) list(open byte) ([]any, error) {
	end := byte(']')
	if open == '(' {
		end = ')'
	}
	p.pos++
	list := []any{}
	for p.peek() != end {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	p.pos++
	return list, nil
}
