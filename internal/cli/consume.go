package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/model"
)

// Record is the noun record, as consume prints it and produce --json reads it.
type Record struct {
	Topic     string         `json:"topic,omitempty"`
	Partition *int32         `json:"partition,omitempty"`
	Offset    *int64         `json:"offset,omitempty"`
	Timestamp *int64         `json:"timestamp,omitempty"` // ms
	Key       Text           `json:"key"`
	Value     Text           `json:"value"`
	Headers   []RecordHeader `json:"headers,omitempty"`
}

// RecordHeader is a part of the noun record.
type RecordHeader struct {
	Key   string `json:"key"`
	Value Text   `json:"value"`
}

// Text is bytes that are text most of the time: a string where they are UTF-8, else an object that holds
// them in Base64, and null where there are none.
type Text []byte

// encodedText is what stands for bytes that are not UTF-8.
type encodedText struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	switch {
	case t == nil:
		return []byte("null"), nil
	case utf8.Valid(t):
		b, err := encodeJSON(string(t), "")
		return b, err
	}
	return json.Marshal(encodedText{t})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err == nil {
		*t = nil
		if s != nil {
			*t = Text(*s)
		}
		return nil
	}
	var e encodedText
	if err := json.Unmarshal(b, &e); err != nil || e.Base64 == nil {
		return errors.New(`want a string, null or {"base64": "…"}`)
	}
	*t = Text(e.Base64)
	return nil
}

func recordOf(r *kgo.Record) Record {
	ms := r.Timestamp.UnixMilli()
	out := Record{Topic: r.Topic, Partition: &r.Partition, Offset: &r.Offset, Timestamp: &ms, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, RecordHeader{h.Key, h.Value})
	}
	return out
}

// consumption is what one run of consume was asked for.
type consumption struct {
	topics     []string
	from, to   string
	count      int64
	tail       int64
	group      string
	partitions []int32
	format     string

	span offsetRange
}

func (a *app) consumeCommand() *cobra.Command {
	var q consumption
	c := &cobra.Command{
		Use:   "consume TOPIC…",
		Short: "Read records from topics, from the start on",
		Long: `Read records from topics, from the start on, until Ctrl-C; or until -n records were read, or until the
end of the range that --to or --from FROM:TO gives.

Offsets: ` + offsetGrammar + `.

By default each value is printed on a line. -f takes a format instead (%k key, %v value, %h{%k=%v } headers,
%t topic, %p partition, %o offset, %d timestamp; \n \t; %v{hex}, %v{base64}, %d{go[2006-01-02]}), and -o
json or jsonl whole records, which walser produce --json reads back.`,
		Example: `  walser consume demo -n1
  walser consume orders --from -10 -f '%p %o %k=%v\n'
  walser consume orders --from @-1h:end -o jsonl
  walser consume orders -g billing`,
		Args:              atLeastOne("topic"),
		ValidArgsFunction: a.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.clientSettings()
			if err != nil {
				return err
			}
			q.topics = args
			q.group = cmp.Or(q.group, s.group)
			if q.group != "" && !cmd.Flags().Changed("from") && s.autoOffsetReset != "" {
				q.from = s.autoOffsetReset
			}
			if err := q.check(cmd, a.Now()); err != nil {
				return err
			}
			return a.consume(cmd.Context(), s, &q)
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&q.from, "from", "start", "`offset` to begin at, or a range FROM:TO")
	fs.StringVar(&q.to, "to", "", "`offset` to end before; the command then ends")
	fs.Int64VarP(&q.count, "count", "n", 0, "end after so many records")
	fs.Int64Var(&q.tail, "tail", 0, "print the last so many records, by their timestamps, and end")
	fs.StringVarP(&q.group, "group", "g", "", "read as a member of this consumer group, and commit what was printed")
	fs.Int32SliceVarP(&q.partitions, "partition", "p", nil, "read these partitions only")
	fs.StringVarP(&q.format, "format", "f", "", "`format` of each record")
	return c
}

