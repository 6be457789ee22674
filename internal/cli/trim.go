package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// Trim is what topic trim did to one partition.
type Trim struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	StartOffset int64  `json:"startOffset"` // of the partition now; where it should begin if that is planned or failed
	Status      string `json:"status"`      // planned, trimmed, failed
	Error       string `json:"error,omitempty"`
}

func (a *app) topicTrim() *cobra.Command {
	var (
		to         string
		partitions []int32
		dryRun     bool
	)
	c := &cobra.Command{
		Use:   "trim TOPIC",
		Short: "Delete the records of a topic before an offset",
		Long: `Delete the records of a topic before an offset, in all partitions or those that -p names.

--to takes: ` + offsetGrammar + ` (no range here).`,
		Example:           "  walser topic trim orders --to @-24h\n  walser topic trim orders --to end -p 0,1",
		Args:              exactly("a topic"),
		ValidArgsFunction: a.completeTopics,
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
			s, err := a.clientSettings()
			if err != nil {
				return err
			}
			return a.open(cmd.Context(), s, nil, func(c *client) error {
				return a.trim(cmd.Context(), c.admin, args[0], partitions, r.from, dryRun)
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "`offset` of the first record to keep")
	c.Flags().Int32SliceVarP(&partitions, "partition", "p", nil, "trim these partitions only")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be trimmed, trim nothing")
	return c
}

// trim plans, asks and deletes. The timeout bounds what the cluster takes, not the user.
func (a *app) trim(ctx context.Context, adm admin, topic string, partitions []int32, to position, dryRun bool) error {
	planning, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	spans, err := resolveSpans(planning, adm, []string{topic}, partitions, offsetRange{from: to})
	if err != nil {
		return err
	}
	var (
		trims   []Trim
		offsets = kadm.Offsets{}
	)
	for tp, s := range spans {
		trims = append(trims, Trim{Topic: tp.Topic, Partition: tp.Partition, StartOffset: s.from, Status: "planned"})
		offsets.AddOffset(tp.Topic, tp.Partition, s.from, -1)
	}
	slices.SortFunc(trims, func(x, y Trim) int { return cmp.Compare(x.Partition, y.Partition) })
	if dryRun {
		return a.printTrims(trims)
	}
	if err := a.confirm(ctx, "Delete the records of %d partitions of %s before those offsets?", len(trims), topic); err != nil {
		return err
	}
	trimming, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	answers, err := adm.DeleteRecords(trimming, offsets)
	if err != nil && !isShardError(err) {
		return fmt.Errorf("delete records of %s: %w", topic, err)
	}
	var results outcomes
	for i := range trims {
		t := &trims[i]
		answer, lookup := answers.Lookup(t.Topic, t.Partition)
		failed := answer.Err
		if !lookup {
			failed = cmp.Or(err, errors.New("no broker answered for it"))
		}
		if failed != nil {
			t.Status, t.Error = "failed", failed.Error()
		} else {
			t.Status, t.StartOffset = "trimmed", answer.LowWatermark
		}
		results.add(fmt.Sprintf("%s-%d", t.Topic, t.Partition), failed)
	}
	if err := a.printTrims(trims); err != nil {
		return err
	}
	return results.err(a)
}

func (a *app) printTrims(trims []Trim) error {
	s := section{headers: []string{"TOPIC", "PARTITION", "START", "STATUS"}, numeric: []int{1, 2}}
	for _, t := range trims {
		s.rows = append(s.rows, []any{t.Topic, t.Partition, t.StartOffset, t.Status})
	}
	return printList(a, trims, s)
}
