package metaconfig

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/configdef"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// Op is what a change does to a key, numbered as in an IncrementalAlterConfigs request (KIP-339).
type Op int8

// The operations. Append and Subtract are for lists, and treat them as sets.
const (
	Set      Op = 0
	Delete   Op = 1
	Append   Op = 2
	Subtract Op = 3
)

// Change is one change that a client asks for.
type Change struct {
	Op    Op
	Name  string
	Value *string // may be nil for Delete only
}

// Update is one change to store: a new text, or nil to remove the key.
type Update struct {
	Name  string
	Value *string
}

// maxValueLength is the longest text that is stored, as in Kafka.
const maxValueLength = 32767

// Resource is what a change applies to.
type Resource int8

// The resources. ThisBroker and AllBrokers are one broker's own layer and the cluster's default.
const (
	TopicResource Resource = iota
	GroupResource
	ThisBroker
	AllBrokers
)

// Alter decides an IncrementalAlterConfigs request for one resource that has current stored. It returns
// what to store, in the order of the changes and without what is stored already, or a *kafkaerr.Error:
// InvalidRequest for a malformed request and for anything a broker does not take, InvalidConfig for what a
// topic or group does not take.
func (r *Resolver) Alter(res Resource, current iter.Seq2[string, string], changes []Change) ([]Update, error) {
	return r.alter(res, maps.Collect(current), changes, false)
}

// Replace decides a legacy AlterConfigs request: what is not among the changes, which all are Set, goes.
func (r *Resolver) Replace(res Resource, current iter.Seq2[string, string], changes []Change) ([]Update, error) {
	return r.alter(res, maps.Collect(current), changes, true)
}

