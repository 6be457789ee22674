package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// completionTimeout bounds how long the shell waits for completions.
const completionTimeout = time.Second

// Group is the noun group. Parts that a command does not ask for are left out.
type Group struct {
	Name         string        `json:"name"`
	State        string        `json:"state"`
	ProtocolType string        `json:"protocolType"`
	Protocol     string        `json:"protocol,omitempty"`
	Coordinator  int32         `json:"coordinator"`
	Lag          *int64        `json:"lag,omitempty"` // of all partitions whose lag is known
	Members      []GroupMember `json:"members,omitempty"`
	Offsets      []GroupOffset `json:"offsets,omitempty"`
}

// GroupMember is a part of the noun group.
type GroupMember struct {
	ID         string   `json:"id"`
	InstanceID string   `json:"instanceId,omitempty"`
	ClientID   string   `json:"clientId"`
	Host       string   `json:"host"`
	Assigned   []string `json:"assigned"` // topic-partition
}

// GroupOffset is a part of the noun group.
type GroupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null: none
	EndOffset *int64 `json:"endOffset"`
	Lag       *int64 `json:"lag"`
	Member    string `json:"member,omitempty"`
	Error     string `json:"error,omitempty"`
}

// GroupChange is what a command did to one group.
type GroupChange struct {
	Name   string `json:"name"`
	Status string `json:"status"` // deleted, failed
	Error  string `json:"error,omitempty"`
}

// OffsetChange is where group seek moves a partition of a group.
type OffsetChange struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    *int64 `json:"before"` // null: nothing was committed
	After     int64  `json:"after"`
	Status    string `json:"status"` // planned, moved, failed
	Error     string `json:"error,omitempty"`
}

func (a *app) groupCommand() *cobra.Command {
	return parent("group", "List, describe and move consumer groups", []string{"groups"},
		a.groupList(), a.groupDescribe(), a.groupSeek(), a.groupDelete())
}

func (a *app) groupList() *cobra.Command {
	var states []string
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List groups",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				listed, err := c.admin.ListGroups(ctx, states...)
				if err != nil {
					return fmt.Errorf("list groups: %w", err)
				}
				var groups []Group
				s := section{headers: []string{"GROUP", "STATE", "TYPE", "COORDINATOR"}, numeric: []int{3}}
				for _, g := range listed.Sorted() {
					groups = append(groups, Group{Name: g.Group, State: g.State, ProtocolType: g.ProtocolType, Coordinator: g.Coordinator})
					s.rows = append(s.rows, []any{g.Group, g.State, g.ProtocolType, g.Coordinator})
				}
				return printList(a, groups, s)
			})
		},
	}
	c.Flags().StringSliceVar(&states, "state", nil, "only groups in these `states`: Empty, Stable, PreparingRebalance, CompletingRebalance, Dead")
	return c
}

func (a *app) groupDescribe() *cobra.Command {
	return &cobra.Command{
		Use:               "describe GROUP…",
		Short:             "Show members, committed offsets and lag of groups",
		Args:              atLeastOne("group"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				return a.describeGroups(ctx, c.admin, args)
			})
		},
	}
}

func (a *app) describeGroups(ctx context.Context, adm admin, names []string) error {
	lags, err := adm.Lag(ctx, names...)
	if err != nil && !isShardError(err) {
		return fmt.Errorf("describe groups: %w", err)
	}
	var (
		results outcomes
		groups  []Group
		tables  []section
	)
	for _, name := range names {
		l, ok := lags[name]
		err := errors.Join(l.DescribeErr, l.FetchErr)
		if err == nil && (!ok || l.State == "Dead" && len(l.Lag) == 0) {
			err = kerr.GroupIDNotFound
		}
		results.add("group "+name, err)
		if err == nil {
			g := groupOf(l)
			groups, tables = append(groups, g), append(tables, groupTables(g)...)
		}
	}
	if len(groups) > 0 {
		if err := printList(a, groups, tables...); err != nil {
			return err
		}
	}
	return results.err(a)
}

