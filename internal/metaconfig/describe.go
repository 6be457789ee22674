package metaconfig

import (
	"iter"
	"maps"
	"slices"

	"github.com/walser-io/walser/internal/configdef"
)

// ConfigSource says which layer a value comes from, numbered as in a DescribeConfigs answer.
type ConfigSource int8

// The sources. Loggers (6) and client metrics (7) are not resolved here.
const (
	SourceTopic                ConfigSource = 1
	SourceDynamicBroker        ConfigSource = 2
	SourceDynamicDefaultBroker ConfigSource = 3
	SourceStaticBroker         ConfigSource = 4
	SourceDefault              ConfigSource = 5
	SourceGroup                ConfigSource = 8
)

// Entry is one key of a DescribeConfigs answer. Value is nil if the key has none, or if it is sensitive.
type Entry struct {
	Name      string
	Value     *string
	Source    ConfigSource
	ReadOnly  bool
	Sensitive bool
	Type      configdef.Type
	Synonyms  []Synonym // by precedence; the first is the one that holds, if any
	Doc       string
}

// Synonym is a value that a key has, or would have if those before it were not set.
type Synonym struct {
	Name   string
	Value  *string
	Source ConfigSource
}

// DescribeTopic returns every key of a topic with those overrides, sorted by name.
func (r *Resolver) DescribeTopic(overrides iter.Seq2[string, string]) []Entry {
	return r.describeResource(configdef.Topic(), SourceTopic, maps.Collect(overrides))
}

// DescribeGroup returns every key of a group with those overrides, sorted by name.
func (r *Resolver) DescribeGroup(overrides iter.Seq2[string, string]) []Entry {
	return r.describeResource(configdef.Group(), SourceGroup, maps.Collect(overrides))
}

func (r *Resolver) describeResource(def *configdef.Def, source ConfigSource, overrides map[string]string) []Entry {
	entries := make([]Entry, 0, def.Len())
	for k := range def.Keys() {
		if k.Internal {
			continue
		}
		e := Entry{Name: k.Name, Source: SourceDefault, Type: k.Type, Sensitive: k.Sensitive, Doc: doc(k)}
		value := r.inherited(k)
		if text, ok := overrides[k.Name]; ok {
			if v, err := k.Parse(text); err == nil {
				value = v
				e.Synonyms = append(e.Synonyms, Synonym{k.Name, shown(k, v), source})
			}
		}
		e.Value = shown(k, value)
		switch {
		case len(k.Synonyms) > 0:
			names := synonymNames(k)
			e.Synonyms = append(e.Synonyms, r.synonyms(names[0], names)...)
		case def.Scope() == configdef.GroupScope && k.HasDefault:
			e.Synonyms = append(e.Synonyms, Synonym{k.Name, shown(k, k.DefaultValue()), SourceDefault})
		}
		if len(e.Synonyms) > 0 {
			e.Source = e.Synonyms[0].Source
		}
		entries = append(entries, e)
	}
	return entries
}

// DescribeBroker returns every key of this broker, and those that are set without being known (as
// sensitive ones: who knows what they hold), sorted by name.
func (r *Resolver) DescribeBroker() []Entry {
	names := map[string]bool{}
	for k := range configdef.Broker().Keys() {
		if !k.Internal && !k.DynamicOnly {
			names[k.Name] = true
		}
	}
	for _, layer := range r.layers.byStrength() {
		for name := range layer {
			if k, _ := configdef.Broker().Lookup(name); !k.Internal {
				names[name] = true
			}
		}
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		entries = append(entries, r.brokerEntry(name, func(Synonym) bool { return true }))
	}
	return entries
}

// DescribeBrokerDefaults returns the keys that have a dynamic default for all brokers, sorted by name.
func (r *Resolver) DescribeBrokerDefaults() []Entry {
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(r.layers.cluster)) {
		e := r.brokerEntry(name, func(s Synonym) bool { return s.Source == SourceDynamicDefaultBroker })
		if !e.Sensitive {
			text := r.layers.cluster[name]
			e.Value = &text
		}
		entries = append(entries, e)
	}
	return entries
}

func (r *Resolver) brokerEntry(name string, keep func(Synonym) bool) Entry {
	k, known := configdef.Broker().Lookup(name)
	if !known {
		k = configdef.Key{Name: name, Sensitive: true}
	}
	e := Entry{
		Name: name, Source: SourceDefault, Type: k.Type, Sensitive: k.Sensitive,
		ReadOnly: k.Mutability == configdef.ReadOnly, Doc: doc(k),
	}
	if known {
		e.Value = shown(k, r.own(k))
	}
	for _, s := range r.synonyms(name, brokerSynonyms(k)) {
		if keep(s) {
			e.Synonyms = append(e.Synonyms, s)
		}
	}
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	return e
}

// synonyms lists what is set under the names, layer by layer, and their defaults. As in Kafka, what stands
// before the first value of the described key itself is left out.
func (r *Resolver) synonyms(described string, names []string) []Synonym {
	var all []Synonym
	add := func(name, text string, source ConfigSource) {
		k, known := configdef.Broker().Lookup(name)
		s := Synonym{Name: name, Source: source}
		if known && !k.Sensitive {
			s.Value = &text
		}
		if len(all) > 0 || name == described {
			all = append(all, s)
		}
	}
	sources := [3]ConfigSource{SourceDynamicBroker, SourceDynamicDefaultBroker, SourceStaticBroker}
	for i, layer := range r.layers.byStrength() {
		for _, name := range names {
			if text, ok := layer[name]; ok {
				add(name, text, sources[i])
			}
		}
	}
	for _, name := range names {
		if k, _ := configdef.Broker().Lookup(name); k.HasDefault {
			add(name, k.DefaultValue().String(), SourceDefault)
		}
	}
	return all
}

func synonymNames(k configdef.Key) []string {
	names := make([]string, len(k.Synonyms))
	for i, s := range k.Synonyms {
		names[i] = s.Name
	}
	return names
}

// brokerSynonyms returns the names that are described with a broker key: those that feed the same topic
// key, or the key itself and what it overrides for one listener. log.flush.scheduler.interval.ms stands
// alone, as in Kafka, though log.flush.interval.ms falls back on it.
func brokerSynonyms(k configdef.Key) []string {
	if len(k.Synonyms) > 0 {
		return append([]string{k.Name}, synonymNames(k)...)
	}
	if k.Name == "log.flush.scheduler.interval.ms" {
		return []string{k.Name}
	}
	for t := range configdef.Topic().Keys() {
		if names := synonymNames(t); len(names) > 1 && slices.Contains(names, k.Name) {
			return names
		}
	}
	return []string{k.Name}
}

// shown returns a value as it may leave the node.
func shown(k configdef.Key, v configdef.Value) *string {
	if v.Null || k.Sensitive {
		return nil
	}
	text := v.String()
	return &text
}

func doc(k configdef.Key) string {
	if k.NoEffect != "" {
		return k.Doc + " It has no effect here: " + k.NoEffect + "."
	}
	return k.Doc
}