// CheckTopic decides whether a topic may be created with those overrides. The error is InvalidConfig.
func (r *Resolver) CheckTopic(overrides iter.Seq2[string, string]) error {
	var changes []Change
	for name, value := range overrides {
		changes = append(changes, Change{Op: Set, Name: name, Value: &value})
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	_, err := r.alter(TopicResource, nil, changes, false)
	return err
}

func (r *Resolver) alter(res Resource, current map[string]string, changes []Change, replace bool) ([]Update, error) {
	if err := wellFormed(changes); err != nil {
		return nil, err
	}
	next := maps.Clone(current)
	if next == nil {
		next = map[string]string{}
	}
	var updates []Update
	var altered, removed []string
	for _, c := range changes {
		text, keep, err := apply(res, c, current)
		if err != nil {
			return nil, err
		}
		stored, was := current[c.Name]
		switch {
		case keep && len(text) > maxValueLength:
			return nil, kafkaerr.New(kafkaerr.InvalidConfig, "the value of %s would have %d bytes; at most %d are stored", c.Name, len(text), maxValueLength)
		case keep:
			altered = append(altered, c.Name)
			next[c.Name] = text
			if !was || stored != text {
				updates = append(updates, Update{c.Name, &text})
			}
		case was:
			removed = append(removed, c.Name)
			delete(next, c.Name)
			updates = append(updates, Update{Name: c.Name})
		}
	}
	if replace {
		for _, name := range slices.Sorted(maps.Keys(current)) {
			if !slices.ContainsFunc(changes, func(c Change) bool { return c.Name == name }) {
				removed = append(removed, name)
				delete(next, name)
				updates = append(updates, Update{Name: name})
			}
		}
	}
	if err := r.check(res, next, altered, removed); err != nil {
		return nil, err
	}
	return updates, nil
}

func wellFormed(changes []Change) error {
	seen := make(map[string]bool, len(changes))
	for _, c := range changes {
		switch {
		case seen[c.Name]:
			return kafkaerr.New(kafkaerr.InvalidRequest, "%s is changed twice in one request", c.Name)
		case c.Op < Set || c.Op > Subtract:
			return kafkaerr.New(kafkaerr.InvalidRequest, "unknown operation %d on %s", c.Op, c.Name)
		case c.Op != Delete && c.Value == nil:
			return kafkaerr.New(kafkaerr.InvalidRequest, "%s has no value", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// apply returns the text that a key has after a change, and whether it has one.
func apply(res Resource, c Change, current map[string]string) (text string, keep bool, err error) {
	switch c.Op {
	case Set:
		return *c.Value, true, nil
	case Delete:
		return "", false, nil
	case Append, Subtract:
	}
	k, ok := table(res).Lookup(c.Name)
	if !ok || k.Type != configdef.List {
		return "", false, kafkaerr.New(kafkaerr.InvalidConfig, "%s is not a list: it can be set or deleted, not appended to or subtracted from", c.Name)
	}
	text, ok = current[c.Name]
	if !ok {
		text = k.Default
	}
	var list []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry != "" {
			list = append(list, entry)
		}
	}
	for entry := range strings.SplitSeq(*c.Value, ",") {
		at := slices.Index(list, entry)
		switch {
		case c.Op == Append && at < 0:
			list = append(list, entry)
		case c.Op == Subtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	return strings.Join(list, ","), true, nil
}

func table(res Resource) *configdef.Def {
	switch res {
	case TopicResource:
		return configdef.Topic()
	case GroupResource:
		return configdef.Group()
	default:
		return configdef.Broker()
	}
}

// check decides whether a resource may have exactly the keys of next. altered are those that the request
// set: only they are refused for having no effect, so that what an older release took can be kept. removed
// are those that it takes away.
func (r *Resolver) check(res Resource, next map[string]string, altered, removed []string) error {
	code := kafkaerr.InvalidConfig
	if res == ThisBroker || res == AllBrokers {
		code = kafkaerr.InvalidRequest
	}
	for _, name := range slices.Sorted(maps.Keys(next)) {
		isNew := slices.Contains(altered, name)
		k, ok := table(res).Lookup(name)
		if !ok || k.Internal && res == TopicResource {
			if !isNew {
				continue
			}
			return kafkaerr.New(code, "unknown %s configuration %s%s", table(res).Scope(), name, suggestion(res, name))
		}
		if isNew && code == kafkaerr.InvalidRequest {
			if err := mayBeDynamic(res, k); err != nil {
				return err
			}
		}
		v, err := k.Parse(next[name])
		if err != nil {
			return kafkaerr.New(code, "%s", err)
		}
		if isNew && k.NoEffect != "" && !k.IsDefault(v.String()) {
			return kafkaerr.New(code, "%s has no effect here and cannot be set away from its default: %s", name, k.NoEffect)
		}
	}
	var err error
	touched := slices.Concat(altered, removed)
	switch res {
	case GroupResource: // its keys stand alone
	case TopicResource:
		err = r.checkTopicRules(next)
	case ThisBroker:
		err = newResolver(r.id, layers{next, r.layers.cluster, r.layers.static}).checkBrokerRules(touched)
	case AllBrokers:
		err = newResolver(r.id, layers{r.layers.perBroker, next, r.layers.static}).checkBrokerRules(touched)
	}
	if err != nil {
		return kafkaerr.New(code, "%s", err)
	}
	return nil
}

func suggestion(res Resource, name string) string {
	if near := table(res).Nearest(name); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// mayBeDynamic refuses what is read at start only, and what has no default for all brokers.
func mayBeDynamic(res Resource, k configdef.Key) error {
	switch {
	case k.NoEffect != "":
		return nil // refused for that, unless it is the default
	case k.Mutability == configdef.ReadOnly:
		return kafkaerr.New(kafkaerr.InvalidRequest, "%s cannot be changed while the broker runs: set it in the broker's configuration and restart", k.Name)
	case k.Mutability == configdef.PerBroker && res == AllBrokers:
		return kafkaerr.New(kafkaerr.InvalidRequest, "%s can be set for one broker only: name the broker's id", k.Name)
	}
	return nil
}

// checkTopicRules holds a topic's values against one another and against what it inherits.
func (r *Resolver) checkTopicRules(overrides map[string]string) error {
	t := r.Topic(maps.All(overrides))
	if t.MinCompactionLagMs > t.MaxCompactionLagMs {
		return fmt.Errorf("min.compaction.lag.ms (%d) must not be above max.compaction.lag.ms (%d)", t.MinCompactionLagMs, t.MaxCompactionLagMs)
	}
	return nil
}

// checkBrokerRules holds a broker's values against one another: the rules of start-up, as far as dynamic
// keys can break them. Only rules about a key that was touched are applied, so that a value that breaks one (an
// older release may have taken it) does not bar every other change.
func (r *Resolver) checkBrokerRules(touched []string) error {
	for _, rule := range brokerRules {
		if !slices.ContainsFunc(rule.keys, func(k string) bool { return slices.Contains(touched, k) }) {
			continue
		}
		if err := rule.check(r); err != nil {
			return err
		}
	}
	return nil
}

type brokerRule struct {
	keys  []string
	check func(*Resolver) error
}

var brokerRules = []brokerRule{
	{[]string{"log.retention.ms"}, func(r *Resolver) error {
		if v := r.brokerValue("log.retention.ms"); !v.Null && v.Int() == 0 {
			return errors.New("log.retention.ms must be at least 1, or -1 for never")
		}
		return nil
	}},
	{[]string{"log.roll.ms"}, func(r *Resolver) error {
		if v := r.brokerValue("log.roll.ms"); !v.Null && v.Int() < 1 {
			return errors.New("log.roll.ms must be at least 1")
		}
		return nil
	}},
	{[]string{"log.roll.jitter.ms"}, func(r *Resolver) error {
		if r.brokerValue("log.roll.jitter.ms").Int() < 0 {
			return errors.New("log.roll.jitter.ms must be at least 0")
		}
		return nil
	}},
	{[]string{"log.cleaner.threads", "log.cleaner.dedupe.buffer.size"}, func(r *Resolver) error {
		c := r.broker.Cleaner
		if c.Threads < 1 {
			return errors.New("log.cleaner.threads must be at least 1; log.cleaner.enable=false turns compaction off at the next start")
		}
		if c.DedupeBufferBytes/int64(c.Threads) <= 1<<20 {
			return fmt.Errorf("log.cleaner.dedupe.buffer.size must be above 1048576 for each of the %d log.cleaner.threads", c.Threads)
		}
		return nil
	}},
	{[]string{"log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"}, func(r *Resolver) error {
		if low, high := r.topic.MinCompactionLagMs, r.topic.MaxCompactionLagMs; low > high {
			return fmt.Errorf("log.cleaner.min.compaction.lag.ms (%d) must not be above log.cleaner.max.compaction.lag.ms (%d)", low, high)
		}
		return nil
	}},
	{[]string{"max.connections.per.ip", "max.connections.per.ip.overrides"}, func(r *Resolver) error {
		overrides, err := configdef.ParseConnectionOverrides(r.brokerValue("max.connections.per.ip.overrides").Text())
		if err != nil {
			return fmt.Errorf("max.connections.per.ip.overrides: %w", err)
		}
		if r.broker.MaxConnectionsPerIP == 0 && len(overrides) == 0 {
			return errors.New("max.connections.per.ip can be 0 only where max.connections.per.ip.overrides lets some clients in")
		}
		return nil
	}},
}
