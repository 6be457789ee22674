package metaconfig

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/walser-io/walser/internal/configdef"
	"github.com/walser-io/walser/internal/model"
)

// Source is what a metadata image says about configuration. Each sequence yields key and text.
type Source interface {
	TopicConfig(name string) iter.Seq2[string, string]
	BrokerConfig(id model.BrokerID) iter.Seq2[string, string]
	DefaultBrokerConfig() iter.Seq2[string, string]
}

// None is an empty layer.
func None(func(string, string) bool) {}

// Resolver holds the layers below a topic's own configuration, for one broker. It is immutable and safe
// for concurrent use.
type Resolver struct {
	id     model.BrokerID
	layers layers

	topic  Topic // of a topic without overrides
	broker Broker
	faults []error
}

// layers are the texts that are set for the broker, the strongest layer first.
type layers struct {
	perBroker, cluster, static map[string]string
}

// New returns a resolver over the static layer alone (config.Static.All), whose values have been checked.
func New(static iter.Seq2[string, string], id model.BrokerID) *Resolver {
	texts := maps.Collect(static)
	// Each of the two names stands for the other.
	if text, ok := texts["node.id"]; ok {
		texts["broker.id"] = text
	} else if text, ok := texts["broker.id"]; ok {
		texts["node.id"] = text
	}
	return newResolver(id, layers{static: texts})
}

func newResolver(id model.BrokerID, l layers) *Resolver {
	r := &Resolver{id: id, layers: l}
	r.faults = append(r.faults, dynamicFaults(l.perBroker)...)
	r.faults = append(r.faults, dynamicFaults(l.cluster)...)
	r.topic = r.resolveTopic(nil)
	r.broker = r.resolveBroker()
	return r
}

// With returns the resolver for an image: r itself, if the image sets nothing else for this broker.
func (r *Resolver) With(image Source) *Resolver {
	perBroker := dynamicLayer(image.BrokerConfig(r.id))
	cluster := dynamicLayer(image.DefaultBrokerConfig())
	if maps.Equal(perBroker, r.layers.perBroker) && maps.Equal(cluster, r.layers.cluster) {
		return r
	}
	return newResolver(r.id, layers{perBroker: perBroker, cluster: cluster, static: r.layers.static})
}

// dynamicLayer takes the keys that may be dynamic; others can only be there from an older release, and
// have no effect, as in Kafka.
func dynamicLayer(texts iter.Seq2[string, string]) map[string]string {
	var layer map[string]string
	for name, text := range texts {
		if k, ok := configdef.Broker().Lookup(name); ok && (k.Mutability != configdef.ReadOnly || k.DynamicOnly) {
			if layer == nil {
				layer = map[string]string{}
			}
			layer[name] = text
		}
	}
	return layer
}

// dynamicFaults finds stored values that no longer pass. They are passed over, so that one bad record
// cannot keep a node from starting.
func dynamicFaults(layer map[string]string) []error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(layer)) {
		k, _ := configdef.Broker().Lookup(name)
		if _, err := k.Parse(layer[name]); err != nil {
			faults = append(faults, fmt.Errorf("stored broker configuration is passed over: %w", err))
		}
	}
	return faults
}

// Faults returns what was passed over in the dynamic layers, for the log.
func (r *Resolver) Faults() []error { return r.faults }

// byStrength returns the layers, the strongest first.
func (l layers) byStrength() [3]map[string]string {
	return [3]map[string]string{l.perBroker, l.cluster, l.static}
}

// own returns a broker key's value from the keys's own name alone, or its default.
func (r *Resolver) own(k configdef.Key) configdef.Value {
	for _, layer := range r.layers.byStrength() {
		if text, ok := layer[k.Name]; ok {
			if v, err := k.Parse(text); err == nil {
				return v
			}
		}
	}
	return k.DefaultValue()
}

// inherited returns the value that a topic or group key takes from the broker's keys, or its default.
func (r *Resolver) inherited(k configdef.Key) configdef.Value {
	for _, layer := range r.layers.byStrength() {
		for _, s := range k.Synonyms {
			text, ok := layer[s.Name]
			if !ok {
				continue
			}
			b, _ := configdef.Broker().Lookup(s.Name)
			if v, err := b.Parse(text); err == nil {
				return converted(k, v, s.Unit)
			}
		}
	}
	for _, s := range k.Synonyms {
		b, _ := configdef.Broker().Lookup(s.Name)
		if b.HasDefault {
			return converted(k, b.DefaultValue(), s.Unit)
		}
	}
	return k.DefaultValue()
}

// converted turns a broker key's value into that of the key it stands for.
func converted(k configdef.Key, v configdef.Value, unit configdef.Unit) configdef.Value {
	if k.Name == "retention.ms" && v.Int() < 0 {
		return configdef.IntValue(k.Type, -1) // every negative number means never
	}
	if unit != configdef.Same {
		return configdef.IntValue(k.Type, v.Int()*int64(unit))
	}
	return v
}