func groupOf(l kadm.DescribedGroupLag) Group {
	g := Group{
		Name: l.Group, State: l.State, ProtocolType: l.ProtocolType, Protocol: l.Protocol, Coordinator: l.Coordinator.NodeID,
		Lag: new(l.Lag.Total()), Members: []GroupMember{}, Offsets: []GroupOffset{},
	}
	for _, m := range l.Members {
		member := GroupMember{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, Assigned: []string{}}
		if m.InstanceID != nil {
			member.InstanceID = *m.InstanceID
		}
		if as, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range as.Topics {
				for _, p := range slices.Sorted(slices.Values(t.Partitions)) {
					member.Assigned = append(member.Assigned, fmt.Sprintf("%s-%d", t.Topic, p))
				}
			}
		}
		g.Members = append(g.Members, member)
	}
	for _, p := range l.Lag.Sorted() {
		o := GroupOffset{Topic: p.Topic, Partition: p.Partition}
		if p.Commit.At >= 0 {
			o.Committed = &p.Commit.At
		}
		if p.End.Err == nil && p.End.Offset >= 0 {
			o.EndOffset = &p.End.Offset
		}
		if p.Lag >= 0 {
			o.Lag = &p.Lag
		}
		if p.Member != nil {
			o.Member = p.Member.MemberID
		}
		if p.Err != nil {
			o.Error = p.Err.Error()
		}
		g.Offsets = append(g.Offsets, o)
	}
	return g
}

func groupTables(g Group) []section {
	head := section{
		title: "GROUP", headers: []string{"GROUP", "STATE", "TYPE", "PROTOCOL", "COORDINATOR", "LAG"}, numeric: []int{4, 5},
		rows: [][]any{{g.Name, g.State, g.ProtocolType, g.Protocol, g.Coordinator, orDash(g.Lag)}},
	}
	members := section{title: "MEMBERS of " + g.Name, headers: []string{"MEMBER", "INSTANCE", "CLIENT", "HOST", "ASSIGNED"}}
	for _, m := range g.Members {
		members.rows = append(members.rows, []any{m.ID, m.InstanceID, m.ClientID, m.Host, strings.Join(m.Assigned, ",")})
	}
	offsets := section{title: "OFFSETS of " + g.Name, headers: []string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "ERROR"}, numeric: []int{1, 2, 3, 4}}
	for _, o := range g.Offsets {
		offsets.rows = append(offsets.rows, []any{o.Topic, o.Partition, orDash(o.Committed), orDash(o.EndOffset), orDash(o.Lag), o.Member, o.Error})
	}
	return []section{head, members, offsets}
}

