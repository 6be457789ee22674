package differential

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/walser-io/walser/internal/wire"
)

// script is one file of testdata.
type script struct {
	path  string
	cases []*testCase
	tail  string // prose after the last case
}

// testCase is one request at one or more versions, and the answers to it.
type testCase struct {
	prose   string // what stands above it
	name    string
	options []string // as they stand
	request string   // as it stands
	line    int

	conn, client string
	later        bool
	save         [][2]string // variable, path of the field
	retry        []string
	differs      string

	api      string // name of the API, or raw, bytes, await
	versions []int16
	body     string

	kafka, walser answers
}

// answers maps a version to the text of its answer.
type answers map[int16]string

func readScript(path string) (*script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &script{path: path}
	var c *testCase
	var prose, section strings.Builder
	var into answers
	var versions []int16
	state := "prose"
	flush := func() {
		if into != nil {
			for _, v := range versions {
				into[v] = strings.TrimRight(section.String(), "\n")
			}
		}
		section.Reset()
		into = nil
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		head, rest, _ := strings.Cut(line, " ")
		switch {
		case head == "case":
			flush()
			c = &testCase{prose: prose.String(), name: rest, line: i + 1, kafka: answers{}, walser: answers{}}
			s.cases = append(s.cases, c)
			prose.Reset()
			state = "options"
		case head == "----" && c != nil && state != "prose":
			flush()
			state, into = "answer", c.kafka
			if who, after, _ := strings.Cut(rest, " "); who == "walser" {
				into, rest = c.walser, after
			}
			if versions, err = parseVersions(rest); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
		case line == "":
			if flush(); state == "prose" {
				prose.WriteByte('\n')
			}
			state = "prose"
		case state == "prose":
			prose.WriteString(line + "\n")
		case state == "answer":
			section.WriteString(line + "\n")
		case state == "options" && c.option(head, rest):
			c.options = append(c.options, line)
		default:
			state = "request"
			c.request += line + "\n"
		}
	}
	flush()
	s.tail = prose.String()
	for _, c := range s.cases {
		if err := c.parseRequest(); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", path, c.line, c.name, err)
		}
	}
	return s, nil
}

// option reads a line that is not a request; every request but await begins with a capital or raw or bytes.
func (c *testCase) option(head, rest string) bool {
	switch head {
	case "on":
		c.conn = rest
	case "client":
		c.client = rest
	case "later":
		c.later = true
	case "save":
		for _, one := range strings.Fields(rest) {
			name, path, _ := strings.Cut(one, "=")
			c.save = append(c.save, [2]string{name, path})
		}
	case "retry":
		c.retry = strings.Fields(rest)
	case "differs":
		c.differs = rest
	default:
		return false
	}
	return true
}

func (c *testCase) parseRequest() error {
	request := strings.TrimSpace(c.request)
	c.api, request, _ = strings.Cut(request, " ")
	switch c.api {
	case "":
		return fmt.Errorf("no request")
	case "raw", "bytes", "await":
		c.versions, c.body = []int16{0}, request
		return nil
	}
	at := strings.Index(request, "{")
	if at < 0 {
		return fmt.Errorf("no fields")
	}
	c.body = request[at:]
	var err error
	c.versions, err = parseVersions(request[:at])
	return err
}

// parseVersions reads v3 v5..7.
func parseVersions(s string) ([]int16, error) {
	var versions []int16
	for _, word := range strings.Fields(s) {
		lo, hi, ranged := strings.Cut(strings.TrimPrefix(word, "v"), "..")
		if !ranged {
			hi = lo
		}
		first, err1 := strconv.ParseInt(lo, 10, 16)
		last, err2 := strconv.ParseInt(hi, 10, 16)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%q is no version", word)
		}
		for v := first; v <= last; v++ {
			versions = append(versions, int16(v))
		}
	}
	if len(versions) == 0 {
		return []int16{0}, nil
	}
	return versions, nil
}

// write puts the script back, with the answers it has now.
func (s *script) write() error {
	var out strings.Builder
	for _, c := range s.cases {
		fmt.Fprintf(&out, "%scase %s\n", c.prose, c.name)
		for _, o := range c.options {
			out.WriteString(o + "\n")
		}
		out.WriteString(c.request)
		c.writeAnswers(&out, "", c.kafka)
		if c.differs != "" {
			c.writeAnswers(&out, "walser ", c.walser)
		}
		out.WriteString("\n")
	}
	out.WriteString(s.tail)
	return os.WriteFile(s.path, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644)
}

func (c *testCase) writeAnswers(out *strings.Builder, who string, a answers) {
	for i := 0; i < len(c.versions); {
		text, ok := a[c.versions[i]]
		var list []int16
		for ; i < len(c.versions) && a[c.versions[i]] == text; i++ {
			list = append(list, c.versions[i])
		}
		if ok {
			fmt.Fprintf(out, "---- %s%s\n%s\n", who, versionsText(list), text)
		}
	}
}

func versionsText(list []int16) string {
	var words []string
	for i := 0; i < len(list); {
		first := list[i]
		for i++; i < len(list) && list[i] == list[i-1]+1; i++ {
		}
		if last := list[i-1]; last != first {
			words = append(words, fmt.Sprintf("v%d..%d", first, last))
		} else {
			words = append(words, fmt.Sprintf("v%d", first))
		}
	}
	return strings.Join(words, " ")
}

// keyOf finds an API by its name, in Kafka's spelling or in that of package wire.
func keyOf(name string) (wire.Key, bool) {
	keys := wire.Keys()
	i := slices.IndexFunc(keys, func(k wire.Key) bool { return strings.EqualFold(k.String(), name) })
	if i < 0 {
		return 0, false
	}
	return keys[i], true
}
