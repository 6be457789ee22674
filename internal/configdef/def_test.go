package configdef_test

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/configdef"
)

var scopes = map[string]*configdef.Def{
	"broker": configdef.Broker(), "topic": configdef.Topic(),
	"group": configdef.Group(), "client-metrics": configdef.ClientMetrics(),
}

// Every key of Kafka is in the tables with Kafka's facts, or with the reason for the difference.
func TestTables_AgreeWithKafka(t *testing.T) {
	kafka := map[string]bool{}
	for line := range lines(t, "testdata/kafka-4.3.1.tsv") {
		f := strings.Split(line, "\t")
		scope, name, typ, def, mode, visibility := f[0], f[1], f[2], f[3], f[4], f[5]
		kafka[scope+"/"+name] = true
		k, ok := scopes[scope].Lookup(name)
		if !ok {
			t.Errorf("%s/%s: not in the table", scope, name)
			continue
		}
		if got := k.Type.String(); got != typ {
			t.Errorf("%s/%s: type %s, Kafka has %s", scope, name, got, typ)
		}
		ours, theirs := "null", def
		if k.HasDefault {
			ours = strconv.Quote(k.DefaultValue().String())
		}
		if k.KafkaDefault != "" {
			ours = strconv.Quote(k.KafkaDefault)
			if def == "required" {
				theirs = `"none: must be set"`
			}
		}
		if ours != theirs {
			t.Errorf("%s/%s: default %s, Kafka has %s and no reason is given", scope, name, ours, def)
		}
		if scope == "broker" && k.KafkaMutability.String() != mode {
			t.Errorf("%s/%s: update mode %s, Kafka has %s", scope, name, k.KafkaMutability, mode)
		}
		if k.Mutability != k.KafkaMutability && k.Reason == "" {
			t.Errorf("%s/%s: update mode differs without a reason", scope, name)
		}
		if k.Internal != (visibility == "internal") {
			t.Errorf("%s/%s: internal is %v", scope, name, k.Internal)
		}
	}
	for scope, def := range scopes {
		for k := range def.Keys() {
			plugin := k.Name == "super.users" || k.Name == "allow.everyone.if.no.acl.found"
			if !kafka[scope+"/"+k.Name] && !k.Own && !k.DynamicOnly && !plugin {
				t.Errorf("%s/%s: Kafka has no such key", scope, k.Name)
			}
		}
	}
}

func TestTables_RowsAreWhole(t *testing.T) {
	for scope, def := range scopes {
		last := ""
		for k := range def.Keys() {
			if k.Name <= last {
				t.Errorf("%s/%s: twice in the table, or out of order", scope, k.Name)
			}
			last = k.Name
			if k.HasDefault {
				if _, err := k.Parse(k.Default); err != nil {
					t.Errorf("%s/%s: its own default is refused: %v", scope, k.Name, err)
				}
			}
			if !strings.HasSuffix(k.Doc, ".") || strings.Contains(k.Doc, "\n") || len(k.Doc) > 180 {
				t.Errorf("%s/%s: documentation is not one sentence on one line: %q", scope, k.Name, k.Doc)
			}
			if k.Sensitive != (k.Type == configdef.Password) {
				t.Errorf("%s/%s: sensitive is %v", scope, k.Name, k.Sensitive)
			}
			if k.FailClosed && k.NoEffect == "" {
				t.Errorf("%s/%s: fails closed but takes effect", scope, k.Name)
			}
			for _, s := range k.Synonyms {
				if b, ok := configdef.Broker().Lookup(s.Name); !ok {
					t.Errorf("%s/%s: its synonym %s is no broker key", scope, k.Name, s.Name)
				} else if (b.NoEffect == "") != (k.NoEffect == "") {
					t.Errorf("%s/%s: takes effect where its synonym %s does not, or the other way round", scope, k.Name, s.Name)
				}
			}
		}
	}
}

