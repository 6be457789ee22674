package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/walser-io/walser/internal/model"
)

// Topic is the noun topic. Parts that a command does not ask for are left out.
type Topic struct {
	Name              string        `json:"name"`
	ID                string        `json:"id,omitempty"`
	Internal          bool          `json:"internal"`
	PartitionCount    int           `json:"partitionCount"`
	ReplicationFactor int           `json:"replicationFactor"`
	Partitions        []Partition   `json:"partitions,omitempty"`
	Configs           []TopicConfig `json:"configs,omitempty"`
}

// Partition is a part of the noun topic.
type Partition struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"` // -1: none
	LeaderEpoch int32   `json:"leaderEpoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Offline     []int32 `json:"offline"`
	StartOffset *int64  `json:"startOffset"` // null: the leader does not say
	EndOffset   *int64  `json:"endOffset"`
	Error       string  `json:"error,omitempty"`
}

// TopicConfig is a part of the noun topic.
type TopicConfig struct {
	Key       string  `json:"key"`
	Value     *string `json:"value"` // null: sensitive or not set
	Source    string  `json:"source"`
	Sensitive bool    `json:"sensitive,omitempty"`
}

// TopicChange is what a command did to one topic.
type TopicChange struct {
	Name   string `json:"name"`
	Status string `json:"status"` // created, exists, altered, deleted, missing, valid, failed
	Error  string `json:"error,omitempty"`
}

func (a *app) topicCommand() *cobra.Command {
	return parent("topic", "List, describe and change topics", []string{"topics"},
		a.topicList(), a.topicCreate(), a.topicDescribe(), a.topicAlter(), a.topicDelete(), a.topicTrim())
}

func (a *app) topicList() *cobra.Command {
	var internal bool
	c := &cobra.Command{
		Use:     "list [REGEXP]",
		Aliases: []string{"ls"},
		Short:   "List topics, or those whose whole name matches a regular expression",
		Args:    atMostOne("regular expression"),
		RunE: func(cmd *cobra.Command, args []string) error {
			match := func(string) bool { return true }
			if len(args) == 1 {
				re, err := regexp.Compile("^(?:" + args[0] + ")$")
				if err != nil {
					return usage("%v", err)
				}
				match = re.MatchString
			}
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				details, err := c.admin.ListTopicsWithInternal(ctx)
				if err != nil {
					return fmt.Errorf("list topics: %w", err)
				}
				var topics []Topic
				for _, d := range details.Sorted() {
					if match(d.Topic) && (internal || !d.IsInternal) {
						topics = append(topics, topicOf(d))
					}
				}
				return printList(a, topics, topicTable("", topics))
			})
		},
	}
	c.Flags().BoolVarP(&internal, "internal", "i", false, "list internal topics as well")
	return c
}

func topicTable(title string, topics []Topic) section {
	s := section{title: title, headers: []string{"NAME", "PARTITIONS", "REPLICAS", "ID"}, numeric: []int{1, 2}}
	for _, t := range topics {
		s.rows = append(s.rows, []any{t.Name, t.PartitionCount, t.ReplicationFactor, t.ID})
	}
	return s
}

func topicOf(d kadm.TopicDetail) Topic {
	t := Topic{Name: d.Topic, Internal: d.IsInternal, PartitionCount: len(d.Partitions)}
	if d.ID != (kadm.TopicID{}) {
		t.ID = model.UUID(d.ID).String() // as Kafka's tools write it
	}
	for _, p := range d.Partitions {
		t.ReplicationFactor = max(t.ReplicationFactor, len(p.Replicas))
	}
	return t
}

func (a *app) topicCreate() *cobra.Command {
	var (
		partitions  int32
		replicas    int16
		configs     []string
		ifNotExists bool
		dryRun      bool
	)
	c := &cobra.Command{
		Use:     "create TOPIC…",
		Short:   "Create topics",
		Example: "  walser topic create orders -p 12 --config cleanup.policy=compact",
		Args:    atLeastOne("topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := keyValues("--config", configs)
			if err != nil {
				return err
			}
			for name, bad := range map[string]bool{"--partitions (-p)": partitions < 1 && partitions != -1, "--replication-factor (-r)": replicas < 1 && replicas != -1} {
				if bad {
					return usage("%s: want a number above 0, or -1 for the cluster's default", name)
				}
			}
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				create, done := c.admin.CreateTopics, "created"
				if dryRun {
					create, done = c.admin.ValidateCreateTopics, "valid"
				}
				answers, err := create(ctx, partitions, replicas, values, args...)
				if err != nil {
					return fmt.Errorf("create topics: %w", err)
				}
				r := topicResults{a: a}
				for _, name := range args {
					t := answers[name]
					if ifNotExists && errors.Is(t.Err, kerr.TopicAlreadyExists) {
						r.add(name, "exists", nil)
						continue
					}
					r.add(name, done, withMessage(t.Err, t.ErrMessage))
				}
				return r.finish()
			})
		},
	}
	c.Flags().Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1 is the cluster's default")
	c.Flags().Int16VarP(&replicas, "replication-factor", "r", -1, "copies of each partition; -1 is the cluster's default")
	c.Flags().StringArrayVarP(&configs, "config", "c", nil, "topic setting as `key=value`; may be repeated")
	c.Flags().BoolVar(&ifNotExists, "if-not-exists", false, "a topic that exists is no error")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "let the cluster check, create nothing")
	return c
}

func (a *app) topicDescribe() *cobra.Command {
	var onlyConfigs, onlyPartitions bool
	c := &cobra.Command{
		Use:               "describe TOPIC…",
		Short:             "Show partitions and settings of topics",
		Args:              atLeastOne("topic"),
		ValidArgsFunction: a.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				return a.describeTopics(ctx, c.admin, args, !onlyConfigs || onlyPartitions, !onlyPartitions || onlyConfigs)
			})
		},
	}
	c.Flags().BoolVar(&onlyConfigs, "configs", false, "show the settings")
	c.Flags().BoolVar(&onlyPartitions, "partitions", false, "show the partitions")
	return c
}

func (a *app) describeTopics(ctx context.Context, adm admin, names []string, partitions, configs bool) error {
	details, err := adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return fmt.Errorf("describe topics: %w", err)
	}
	var (
		results outcomes
		topics  []Topic
		found   []string
	)
	for _, name := range names {
		err := details[name].Err
		if _, ok := details[name]; !ok {
			err = kerr.UnknownTopicOrPartition
		}
		results.add("topic "+name, err)
		if err == nil {
			topics, found = append(topics, topicOf(details[name])), append(found, name)
		}
	}
	if len(found) == 0 {
		return results.err(a)
	}
	if partitions {
		starts, err := adm.ListStartOffsets(ctx, found...)
		if err != nil && !isShardError(err) {
			return fmt.Errorf("list start offsets: %w", err)
		}
		ends, err := adm.ListEndOffsets(ctx, found...)
		if err != nil && !isShardError(err) {
			return fmt.Errorf("list end offsets: %w", err)
		}
		for i := range topics {
			topics[i].Partitions = partitionsOf(details[topics[i].Name], starts, ends)
		}
	}
	if configs {
		all, err := adm.DescribeTopicConfigs(ctx, found...)
		if err != nil {
			return fmt.Errorf("describe topic configs: %w", err)
		}
		for i := range topics {
			rc, err := all.On(topics[i].Name, nil)
			if err != nil {
				return fmt.Errorf("describe configs of %s: %w", topics[i].Name, err)
			}
			topics[i].Configs = configsOf(rc)
		}
	}
	if err := printList(a, topics, describeTables(topics, partitions, configs)...); err != nil {
		return err
	}
	return results.err(a)
}

// isShardError says whether only some brokers failed: then the answers of the others are worth showing.
func isShardError(err error) bool {
	_, ok := errors.AsType[*kadm.ShardErrors](err)
	return ok
}

func partitionsOf(d kadm.TopicDetail, starts, ends kadm.ListedOffsets) []Partition {
	all := []Partition{}
	for _, p := range d.Partitions.Sorted() {
		q := Partition{
			Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch,
			Replicas: nonNil(p.Replicas), ISR: nonNil(p.ISR), Offline: nonNil(p.OfflineReplicas),
			StartOffset: offsetOf(starts, p), EndOffset: offsetOf(ends, p),
		}
		if p.Err != nil {
			q.Error = p.Err.Error()
		}
		all = append(all, q)
	}
	return all
}

func offsetOf(offsets kadm.ListedOffsets, p kadm.PartitionDetail) *int64 {
	o, ok := offsets.Lookup(p.Topic, p.Partition)
	if !ok || o.Err != nil || o.Offset < 0 {
		return nil
	}
	return &o.Offset
}

func nonNil(s []int32) []int32 {
	if s == nil {
		return []int32{}
	}
	return s
}

func configsOf(rc kadm.ResourceConfig) []TopicConfig {
	all := []TopicConfig{}
	for _, c := range rc.Configs {
		all = append(all, TopicConfig{Key: c.Key, Value: c.Value, Source: c.Source.String(), Sensitive: c.Sensitive})
	}
	slices.SortFunc(all, func(x, y TopicConfig) int { return strings.Compare(x.Key, y.Key) })
	return all
}

func describeTables(topics []Topic, partitions, configs bool) []section {
	var all []section
	for _, t := range topics {
		if partitions && configs {
			all = append(all, topicTable("TOPIC", []Topic{t}))
		}
		if partitions {
			s := section{title: "PARTITIONS of " + t.Name, headers: []string{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "ERROR"}, numeric: []int{0, 1, 2, 5, 6}}
			for _, p := range t.Partitions {
				s.rows = append(s.rows, []any{p.Partition, p.Leader, p.LeaderEpoch, idList(p.Replicas), idList(p.ISR), orDash(p.StartOffset), orDash(p.EndOffset), p.Error})
			}
			all = append(all, s)
		}
		if configs {
			s := section{title: "CONFIGS of " + t.Name, headers: []string{"KEY", "VALUE", "SOURCE"}}
			for _, c := range t.Configs {
				v := "-"
				switch {
				case c.Sensitive:
					v = "(sensitive)"
				case c.Value != nil:
					v = *c.Value
				}
				s.rows = append(s.rows, []any{c.Key, v, c.Source})
			}
			all = append(all, s)
		}
	}
	return all
}

func idList(ids []int32) string {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = fmt.Sprint(id)
	}
	return strings.Join(text, ",")
}

func orDash(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func (a *app) topicAlter() *cobra.Command {
	var (
		set, unset, appended, subtracted []string
		partitions                       int
	)
	c := &cobra.Command{
		Use:               "alter TOPIC…",
		Short:             "Change settings of topics, or give them more partitions",
		Example:           "  walser topic alter orders --set retention.ms=3600000 --unset cleanup.policy\n  walser topic alter orders --partitions 24",
		Args:              atLeastOne("topic"),
		ValidArgsFunction: a.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := configChanges(set, unset, appended, subtracted)
			if err != nil {
				return err
			}
			if len(changes) == 0 && partitions == 0 {
				return usage("nothing to change: give --set, --unset, --append, --subtract or --partitions")
			}
			if partitions < 0 {
				return usage("--partitions %d: want the new total, above what there is", partitions)
			}
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				return a.alterTopics(ctx, c.admin, args, changes, partitions)
			})
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "set `key=value`; may be repeated")
	c.Flags().StringArrayVar(&unset, "unset", nil, "give `key` its default again; may be repeated")
	c.Flags().StringArrayVar(&appended, "append", nil, "add to a list: `key=value`; may be repeated")
	c.Flags().StringArrayVar(&subtracted, "subtract", nil, "take from a list: `key=value`; may be repeated")
	c.Flags().IntVarP(&partitions, "partitions", "p", 0, "the new `total` of partitions")
	return c
}

func (a *app) alterTopics(ctx context.Context, adm admin, names []string, changes []kadm.AlterConfig, partitions int) error {
	failed := map[string]error{}
	if len(changes) > 0 {
		answers, err := adm.AlterTopicConfigs(ctx, changes, names...)
		if err != nil {
			return fmt.Errorf("alter topic configs: %w", err)
		}
		for _, t := range answers {
			failed[t.Name] = withMessage(t.Err, t.ErrMessage)
		}
	}
	if partitions > 0 {
		var rest []string
		for _, name := range names {
			if failed[name] == nil {
				rest = append(rest, name)
			}
		}
		if len(rest) > 0 {
			answers, err := adm.UpdatePartitions(ctx, partitions, rest...)
			if err != nil {
				return fmt.Errorf("add partitions: %w", err)
			}
			for _, t := range answers {
				failed[t.Topic] = withMessage(t.Err, t.ErrMessage)
			}
		}
	}
	r := topicResults{a: a}
	for _, name := range names {
		r.add(name, "altered", failed[name])
	}
	return r.finish()
}

// configChanges makes a list of changes out of the flags of alter.
func configChanges(set, unset, appended, subtracted []string) ([]kadm.AlterConfig, error) {
	var changes []kadm.AlterConfig
	for _, f := range []struct {
		flag string
		op   kadm.IncrementalOp
		from []string
	}{{"--set", kadm.SetConfig, set}, {"--append", kadm.AppendConfig, appended}, {"--subtract", kadm.SubtractConfig, subtracted}} {
		values, err := keyValues(f.flag, f.from)
		if err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(values)) {
			changes = append(changes, kadm.AlterConfig{Op: f.op, Name: k, Value: values[k]})
		}
	}
	for _, k := range unset {
		if strings.Contains(k, "=") {
			return nil, usage("--unset %s: want a key alone", k)
		}
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
	}
	return changes, nil
}

func keyValues(flag string, pairs []string) (map[string]*string, error) {
	all := map[string]*string{}
	for _, kv := range pairs {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usage("%s %s: want key=value", flag, kv)
		}
		if _, twice := all[k]; twice {
			return nil, usage("%s %s: %s is given twice", flag, kv, k)
		}
		all[k] = &v
	}
	return all, nil
}

func (a *app) topicDelete() *cobra.Command {
	var ifExists bool
	c := &cobra.Command{
		Use:               "delete TOPIC…",
		Short:             "Delete topics and their records",
		Args:              atLeastOne("topic"),
		ValidArgsFunction: a.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm(cmd.Context(), "Delete %s with all records?", strings.Join(args, ", ")); err != nil {
				return err
			}
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				answers, err := c.admin.DeleteTopics(ctx, args...)
				if err != nil {
					return fmt.Errorf("delete topics: %w", err)
				}
				r := topicResults{a: a}
				for _, name := range args {
					t := answers[name]
					if ifExists && errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
						r.add(name, "missing", nil)
						continue
					}
					r.add(name, "deleted", withMessage(t.Err, t.ErrMessage))
				}
				return r.finish()
			})
		},
	}
	c.Flags().BoolVar(&ifExists, "if-exists", false, "a topic that does not exist is no error")
	return c
}

// withMessage puts what the broker said in place of what its code says in general.
func withMessage(err error, message string) error {
	code, ok := errors.AsType[*kerr.Error](err)
	if !ok || message == "" || message == code.Description {
		return err
	}
	return &brokerError{message, code}
}

// brokerError is an error code with the broker's own words.
type brokerError struct {
	message string
	code    *kerr.Error
}

func (e *brokerError) Error() string { return e.code.Message + ": " + e.message }
func (e *brokerError) Unwrap() error { return e.code }

// topicResults gathers what was done to each of several topics.
type topicResults struct {
	a       *app
	changes []TopicChange
	outcomes
}

func (r *topicResults) add(name, status string, err error) {
	c := TopicChange{Name: name, Status: status}
	if err != nil {
		c.Status, c.Error = "failed", err.Error()
	}
	r.changes = append(r.changes, c)
	r.outcomes.add("topic "+name, err)
}

// finish prints the results. Where nothing but one thing was tried and failed, the error says it all.
func (r *topicResults) finish() error {
	if table := r.a.flags.output == "" || r.a.flags.output == outputTable; !table || r.done > 0 {
		s := section{headers: []string{"TOPIC", "STATUS"}}
		for _, c := range r.changes {
			s.rows = append(s.rows, []any{c.Name, c.Status})
		}
		if err := printList(r.a, r.changes, s); err != nil {
			return err
		}
	}
	return r.err(r.a)
}

// completeTopics completes topic names, if a cluster answers quickly.
func (a *app) completeTopics(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	a.flags.quiet, a.flags.timeout = true, completionTimeout
	var names []string
	err := a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
		details, err := c.admin.ListTopicsWithInternal(ctx)
		for _, d := range details.Sorted() {
			if !d.IsInternal {
				names = append(names, d.Topic)
			}
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
