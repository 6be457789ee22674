package configdef

import (
	"iter"
	"slices"
	"strings"
)

// Def is an immutable table of the keys of one scope.
type Def struct {
	scope  Scope
	keys   []Key
	byName map[string]int
}

// The tables are built once, hold no state and never change.
var (
	broker = newDef(BrokerScope, nodeKeys(), networkKeys(), logKeys(), groupCoordinatorKeys(), shareKeys(),
		transactionKeys(), replicationKeys(), quotaKeys(), securityKeys(), remoteKeys())
	topic         = newDef(TopicScope, topicKeys())
	group         = newDef(GroupScope, groupKeys())
	clientMetrics = newDef(ClientMetricsScope, clientMetricsKeys())
)

// Broker returns the keys of a node: what server.properties may hold.
func Broker() *Def { return broker }

// Topic returns the keys of one topic.
func Topic() *Def { return topic }

// Group returns the keys of one group.
func Group() *Def { return group }

// ClientMetrics returns the keys of one client metrics subscription (KIP-714).
func ClientMetrics() *Def { return clientMetrics }

func newDef(scope Scope, tables ...[]Key) *Def {
	d := &Def{scope: scope, keys: slices.Concat(tables...)}
	slices.SortFunc(d.keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	d.byName = make(map[string]int, len(d.keys))
	for i := range d.keys {
		d.keys[i].Scope = scope
		d.byName[d.keys[i].Name] = i
	}
	return d
}

// Scope returns what the keys of the table configure.
func (d *Def) Scope() Scope { return d.scope }

// Keys yields every key of the table, sorted by name.
func (d *Def) Keys() iter.Seq[Key] { return slices.Values(d.keys) }

// Len returns the number of keys.
func (d *Def) Len() int { return len(d.keys) }

// Lookup returns the key of that name. In the broker table, listener.name.<listener>.<key> is <key>
// for one listener, and listener.name.<listener>.<mechanism>.<key> for one SASL mechanism on it.
func (d *Def) Lookup(name string) (Key, bool) {
	if i, ok := d.byName[name]; ok {
		return d.keys[i], true
	}
	if d.scope != BrokerScope {
		return Key{}, false
	}
	base, ok := d.listenerBase(name)
	if !ok {
		return Key{}, false
	}
	k := d.keys[d.byName[base]]
	k.Name = name
	k.Default, k.HasDefault, k.KafkaDefault = "", false, ""
	k.Synonyms = []Synonym{{Name: base, Unit: Same}}
	k.Mutability, k.KafkaMutability = ReadOnly, ReadOnly
	if k.NoEffect == "" {
		k.NoEffect = noListenerOverrides
	}
	return k, true
}

const listenerPrefix = "listener.name."

// mechanismKeys may stand behind a SASL mechanism's name.
var mechanismKeys = [...]string{
	"sasl.jaas.config", "sasl.login.callback.handler.class", "sasl.login.class",
	"sasl.server.callback.handler.class", "connections.max.reauth.ms",
}

// listenerBase returns the key that name overrides for one listener.
func (d *Def) listenerBase(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	if !ok {
		return "", false
	}
	listener, base, ok := strings.Cut(rest, ".")
	if !ok || listener == "" {
		return "", false
	}
	if _, ok := d.byName[base]; ok {
		return base, true
	}
	for _, key := range mechanismKeys {
		if mechanism, ok := strings.CutSuffix(base, "."+key); ok && mechanism != "" {
			return key, true
		}
	}
	return "", false
}

// Nearest returns the key of the table whose name is closest to a name that is not in it, for a
// did-you-mean; "" if none is close.
func (d *Def) Nearest(name string) string {
	best, bestDistance := "", len(name)/4+1
	for _, k := range d.keys {
		if k.Internal {
			continue
		}
		if n := distance(name, k.Name, bestDistance); n < bestDistance {
			best, bestDistance = k.Name, n
		}
	}
	return best
}

// distance is the number of single-letter edits between a and b, or limit if there are as many.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			cost := 1
			if lower(a[i]) == lower(b[j]) {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
			least = min(least, next)
		}
		if least >= limit {
			return limit
		}
	}
	return row[len(b)]
}

// lower folds letters, and the separators that are most often mixed up.
func lower(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_' || c == '-':
		return '.'
	}
	return c
}