// The defaults of topics, as clients have known them for years.
func TestTopic_Defaults(t *testing.T) {
	for name, want := range map[string]string{
		"cleanup.policy": "delete", "segment.bytes": "1073741824", "segment.ms": "604800000",
		"retention.ms": "604800000", "retention.bytes": "-1", "max.message.bytes": "1048588",
		"index.interval.bytes": "4096", "segment.index.bytes": "10485760", "min.insync.replicas": "1",
		"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "9223372036854775807",
		"message.timestamp.after.max.ms": "3600000", "compression.type": "producer",
		"compression.gzip.level": "-1", "compression.lz4.level": "9", "compression.zstd.level": "3",
		"delete.retention.ms": "86400000", "file.delete.delay.ms": "60000", "min.cleanable.dirty.ratio": "0.5",
		"flush.messages": "9223372036854775807", "flush.ms": "9223372036854775807",
		"unclean.leader.election.enable": "false", "local.retention.ms": "-2", "local.retention.bytes": "-2",
		"remote.storage.enable": "false", "write.caching": "auto",
	} {
		k, ok := configdef.Topic().Lookup(name)
		if got := k.DefaultValue().String(); !ok || got != want {
			t.Errorf("%s: default %q, want %q", name, got, want)
		}
	}
}

// Texts that Kafka takes through an accident of Java, and that are refused here.
func refusedOnPurpose(k configdef.Key, text string) bool {
	switch {
	case k.Type == configdef.Double:
		return text == "NaN" || text == "1d"
	case strings.HasSuffix(k.Name, ".throttled.replicas"):
		return text == ","
	}
	return false
}

func TestParse_AgreesWithKafka(t *testing.T) {
	quoted := regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	var texts []string
	var keys []configdef.Key
	accepted := map[string]string{}
	compared := 0
	flush := func() {
		for _, k := range keys {
			for _, text := range texts {
				if refusedOnPurpose(k, text) {
					continue
				}
				compared++
				want, ok := accepted[text]
				got, err := k.Normalize(text)
				if (err == nil) != ok {
					t.Errorf("%s/%s = %q: error %v, accepted by Kafka: %v", k.Scope, k.Name, text, err, ok)
				} else if ok && got != want {
					t.Errorf("%s/%s = %q: read as %q, Kafka reads %q", k.Scope, k.Name, text, got, want)
				}
			}
		}
		keys, accepted = nil, map[string]string{}
	}
	for line := range lines(t, "testdata/parse-kafka-4.3.1.txt") {
		switch {
		case strings.HasPrefix(line, "texts: "):
			for _, m := range quoted.FindAllStringSubmatch(line, -1) {
				texts = append(texts, m[1])
			}
		case strings.HasPrefix(line, "keys: "):
			flush()
			for name := range strings.FieldsSeq(strings.TrimPrefix(line, "keys: ")) {
				scope, name, _ := strings.Cut(name, "/")
				k, ok := scopes[scope].Lookup(name)
				if !ok {
					t.Fatalf("%s/%s: not in the table", scope, name)
				}
				keys = append(keys, k)
			}
		default:
			m := quoted.FindAllStringSubmatch(line, -1)
			accepted[m[0][1]] = m[1][1]
		}
	}
	flush()
	if compared < 30_000 {
		t.Errorf("compared only %d values", compared)
	}
}

func TestParse_Errors(t *testing.T) {
	for _, tc := range []struct{ scope, name, text, want string }{
		{"topic", "retention.ms", "-2", `invalid value "-2" for retention.ms: must be at least -1`},
		{"topic", "min.cleanable.dirty.ratio", "1.5", `invalid value "1.5" for min.cleanable.dirty.ratio: must be between 0 and 1`},
		{"topic", "min.cleanable.dirty.ratio", "NaN", `invalid value "NaN" for min.cleanable.dirty.ratio: must be a number`},
		{"topic", "segment.bytes", "2147483648", `invalid value "2147483648" for segment.bytes: must be a whole number of 32 bits`},
		{"topic", "cleanup.policy", "delete,shrink", `invalid value "delete,shrink" for cleanup.policy: must be one of compact, delete`},
		{"topic", "cleanup.policy", "delete,,compact", `invalid value "delete,,compact" for cleanup.policy: must not have an empty entry`},
		{"topic", "write.caching", "yes", `invalid value "yes" for write.caching: must be one of auto, true, false`},
		{"topic", "preallocate", "1", `invalid value "1" for preallocate: must be true or false`},
		{"broker", "listeners", " ", `invalid value " " for listeners: must not be empty`},
	} {
		k, _ := scopes[tc.scope].Lookup(tc.name)
		_, err := k.Parse(tc.text)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s=%s: %v, want %s", tc.name, tc.text, err, tc.want)
		}
	}
}