// check reads the offsets and refuses flags that contradict each other.
func (q *consumption) check(cmd *cobra.Command, now time.Time) error {
	changed := func(flag string) bool { return cmd.Flags().Changed(flag) }
	var err error
	if q.span, err = parseRange(q.from, now); err != nil {
		return usage("--from: %v", err)
	}
	if q.to != "" {
		if q.span.to != nil {
			return usage("--from %s has an end already: leave --to out", q.from)
		}
		to, err := parseEnd(q.to, q.span.from, now)
		if err != nil {
			return usage("--to: %v", err)
		}
		q.span.to = &to
	}
	switch {
	case changed("count") && q.count < 1:
		return usage("-n %d: want a number above 0", q.count)
	case changed("tail") && q.tail < 1:
		return usage("--tail %d: want a number above 0", q.tail)
	case q.tail > 0 && (changed("from") || changed("to") || changed("count") || q.group != ""):
		return usage("--tail stands alone: leave --from, --to, -n and -g out")
	case q.format != "" && cmd.Flags().Changed("output"):
		return usage("-f and -o both say how to print: give one of them")
	case q.group != "" && (q.span.to != nil || len(q.partitions) > 0):
		return usage("a group decides itself what its members read: leave --to and -p out, or -g")
	case q.group != "" && q.span.from.kind != atStart && q.span.from.kind != atEnd && q.span.from.kind != atTime:
		return usage("with -g, --from is where partitions without a committed offset begin: start, end or @TIME")
	}
	if q.tail > 0 {
		q.span = offsetRange{position{kind: beforeEnd, n: q.tail}, &position{kind: atEnd}}
	}
	return nil
}

func (a *app) consume(ctx context.Context, s *settings, q *consumption) error {
	printer, err := a.recordPrinter(q.format)
	if err != nil {
		return err
	}
	if q.group == "" {
		return a.consumeRange(ctx, s, q, printer)
	}
	begin := kgo.NewOffset().AtStart()
	switch q.span.from.kind {
	case atEnd:
		begin = kgo.NewOffset().AtEnd()
	case atTime:
		begin = kgo.NewOffset().AfterMilli(q.span.from.n)
	}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(q.group), kgo.ConsumeTopics(q.topics...), kgo.ConsumeResetOffset(begin),
		kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll(),
	}
	return ended(a.open(ctx, s, opts, func(c *client) error {
		if err := a.mustExist(ctx, c.admin, q.topics); err != nil {
			return err
		}
		r := reader{printer: printer, left: q.count, mark: c.MarkCommitRecords}
		err := r.run(ctx, c.Client)
		// What was printed is committed whatever ended the loop, Ctrl-C included.
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.flags.timeout)
		defer cancel()
		if commit := c.CommitMarkedOffsets(leaving); commit != nil {
			err = errors.Join(err, fmt.Errorf("commit offsets of group %s: %w", q.group, commit))
		}
		return err
	}))
}

// ended takes the end by Ctrl-C for success.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// consumeRange reads without a group.
func (a *app) consumeRange(ctx context.Context, s *settings, q *consumption, p *recordPrinter) error {
	return ended(a.open(ctx, s, []kgo.Opt{kgo.KeepControlRecords()}, func(c *client) error {
		asking, cancel := context.WithTimeout(ctx, a.flags.timeout)
		defer cancel()
		spans, err := resolveSpans(asking, c.admin, q.topics, q.partitions, q.span)
		if err != nil {
			return err
		}
		r := reader{printer: p, left: q.count, ends: map[model.TopicPartition]int64{}, next: map[model.TopicPartition]int64{}, bounded: q.span.to != nil}
		begin := map[string]map[int32]kgo.Offset{}
		for tp, s := range spans {
			if r.bounded {
				if s.from >= s.to {
					continue
				}
				r.ends[tp], r.next[tp] = s.to, s.from
			}
			if begin[tp.Topic] == nil {
				begin[tp.Topic] = map[int32]kgo.Offset{}
			}
			begin[tp.Topic][tp.Partition] = kgo.NewOffset().At(s.from)
		}
		if len(begin) == 0 {
			return nil
		}
		c.AddConsumePartitions(begin)
		if q.tail > 0 {
			r.hold = []*kgo.Record{}
		}
		err = r.run(ctx, c.Client)
		if err == nil && r.hold != nil {
			slices.SortStableFunc(r.hold, func(x, y *kgo.Record) int {
				return cmp.Or(x.Timestamp.Compare(y.Timestamp), cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Offset, y.Offset))
			})
			for _, record := range r.hold[max(0, int64(len(r.hold))-q.tail):] {
				if err := p.print(record); err != nil {
					return err
				}
			}
			return p.flush()
		}
		return err
	}))
}

