package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// positionKind says what a position counts from.
type positionKind int8

const (
	atStart      positionKind = iota // the first record there is
	atEnd                            // where the next record will go
	atOffset                         // n
	afterStart                       // n records after the start
	beforeEnd                        // n records before the end
	atTime                           // the first record at or after ms
	timeFromNow                      // now + delta
	timeFromLeft                     // the time on the left of a range + delta
)

// position is a place in a partition as people write it: one end of a range.
type position struct {
	kind  positionKind
	n     int64         // offset, count or milliseconds
	delta time.Duration // of timeFromNow and timeFromLeft
}

// offsetRange is what to read: from a position on, and up to another where there is one.
type offsetRange struct {
	from position
	to   *position // exclusive; nil: no end
}

// offsetGrammar is how the flags say what they take.
const offsetGrammar = `start | end | N | +N (after the start) | -N (before the end) | @TIME,
or a range FROM:TO, where either side may be left out; TIME is milliseconds (13 digits), seconds (10 digits),
2006-01-02, 2006-01-02T15:04:05Z or a duration like -1h (from now; as TO: from FROM)`

// parseRange reads a position, or two with a colon between them. Times that are relative to now are made
// absolute.
func parseRange(text string, now time.Time) (offsetRange, error) {
	from, rest, err := parsePosition(text, position{})
	if err != nil {
		return offsetRange{}, err
	}
	from = from.resolveTime(now.UnixMilli())
	if rest == "" {
		return offsetRange{from: from}, nil
	}
	right, _ := strings.CutPrefix(rest, ":")
	if right == "" {
		return offsetRange{from: from}, nil
	}
	to, err := parseEnd(right, from, now)
	if err != nil {
		return offsetRange{}, err
	}
	return offsetRange{from, &to}, nil
}

// parseEnd reads the end of a range that begins at from.
func parseEnd(text string, from position, now time.Time) (position, error) {
	to, rest, err := parsePosition(text, from)
	if err != nil {
		return position{}, err
	}
	if rest != "" {
		return position{}, fmt.Errorf("offset %q: nothing may follow the end of a range", text)
	}
	if to.kind == timeFromLeft {
		return position{kind: atTime, n: from.n + to.delta.Milliseconds()}, nil
	}
	return to.resolveTime(now.UnixMilli()), nil
}

func (p position) resolveTime(nowMs int64) position {
	if p.kind == timeFromNow {
		return position{kind: atTime, n: nowMs + p.delta.Milliseconds()}
	}
	return p
}

// The words for both ends, Kafka's and kcat's among them.
const words = `start|beginning|earliest|end|latest`

// parsePosition reads one position from the front of text; left is what stands to its left in a range,
// the zero position if nothing does. rest is empty or begins with a colon.
func parsePosition(text string, left position) (p position, rest string, err error) {
	fail := func() (position, string, error) {
		return position{}, "", fmt.Errorf("offset %q: want %s", text, offsetGrammar)
	}
	if strings.HasPrefix(text, ":") {
		return position{kind: atStart}, text, nil
	}
	stamp, timed := strings.CutPrefix(text, "@")
	if !timed {
		stamp, timed = strings.CutPrefix(text, "s@") // kcat's
	}
	if !timed {
		stamp, timed = strings.CutPrefix(text, "e@")
	}
	if !timed && left.kind == atTime && !regexp.MustCompile(`^(?:`+words+`)$`).MatchString(text) {
		stamp, timed = text, true // @TIME:TIME
	}
	if timed {
		p, rest, ok := parseTime(stamp, left.kind == atTime)
		if !ok {
			return fail()
		}
		return p, rest, nil
	}
	token := regexp.MustCompile(`^(?:` + words + `|[+-]?[0-9]+)`).FindString(text)
	rest = text[len(token):]
	if token == "" || rest != "" && rest[0] != ':' {
		return fail()
	}
	switch token {
	case "start", "beginning", "earliest":
		return position{kind: atStart}, rest, nil
	case "end", "latest":
		return position{kind: atEnd}, rest, nil
	}
	n, err := strconv.ParseInt(strings.TrimLeft(token, "+-"), 10, 64)
	if err != nil {
		return fail()
	}
	switch token[0] {
	case '+':
		return position{kind: afterStart, n: n}, rest, nil
	case '-':
		return position{kind: beforeEnd, n: n}, rest, nil
	}
	return position{kind: atOffset, n: n}, rest, nil
}

// parseTime reads a time from the front of text.
func parseTime(text string, onTheRight bool) (p position, rest string, ok bool) {
	for _, form := range []struct {
		pattern string
		read    func(string) (position, error)
	}{
		{`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?Z`, layoutTime(time.RFC3339Nano)},
		{`^[0-9]{4}-[0-9]{2}-[0-9]{2}`, layoutTime(time.DateOnly)},
		{`^[0-9]{13}`, numberTime(1)},
		{`^[0-9]{10}`, numberTime(1000)},
		{`^[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s))+`, func(s string) (position, error) {
			d, err := time.ParseDuration(s)
			if onTheRight {
				return position{kind: timeFromLeft, delta: d}, err
			}
			return position{kind: timeFromNow, delta: d}, err
		}},
	} {
		token := regexp.MustCompile(form.pattern).FindString(text)
		rest := text[len(token):]
		if token == "" || rest != "" && rest[0] != ':' {
			continue
		}
		p, err := form.read(token)
		return p, rest, err == nil
	}
	return position{}, "", false
}

func layoutTime(layout string) func(string) (position, error) {
	return func(s string) (position, error) {
		t, err := time.Parse(layout, s)
		return position{kind: atTime, n: t.UnixMilli()}, err
	}
}

func numberTime(factor int64) func(string) (position, error) {
	return func(s string) (position, error) {
		n, err := strconv.ParseInt(s, 10, 64)
		return position{kind: atTime, n: n * factor}, err
	}
}

// place returns the offset of the position in a partition that begins at start and ends at end. after
// finds the first offset at or after a time. The result lies within the partition, except that an
// offset that was asked for by number may lie past its end: it will come.
func (p position) place(start, end int64, after func(ms int64) (int64, error)) (int64, error) {
	switch p.kind {
	case atStart:
		return start, nil
	case atEnd:
		return end, nil
	case afterStart:
		return min(start+p.n, end), nil
	case beforeEnd:
		return max(end-p.n, start), nil
	case atTime:
		return after(p.n)
	}
	return max(p.n, start), nil
}