func TestParse_HidesSecrets(t *testing.T) {
	k := configdef.Key{Name: "pin", Type: configdef.Int, Sensitive: true}
	if _, err := k.Parse("hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret of the wrong form is answered %v", err)
	}
}

// Doubles are written as Java's Double.toString writes them.
func TestValue_Doubles(t *testing.T) {
	k := configdef.Key{Type: configdef.Double}
	for text, want := range map[string]string{
		"0": "0.0", "-0.5": "-0.5", "0.001": "0.001", "0.00099": "9.9E-4", "9999999": "9999999.0", "10000000": "1.0E7",
		"-12345678.5": "-1.23456785E7", "1.7976931348623157e308": "1.7976931348623157E308", "-Inf": "-Infinity",
	} {
		if got, err := k.Normalize(text); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestLookup_ListenerPrefix(t *testing.T) {
	for name, base := range map[string]string{
		"listener.name.external.ssl.keystore.password": "ssl.keystore.password",
		"listener.name.sasl.plain.sasl.jaas.config":    "sasl.jaas.config",
		"listener.name.internal.max.connections":       "max.connections",
		"listener.name.external.no.such.key":           "",
		"listener.name..max.connections":               "",
		"listener.name.external":                       "",
	} {
		k, ok := configdef.Broker().Lookup(name)
		if ok != (base != "") {
			t.Errorf("%s: found %v", name, ok)
			continue
		}
		if !ok {
			continue
		}
		b, _ := configdef.Broker().Lookup(base)
		if k.Name != name || k.Type != b.Type || k.Sensitive != b.Sensitive || k.NoEffect == "" || k.HasDefault || k.Mutability != configdef.ReadOnly {
			t.Errorf("%s: %+v is not %s for one listener", name, k, base)
		}
	}
	if _, ok := configdef.Topic().Lookup("listener.name.x.cleanup.policy"); ok {
		t.Error("a topic key has no listener form")
	}
}

func TestIsDefault(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"num.io.threads", "8", true},
		{"num.io.threads", " 08 ", true},
		{"num.io.threads", "9", false},
		{"authorizer.class.name", "", true},
		{"authorizer.class.name", "x.Y", false},
		{"create.topic.policy.class.name", "", true},
		{"log.retention.ms", "", false},
		{"num.io.threads", "x", false},
	} {
		k, _ := configdef.Broker().Lookup(tc.name)
		if got := k.IsDefault(tc.text); got != tc.want {
			t.Errorf("%s=%q: default %v, want %v", tc.name, tc.text, got, tc.want)
		}
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"log.retention.hour": "log.retention.hours", "num_partitions": "num.partitions",
		"Listeners": "listeners", "advertised.listener": "advertised.listeners", "frobnicate": "", "zookeeper.connect": "",
	} {
		if got := configdef.Broker().Nearest(name); got != want {
			t.Errorf("%s: nearest %q, want %q", name, got, want)
		}
	}
}

//fuzz:decoder configdef/(bound[.]go|value[.]go:.*(Parse|splitList|javaDouble|trim)[(])
func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "1", "-1", "true", "a,b", "*", "0:1", "1e3", "NaN", "1@h:1", "h:1", "by_duration:PT1H", "\x00", ",", " x "} {
		f.Add(text)
	}
	var all []configdef.Key
	for _, def := range scopes {
		all = slices.AppendSeq(all, def.Keys())
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, k := range all {
			v, err := k.Parse(text)
			if err != nil {
				continue
			}
			// What Kafka would answer reads back as the same value.
			again, err := k.Parse(v.String())
			if err != nil || again.String() != v.String() {
				t.Errorf("%s: %q reads as %q, which reads as %q, %v", k.Name, text, v, again, err)
			}
		}
	})
}

func lines(t *testing.T, path string) func(func(string) bool) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(string) bool) {
		defer f.Close()
		s := bufio.NewScanner(f)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			if line := s.Text(); line != "" && line[0] != '#' && !yield(line) {
				return
			}
		}
		if err := s.Err(); err != nil {
			t.Fatal(fmt.Errorf("read %s: %w", path, err))
		}
	}
}