// mustExist fails for the first topic that does not exist.
func (a *app) mustExist(ctx context.Context, adm admin, topics []string) error {
	asking, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	details, err := adm.ListTopicsWithInternal(asking, topics...)
	if err != nil {
		return fmt.Errorf("look topics up: %w", err)
	}
	return topicsExist(details, topics)
}

func topicsExist(details kadm.TopicDetails, topics []string) error {
	for _, t := range topics {
		if err := details[t].Err; err != nil {
			return fmt.Errorf("topic %s: %w", t, err)
		}
		if len(details[t].Partitions) == 0 {
			return notFound("topic %s does not exist", t)
		}
	}
	return nil
}

// span is a range of one partition, in offsets.
type span struct {
	from, to int64 // to counts only in a range that has an end
}

// resolveSpans turns positions into offsets, partition by partition. No partitions named means all.
func resolveSpans(ctx context.Context, adm admin, topics []string, only []int32, r offsetRange) (map[model.TopicPartition]span, error) {
	details, err := adm.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("look topics up: %w", err)
	}
	if err := topicsExist(details, topics); err != nil {
		return nil, err
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	afters := map[int64]kadm.ListedOffsets{} // by time
	for _, p := range []*position{&r.from, r.to} {
		if p != nil && p.kind == atTime {
			if afters[p.n], err = adm.ListOffsetsAfterMilli(ctx, p.n, topics...); err != nil {
				return nil, fmt.Errorf("list offsets by time: %w", err)
			}
		}
	}
	spans := map[model.TopicPartition]span{}
	for _, topic := range topics {
		chosen := only
		if len(only) == 0 {
			chosen = slices.Sorted(maps.Keys(details[topic].Partitions))
		}
		for _, p := range chosen {
			tp := model.TopicPartition{Topic: topic, Partition: p}
			if _, ok := details[topic].Partitions[p]; !ok {
				return nil, &Failure{Code: ExitNotFound, Cause: fmt.Errorf("topic %s has no partition %d", topic, p), Setting: "--partition (-p)"}
			}
			start, err := listed(starts, tp)
			if err != nil {
				return nil, err
			}
			end, err := listed(ends, tp)
			if err != nil {
				return nil, err
			}
			after := func(ms int64) (int64, error) { return listed(afters[ms], tp) }
			var s span
			if s.from, err = r.from.place(start, end, after); err != nil {
				return nil, err
			}
			if r.to != nil {
				if s.to, err = r.to.place(start, end, after); err != nil {
					return nil, err
				}
			}
			spans[tp] = s
		}
	}
	return spans, nil
}

func listed(offsets kadm.ListedOffsets, tp model.TopicPartition) (int64, error) {
	o, ok := offsets.Lookup(tp.Topic, tp.Partition)
	if !ok {
		return 0, fmt.Errorf("no broker says where %s-%d begins or ends", tp.Topic, tp.Partition)
	}
	if o.Err != nil {
		return 0, fmt.Errorf("offsets of %s-%d: %w", tp.Topic, tp.Partition, o.Err)
	}
	return o.Offset, nil
}

// reader polls and prints until it is done.
type reader struct {
	printer *recordPrinter
	left    int64 // records still to print; 0 at the start: no limit
	mark    func(...*kgo.Record)
	bounded bool
	ends    map[model.TopicPartition]int64 // where bounded partitions end; those at their end are taken out
	next    map[model.TopicPartition]int64 // how far bounded partitions were read
	hold    []*kgo.Record                  // not nil: keep the records instead of printing them
}

// quiet is how long a bounded read waits for a record before it asks whether there are any more.
const quiet = 2 * time.Second

func (r *reader) run(ctx context.Context, c *kgo.Client) error {
	limited := r.left > 0
	for !r.bounded || len(r.ends) > 0 {
		fetches, err := r.poll(ctx, c)
		if err != nil {
			return err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			record := it.Next()
			if !r.wants(record) {
				continue
			}
			if err := r.take(record); err != nil {
				return err
			}
			if r.left--; limited && r.left == 0 {
				return r.printer.flush()
			}
		}
		if err := r.printer.flush(); err != nil {
			return err
		}
		c.AllowRebalance()
	}
	return nil
}

