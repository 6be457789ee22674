package metaconfig_test

import (
	"bufio"
	"fmt"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/configdef"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metaconfig"
	"github.com/walser-io/walser/internal/model"
)

// image is a Source made of maps: "topic t", "broker 1" and "broker default".
type image map[string]map[string]string

func (m image) TopicConfig(name string) iter.Seq2[string, string] { return maps.All(m["topic "+name]) }

func (m image) BrokerConfig(id model.BrokerID) iter.Seq2[string, string] {
	return maps.All(m["broker "+id.String()])
}

func (m image) DefaultBrokerConfig() iter.Seq2[string, string] { return maps.All(m["broker default"]) }

func (m image) store(resource string, updates []metaconfig.Update) {
	if m[resource] == nil {
		m[resource] = map[string]string{}
	}
	for _, u := range updates {
		if u.Value == nil {
			delete(m[resource], u.Name)
		} else {
			m[resource][u.Name] = *u.Value
		}
	}
}

// Changes that Walser answers otherwise than Kafka, and why.
var answeredOtherwise = map[string]kafkaerr.Code{
	"broker 1 set no.such=1":                                 kafkaerr.InvalidRequest, // no plug-in could read it
	"broker default set num.io.threads=9":                    kafkaerr.InvalidRequest, // no effect
	"broker default set leader.replication.throttled.rate=5": kafkaerr.InvalidRequest, // no effect yet
	"broker default set log.cleaner.max.compaction.lag.ms=8": kafkaerr.InvalidRequest, // below the minimum set before it
	"broker default set log.cleaner.threads=5":               kafkaerr.None,           // no pool that could grow too fast
	"broker 1 set min.insync.replicas=2":                     kafkaerr.None,           // refused there for eligible leader replicas
	"broker default delete min.insync.replicas=":             kafkaerr.None,           // the same
}

// Entries that Walser describes otherwise than Kafka, and why.
func describedOtherwise(section, name string) bool {
	k, known := configdef.Broker().Lookup(name)
	switch {
	case !strings.Contains(section, "broker"):
		return false
	case !known || k.DynamicOnly || name == "num.io.threads": // refused when they were set
		return name != "my.plugin.key"
	case k.Reason != "": // another default or update mode, with its reason in the table
		return true
	}
	// Kafka answers the default, 168 hours, as the value of a key that the file sets to 100, once a
	// dynamic log.retention.ms overrides it.
	return strings.HasPrefix(section, "dynamic") && (name == "log.retention.hours" || name == "log.flush.scheduler.interval.ms")
}

// The whole story that a broker of Kafka told: static values, changes, and what it described.
func TestDescribeAndAlter_AgreeWithKafka(t *testing.T) {
	static := map[string]string{}
	stored := image{
		"topic t":        {"retention.ms": "1000", "cleanup.policy": "compact,delete", "segment.bytes": " 2097152 "},
		"topic plain":    {},
		"broker default": {"min.insync.replicas": "1"},
	}
	var r *metaconfig.Resolver
	var described map[string]string
	section, compared, changes := "", 0, 0
	finish := func() {
		if strings.Contains(section, "topic") {
			delete(described, "write.caching")
			for name := range described {
				t.Errorf("%s: %s is described, Kafka does not know it", section, name)
			}
		}
	}
	for line := range lines(t, "testdata/describe-kafka-4.3.1.txt") {
		if title, ok := strings.CutPrefix(line, "== "); ok {
			finish()
			section = title
			if section == "static configuration" {
				continue
			}
			r = metaconfig.New(maps.All(static), 1).With(stored)
			described = map[string]string{}
			for _, e := range describe(r, stored, section) {
				described[e.Name] = format(e)
			}
			continue
		}
		switch section {
		case "static configuration":
			name, value, _ := strings.Cut(line, "=")
			static[name] = value
		case "changes":
			changes++
			checkChange(t, metaconfig.New(maps.All(static), 1).With(stored), stored, line)
		default:
			name, _, _ := strings.Cut(line, " ")
			got := described[name]
			delete(described, name)
			if describedOtherwise(section, name) {
				continue
			}
			compared++
			if got != line {
				t.Errorf("%s:\n got   %s\n Kafka %s", section, got, line)
			}
		}
	}
	finish()
	if compared < 180 || changes < 45 {
		t.Errorf("compared only %d entries and %d changes", compared, changes)
	}
}

func describe(r *metaconfig.Resolver, stored image, section string) []metaconfig.Entry {
	switch _, resource, _ := strings.Cut(section, " "); resource {
	case "broker 1":
		return r.DescribeBroker()
	case "broker default":
		return r.DescribeBrokerDefaults()
	case "topic t":
		return r.DescribeTopic(stored.TopicConfig("t"))
	case "topic plain":
		return r.DescribeTopic(stored.TopicConfig("plain"))
	}
	return nil
}

var changeLine = regexp.MustCompile(`^((topic|broker) \S+) (\S+) ([^=]+)=(.*) (\d+)$`)

func checkChange(t *testing.T, r *metaconfig.Resolver, stored image, line string) {
	t.Helper()
	m := changeLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("not a change: %s", line)
	}
	resource, op, name, value := m[1], m[3], m[4], m[5]
	res := map[string]metaconfig.Resource{"topic": metaconfig.TopicResource, "broker": metaconfig.ThisBroker}[m[2]]
	if resource == "broker default" {
		res = metaconfig.AllBrokers
	}
	ops := map[string]metaconfig.Op{"set": metaconfig.Set, "delete": metaconfig.Delete, "append": metaconfig.Append, "subtract": metaconfig.Subtract}
	updates, err := r.Alter(res, maps.All(stored[resource]), []metaconfig.Change{{Op: ops[op], Name: name, Value: &value}})
	text := strings.TrimSuffix(line, " "+m[6])
	want, differs := answeredOtherwise[text]
	if !differs {
		fmt.Sscan(m[6], &want)
	}
	if got := kafkaerr.CodeOf(err); got != want {
		t.Errorf("%s: answered %v, want %v", text, err, want)
	}
	switch {
	case !differs:
		stored.store(resource, updates)
	case m[6] == "0": // go on from what Kafka has stored
		stored.store(resource, []metaconfig.Update{{Name: name, Value: &value}})
	}
}

// format writes an entry as the file has it.
func format(e metaconfig.Entry) string {
	var b strings.Builder
	quoted := func(s *string) string {
		if s == nil {
			return "null"
		}
		return `"` + *s + `"`
	}
	fmt.Fprintf(&b, "%s %s %d %s", e.Name, quoted(e.Value), e.Source, strings.ToUpper(e.Type.String()))
	if e.ReadOnly {
		b.WriteString(" read-only")
	}
	if e.Sensitive {
		b.WriteString(" sensitive")
	}
	for _, s := range e.Synonyms {
		fmt.Fprintf(&b, " | %s %s %d", s.Name, quoted(s.Value), s.Source)
	}
	return b.String()
}

func lines(t *testing.T, path string) iter.Seq[string] {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return slices.Values(all)
}