func (a *app) groupSeek() *cobra.Command {
	var (
		to     string
		topics []string
		dryRun bool
	)
	c := &cobra.Command{
		Use:   "seek GROUP",
		Short: "Move the committed offsets of a group that has no running members",
		Long: `Move the committed offsets of a group that has no running members. Without --topic every partition moves
that the group has committed.

--to takes: ` + offsetGrammar + ` (no range here).`,
		Example:           "  walser group seek billing --to @-1h\n  walser group seek billing --to start --topic orders --topic refunds:3",
		Args:              exactly("a group"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usage("--to is missing: where to?")
			}
			r, err := parseRange(to, a.Now())
			if err == nil && r.to != nil {
				err = errors.New("want a position, not a range")
			}
			if err != nil {
				return usage("--to: %v", err)
			}
			chosen, err := parsePartitions(topics)
			if err != nil {
				return err
			}
			s, err := a.clientSettings()
			if err != nil {
				return err
			}
			return a.open(cmd.Context(), s, nil, func(c *client) error {
				return a.seekGroup(cmd.Context(), c.admin, args[0], r.from, chosen, dryRun)
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "`offset` to move to")
	c.Flags().StringArrayVar(&topics, "topic", nil, "`TOPIC[:PARTITION]` to move; may be repeated")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would move, move nothing")
	return c
}

// parsePartitions reads TOPIC[:PARTITION] flags. Without a partition the list of a topic is empty: all.
func parsePartitions(flags []string) (map[string][]int32, error) {
	chosen := map[string][]int32{}
	for _, f := range flags {
		topic, number, some := strings.Cut(f, ":")
		if topic == "" {
			return nil, usage("--topic %s: want TOPIC or TOPIC:PARTITION", f)
		}
		if _, before := chosen[topic]; before && (!some || len(chosen[topic]) == 0) {
			return nil, usage("--topic %s: the whole topic and a partition of it are both given", f)
		}
		chosen[topic] = slices.Clip(chosen[topic])
		if some {
			p, err := strconv.ParseInt(number, 10, 32)
			if err != nil || p < 0 {
				return nil, usage("--topic %s: %q is no partition", f, number)
			}
			chosen[topic] = append(chosen[topic], int32(p))
		}
	}
	return chosen, nil
}

// seekGroup plans, asks and moves. The timeout bounds what the cluster takes, not the user.
func (a *app) seekGroup(ctx context.Context, adm admin, group string, to position, chosen map[string][]int32, dryRun bool) error {
	planning, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	changes, err := planSeek(planning, adm, group, to, chosen)
	if err != nil {
		return err
	}
	if dryRun {
		return a.printSeek(changes)
	}
	if err := a.confirm(ctx, "Move %d partitions of group %s?", len(changes), group); err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	for _, c := range changes {
		offsets.AddOffset(c.Topic, c.Partition, c.After, -1)
	}
	moving, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	answers, err := adm.CommitOffsets(moving, group, offsets)
	if err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", group, err)
	}
	var results outcomes
	for i := range changes {
		c := &changes[i]
		answer, _ := answers.Lookup(c.Topic, c.Partition)
		c.Status = "moved"
		if answer.Err != nil {
			c.Status, c.Error = "failed", answer.Err.Error()
		}
		results.add(fmt.Sprintf("%s-%d", c.Topic, c.Partition), answer.Err)
	}
	if err := a.printSeek(changes); err != nil {
		return err
	}
	return results.err(a)
}

// planSeek says where each partition would move. No topics chosen means everything that is committed.
func planSeek(ctx context.Context, adm admin, group string, to position, chosen map[string][]int32) ([]OffsetChange, error) {
	if err := mustBeEmpty(ctx, adm, group); err != nil {
		return nil, err
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("fetch offsets of group %s: %w", group, err)
	}
	if len(chosen) == 0 {
		chosen = map[string][]int32{}
		for _, o := range committed.Sorted() {
			chosen[o.Topic] = append(chosen[o.Topic], o.Partition)
		}
	}
	if len(chosen) == 0 {
		return nil, &Failure{Code: ExitNotFound, Cause: fmt.Errorf("group %s has committed nothing", group), Setting: "--topic", Fix: "say which topics to give it offsets for"}
	}
	var changes []OffsetChange
	for topic, partitions := range chosen {
		spans, err := resolveSpans(ctx, adm, []string{topic}, partitions, offsetRange{from: to})
		if err != nil {
			return nil, err
		}
		for tp, s := range spans {
			c := OffsetChange{Group: group, Topic: tp.Topic, Partition: tp.Partition, After: s.from, Status: "planned"}
			if o, ok := committed.Lookup(tp.Topic, tp.Partition); ok && o.At >= 0 {
				c.Before = &o.At
			}
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(x, y OffsetChange) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return changes, nil
}

// mustBeEmpty refuses a group with members. A group that does not exist is empty: it may be given offsets.
func mustBeEmpty(ctx context.Context, adm admin, group string) error {
	described, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		return fmt.Errorf("describe group %s: %w", group, err)
	}
	g := described[group]
	if g.Err != nil && !errors.Is(g.Err, kerr.GroupIDNotFound) {
		return fmt.Errorf("describe group %s: %w", group, g.Err)
	}
	if n := len(g.Members); n > 0 {
		return &Failure{
			Code: ExitConflict, Cause: fmt.Errorf("group %s is %s and has %d running members, which would overwrite the offsets", group, g.State, n),
			Fix: "stop the group's consumers first; `walser group describe " + group + "` names them",
		}
	}
	return nil
}

func (a *app) printSeek(changes []OffsetChange) error {
	s := section{headers: []string{"TOPIC", "PARTITION", "BEFORE", "AFTER", "STATUS"}, numeric: []int{1, 2, 3}}
	for _, c := range changes {
		s.rows = append(s.rows, []any{c.Topic, c.Partition, orDash(c.Before), c.After, c.Status})
	}
	return printList(a, changes, s)
}

func (a *app) groupDelete() *cobra.Command {
	return &cobra.Command{
		Use:               "delete GROUP…",
		Short:             "Delete groups that have no running members, and their committed offsets",
		Args:              atLeastOne("group"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm(cmd.Context(), "Delete %s with all committed offsets?", strings.Join(args, ", ")); err != nil {
				return err
			}
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				answers, err := c.admin.DeleteGroups(ctx, args...)
				if err != nil && !isShardError(err) {
					return fmt.Errorf("delete groups: %w", err)
				}
				var (
					results outcomes
					changes []GroupChange
					s       = section{headers: []string{"GROUP", "STATUS"}}
				)
				for _, name := range args {
					change := GroupChange{Name: name, Status: "deleted"}
					answer, ok := answers[name]
					if !ok {
						answer.Err = err
					}
					if answer.Err != nil {
						change.Status, change.Error = "failed", answer.Err.Error()
					}
					results.add("group "+name, answer.Err)
					changes, s.rows = append(changes, change), append(s.rows, []any{name, change.Status})
				}
				if table := a.flags.output == "" || a.flags.output == outputTable; !table || results.done > 0 {
					if err := printList(a, changes, s); err != nil {
						return err
					}
				}
				return results.err(a)
			})
		},
	}
}

// completeGroups completes group names, if a cluster answers quickly.
func (a *app) completeGroups(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	a.flags.quiet, a.flags.timeout = true, completionTimeout
	var names []string
	err := a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
		listed, err := c.admin.ListGroups(ctx)
		names = listed.Groups()
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