// poll waits for records. In a bounded read it also takes out partitions that have none left: compaction
// may have removed the last ones of a range, and then no record says that the end is reached.
func (r *reader) poll(ctx context.Context, c *kgo.Client) (kgo.Fetches, error) {
	polling, cancel := ctx, context.CancelFunc(func() {})
	if r.bounded {
		polling, cancel = context.WithTimeout(ctx, quiet)
	}
	defer cancel()
	fetches := c.PollRecords(polling, 1000)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if polling.Err() != nil && fetches.NumRecords() == 0 {
		return nil, r.dropEmpty(ctx, c)
	}
	for _, e := range fetches.Errors() {
		if _, lost := errors.AsType[*kgo.ErrDataLoss](e.Err); !lost && !errors.Is(e.Err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("fetch %s-%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	return fetches, nil
}

// wants says whether a record is to be printed, and notes how far its partition has come.
func (r *reader) wants(record *kgo.Record) bool {
	if r.bounded {
		tp := model.TopicPartition{Topic: record.Topic, Partition: record.Partition}
		r.next[tp] = record.Offset + 1
		end, open := r.ends[tp]
		if open && record.Offset+1 >= end {
			delete(r.ends, tp)
		}
		if !open || record.Offset >= end {
			return false
		}
	}
	return !record.Attrs.IsControl()
}

func (r *reader) take(record *kgo.Record) error {
	if r.hold != nil {
		r.hold = append(r.hold, record)
		return nil
	}
	if err := r.printer.print(record); err != nil {
		return err
	}
	if r.mark != nil {
		r.mark(record)
	}
	return nil
}

// recordPrinter prints records one after the other.
type recordPrinter struct {
	w     *bufio.Writer
	write func(io.Writer, *kgo.Record) error
}

func (a *app) recordPrinter(format string) (*recordPrinter, error) {
	p := &recordPrinter{w: bufio.NewWriterSize(a.Stdout, 64<<10)}
	switch a.flags.output {
	case outputJSON:
		p.write = func(w io.Writer, r *kgo.Record) error { return writeJSON(w, recordOf(r)) }
		return p, nil
	case outputJSONL:
		p.write = func(w io.Writer, r *kgo.Record) error { return writeJSONL(w, recordOf(r)) }
		return p, nil
	case outputYAML:
		p.write = func(w io.Writer, r *kgo.Record) error {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return err
			}
			return writeYAML(w, recordOf(r))
		}
		return p, nil
	case outputTable:
		// A stream has no widths to align to: fixed ones, and what is longer pushes to the right.
		if !a.flags.noHeaders {
			fmt.Fprintf(p.w, "%-9s  %10s  %-24s  %-16s  %s\n", "PARTITION", "OFFSET", "TIMESTAMP", "KEY", "VALUE")
		}
		p.write = func(w io.Writer, r *kgo.Record) error {
			_, err := fmt.Fprintf(w, "%9d  %10d  %-24s  %-16s  %s\n", r.Partition, r.Offset,
				r.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"), cell(r.Key), cell(r.Value))
			return err
		}
		return p, nil
	}
	if format == "" {
		format = "%v\n"
	}
	f, err := kgo.NewRecordFormatter(format)
	if err != nil {
		return nil, usage("-f %q: %v", format, err)
	}
	var buf []byte
	p.write = func(w io.Writer, r *kgo.Record) error {
		buf = f.AppendRecord(buf[:0], r)
		_, err := w.Write(buf)
		return err
	}
	return p, nil
}

// cell shows bytes in a table: text as it is, anything else in Go's notation, and - for null.
func cell(b []byte) string {
	if b == nil {
		return "-"
	}
	if s := string(b); utf8.ValidString(s) && strconv.CanBackquote(s) {
		return s
	}
	return strconv.Quote(string(b))
}

func (p *recordPrinter) print(r *kgo.Record) error { return p.write(p.w, r) }
func (p *recordPrinter) flush() error              { return p.w.Flush() }
