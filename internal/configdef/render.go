package configdef

import (
	"fmt"
	"slices"
	"strings"
)

// RenderCompat writes, as Markdown, how Walser's configuration differs from Kafka's: defaults and meanings,
// keys of its own, and keys without an effect, by reason. docs/config-compat.md is its output.
func RenderCompat() string {
	var b strings.Builder
	b.WriteString("# Configuration: where Walser is not Kafka\n\n" +
		generatedNote +
		"Keys, types, bounds and update modes are those of Apache Kafka 4.3. What differs is here, all of it.\n\n" +
		"## Other defaults, other meanings\n\n" +
		"| key | Walser | Kafka | why |\n|---|---|---|---|\n")
	for _, d := range []*Def{broker, topic, group, clientMetrics} {
		for k := range d.Keys() {
			if k.Reason == "" {
				continue
			}
			ours, theirs := code(k.Default), code(k.KafkaDefault)
			if !k.HasDefault {
				ours = "not set"
			}
			if strings.Contains(k.KafkaDefault, " ") {
				theirs = k.KafkaDefault
			}
			if k.KafkaDefault == "" {
				theirs = ours
			}
			if k.Mutability != k.KafkaMutability {
				ours += ", " + k.Mutability.String()
				theirs += ", " + k.KafkaMutability.String()
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, ours, theirs, k.Reason)
		}
	}
	b.WriteString("\n## Keys that Kafka does not have\n\n| key | of | default | what it does |\n|---|---|---|---|\n")
	for _, d := range []*Def{broker, topic, group, clientMetrics} {
		for k := range d.Keys() {
			if k.Own {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.Scope, defaultText(k), k.Doc)
			}
		}
	}
	b.WriteString("\n## Other answers\n\n" + otherAnswers + "\n## Keys without an effect\n\n" +
		"They are read, checked and described as in Kafka. One that is set away from its default is warned of at start,\n" +
		"and refused by AlterConfigs and CreateTopics. A key in **bold** keeps the node from starting instead: to ignore\n" +
		"it would leave open what it asks to be closed. Any key for a single listener (`listener.name.…`) is among them.\n")
	for _, reason := range reasons() {
		fmt.Fprintf(&b, "\n%s:\n", upperFirst(reason))
		for _, d := range []*Def{broker, topic, group, clientMetrics} {
			var names []string
			for k := range d.Keys() {
				if k.NoEffect != reason {
					continue
				}
				name := code(k.Name)
				if k.FailClosed {
					name = "**" + name + "**"
				}
				names = append(names, name)
			}
			if len(names) > 0 {
				fmt.Fprintf(&b, "- %s: %s\n", d.scope, strings.Join(names, ", "))
			}
		}
	}
	return b.String()
}

// RenderReference writes, as Markdown, every key that takes effect. docs/configuration.md is its output.
func RenderReference() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" + generatedNote +
		"A node takes Kafka's `server.properties`, the same keys as YAML (`--config FILE`), environment variables\n" +
		"(`WALSER_LOG_DIRS` or `KAFKA_LOG_DIRS` for `log.dirs`; `__` stands for `_` and `___` for `-`) and flags\n" +
		"(`--set key=value`); flags win over the environment, and that over the file. Without any of them it listens on\n" +
		"loopback. Keys of Kafka that are not here have no effect: see [config-compat.md](config-compat.md).\n")
	for _, section := range []struct {
		def         *Def
		title, note string
	}{
		{broker, "Keys of a node", "The last column says whether a key can be changed while the node runs: for all brokers (cluster-wide), for one (per-broker), or not (read-only)."},
		{topic, "Keys of a topic", "A topic that does not set a key takes it from the node's key in the last column."},
	} {
		last := "changes"
		if section.def == topic {
			last = "from"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| key | type | default | allowed | what it does | %s |\n|---|---|---|---|---|---|\n", section.title, section.note, last)
		for k := range section.def.Keys() {
			if k.NoEffect != "" || k.Internal {
				continue
			}
			last := k.Mutability.String()
			if k.Scope == TopicScope {
				var from []string
				for _, s := range k.Synonyms {
					from = append(from, code(s.Name))
				}
				last = strings.Join(from, ", ")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", k.Name, k.Type, defaultText(k), k.Bound, k.Doc, last)
		}
	}
	return b.String()
}

// otherAnswers are the differences that are rules rather than rows. Package config checks files, package
// metaconfig requests.
const otherAnswers = `- A number that only Java takes for one (1d, NaN) is refused.
- At start every fault is listed, with its key, value, bound, place and remedy; Kafka stops at the first.
- An unknown key in a file is warned of; AlterConfigs for a broker refuses it (Kafka stores it for plug-ins).
- A value that crosses log.cleaner.min.compaction.lag.ms and log.cleaner.max.compaction.lag.ms is refused for
  brokers as it is for topics; Kafka lets it in, and then refuses changes to topics.
- log.cleaner.threads=0 is refused by name (Kafka: "/ by zero"), and the number may change by any factor.
- Above max.connections a new connection is closed at once; Kafka leaves it waiting until another one ends.
- 0 is refused for the intervals of the checkpoints; Kafka then writes them once. offsets.topic.segment.bytes below
  1048576 is refused, with which the topic could never be made.
- max.connections.per.ip.overrides takes addresses only; Kafka looks up names, once.
- Without inter.broker.listener.name, a node that has no listener called PLAINTEXT uses its first one.
- Once a dynamic log.retention.ms or log.flush.interval.ms is set, DescribeConfigs still answers what the file
  says for the keys it overrides (log.retention.hours and the like); Kafka answers their defaults.
- A node must be broker and controller, and the listeners of controller.listener.names are not opened while it is
  the only controller.
`

const generatedNote = "<!-- Rendered from internal/configdef; go test ./internal/configdef -rewrite -->\n\n"

// reasons returns every reason of NoEffect, sorted.
func reasons() []string {
	var all []string
	for _, d := range []*Def{broker, topic, group, clientMetrics} {
		for k := range d.Keys() {
			if k.NoEffect != "" && !slices.Contains(all, k.NoEffect) {
				all = append(all, k.NoEffect)
			}
		}
	}
	slices.Sort(all)
	return all
}

func defaultText(k Key) string {
	if !k.HasDefault {
		return "not set"
	}
	return code(k.Default)
}

func code(s string) string {
	if s == "" {
		return "empty"
	}
	return "`" + s + "`"
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
