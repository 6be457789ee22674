package config

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/configdef"
)

// Static are the settings that a node starts with. It is immutable and safe for concurrent use.
type Static struct {
	entries  map[string]setting
	warnings []Warning
	node     Node
}

// Load reads every layer, checks every value and every rule between keys, and returns the settings or a
// Faults error that lists all that is wrong. env is what os.Environ returns.
func Load(sources Sources, env []string) (*Static, error) {
	var faults Faults
	s := &Static{entries: map[string]setting{}}
	for name, value := range sources.Defaults {
		s.entries[name] = setting{name: name, value: value}
	}
	if f := sources.File; f != nil {
		var found []setting
		if f.Format == YAML {
			found = readYAML(f, &faults)
		} else {
			found = readProperties(f, &faults)
		}
		for _, one := range found {
			if first, ok := s.entries[one.name]; ok && first.source.Origin == FromFile {
				s.warn(one, "also set in line %d; this one holds", first.source.Line)
			}
			s.entries[one.name] = one
		}
	}
	for _, one := range readEnv(env) {
		s.entries[one.name] = one
	}
	for _, text := range sources.Set {
		name, value, ok := strings.Cut(text, "=")
		one := setting{strings.TrimSpace(name), value, Source{Origin: FromFlag}}
		if !ok || one.name == "" {
			faults = append(faults, Fault{Field: "--set", Value: clip(text), Bound: "must be key=value", Source: one.source})
			continue
		}
		s.entries[one.name] = one
	}
	s.checkValues(&faults)
	s.node = s.buildNode(&faults)
	if len(faults) > 0 {
		return nil, faults
	}
	return s, nil
}

// Get returns the text that a key is set to and where. ok is false while only the table's default holds. The text
// of a key that may be sensitive must not be logged.
func (s *Static) Get(name string) (value string, source Source, ok bool) {
	one, ok := s.entries[name]
	return one.value, one.source, ok
}

// All yields every key that is set, unknown ones included, with its text, sorted by name: the static layer
// for package metaconfig.
func (s *Static) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range slices.Sorted(maps.Keys(s.entries)) {
			if !yield(name, s.entries[name].value) {
				return
			}
		}
	}
}

// Warnings returns what the operator should hear about once at start.
func (s *Static) Warnings() []Warning { return s.warnings }

// Node returns the typed settings.
func (s *Static) Node() Node { return s.node }

func (s *Static) warn(one setting, format string, args ...any) {
	s.warnings = append(s.warnings, Warning{Field: one.name, Source: one.source, Text: fmt.Sprintf(format, args...)})
}

// checkValues holds every value against its key, and takes out those that fail so that the rules between
// keys are checked against the defaults instead.
func (s *Static) checkValues(faults *Faults) {
	for _, name := range slices.Sorted(maps.Keys(s.entries)) {
		one := s.entries[name]
		k, ok := configdef.Broker().Lookup(name)
		if !ok || k.DynamicOnly {
			s.warnUnknown(one, k)
			continue
		}
		if one.value == "" && !k.HasDefault && isText(k.Type) {
			delete(s.entries, name) // "rack=" says that there is none
			continue
		}
		v, err := k.Parse(one.value)
		if err != nil {
			fault := Fault{Field: name, Value: one.value, Bound: "is not allowed", Source: one.source, Fix: fixFor(k)}
			if bad, ok := errors.AsType[*configdef.ValueError](err); ok {
				fault.Value, fault.Bound = bad.Value, bad.Bound
			}
			*faults = append(*faults, fault)
			delete(s.entries, name)
			continue
		}
		if k.NoEffect == "" || k.IsDefault(v.String()) {
			continue
		}
		if k.FailClosed {
			*faults = append(*faults, Fault{
				Field: name, Value: v.String(), Source: one.source,
				Bound: "cannot be honoured: " + k.NoEffect,
				Fix:   "remove it only if the node may run without what it asks for",
			})
			continue
		}
		s.warn(one, "has no effect: %s", k.NoEffect)
	}
}

func isText(t configdef.Type) bool {
	return t == configdef.String || t == configdef.Class || t == configdef.Password
}

func fixFor(k configdef.Key) string {
	if k.HasDefault {
		if k.Default == "" {
			return "remove it for the default, which is empty"
		}
		return "remove it for the default, " + k.Default
	}
	return "remove it to leave it unset"
}

// pluginPrefixes lead the settings of Java plug-ins, whatever they are called.
var pluginPrefixes = []string{"rsm.config.", "rlmm.config.", "config.providers."}

// retired are keys that older server.properties files still have.
var retired = map[string]string{
	"zookeeper.connect":                       "Kafka 4 has no ZooKeeper, and neither has Walser",
	"zookeeper.connection.timeout.ms":         "Kafka 4 has no ZooKeeper, and neither has Walser",
	"broker.id.generation.enable":             "node.id says which node this is",
	"reserved.broker.max.id":                  "node.id says which node this is",
	"inter.broker.protocol.version":           "metadata.version, a feature of the cluster, took its place",
	"log.message.format.version":              "every record is of format 2",
	"log.message.downconversion.enable":       "every record is of format 2",
	"message.downconversion.enable":           "every record is of format 2",
	"host.name":                               "listeners took its place",
	"port":                                    "listeners took its place",
	"advertised.host.name":                    "advertised.listeners took its place",
	"advertised.port":                         "advertised.listeners took its place",
	"control.plane.listener.name":             "controller.listener.names took its place",
	"controlled.shutdown.max.retries":         "Kafka 4 removed it",
	"offsets.commit.required.acks":            "commits are answered when all in-sync replicas have them",
	"log.message.timestamp.difference.max.ms": "log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms took its place",
}

func isPlugin(name string) bool {
	return slices.ContainsFunc(pluginPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func (s *Static) warnUnknown(one setting, k configdef.Key) {
	if k.DynamicOnly {
		s.warn(one, "can only be set while the node runs, with the AlterConfigs request")
		return
	}
	if why, ok := retired[one.name]; ok {
		s.warn(one, "is not used: %s", why)
		return
	}
	if isPlugin(one.name) {
		s.warn(one, "has no effect: a Java class cannot be loaded")
		return
	}
	if near := configdef.Broker().Nearest(one.name); near != "" {
		s.warn(one, "is not a known key, and is not used; did you mean %s?", near)
		return
	}
	if k, ok := configdef.Topic().Lookup(one.name); ok && len(k.Synonyms) > 0 {
		s.warn(one, "is a key of topics, and is not used; the default of all topics is %s", k.Synonyms[0].Name)
		return
	}
	s.warn(one, "is not a known key, and is not used")
}

// value returns a key's parsed value: what is set, else its default.
func (s *Static) value(name string) configdef.Value {
	k, _ := configdef.Broker().Lookup(name)
	if one, ok := s.entries[name]; ok {
		if v, err := k.Parse(one.value); err == nil {
			return v
		}
	}
	return k.DefaultValue()
}

func (s *Static) isSet(name string) bool {
	_, ok := s.entries[name]
	return ok
}
