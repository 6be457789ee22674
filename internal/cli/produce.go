package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// production is what one run of produce was asked for.
type production struct {
	topic     string
	format    string
	json      bool
	key       string
	headers   []string
	partition int32
	codec     string
	acks      string
	tombstone bool
	noCreate  bool
	file      string
}

// ProducedRecord says where a record went; produce prints it where -o asks for it.
type ProducedRecord struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`    // -1 with --acks 0
	Timestamp int64  `json:"timestamp"` // ms
}

func (a *app) produceCommand() *cobra.Command {
	var q production
	c := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Write records to a topic, one per line of standard input",
		Long: `Write records to a topic, one per line of standard input. A topic that does not exist is created, if the
cluster allows it.

-f says how records stand in the input, as with consume: %k key, %v value, %h{…} headers, %t topic,
%p partition, %d timestamp in ms; sizes before what they measure (%K%k%V%v), %v{hex}, %v{base64}, %v{json},
%v{re[…]}.`,
		Example: `  echo hello | walser produce demo
  walser produce orders -f '%k=%v\n' < orders.txt
  walser consume orders --to end -o jsonl | walser produce copy --json
  echo | walser produce orders -k customer-7 --tombstone`,
		Args:              atMostOne("topic"),
		ValidArgsFunction: a.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				q.topic = args[0]
			}
			if err := q.check(cmd); err != nil {
				return err
			}
			return a.produce(cmd.Context(), &q)
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVarP(&q.format, "format", "f", `%v\n`, "`format` of the input")
	fs.BoolVar(&q.json, "json", false, "the input is records as consume -o jsonl prints them")
	fs.StringVar(&q.file, "file", "", "read this `file` instead of standard input")
	fs.StringVarP(&q.key, "key", "k", "", "key of every record that has none")
	fs.StringArrayVarP(&q.headers, "header", "H", nil, "header of every record, as `key=value`; may be repeated")
	fs.Int32VarP(&q.partition, "partition", "p", -1, "write to this partition; -1 spreads by key")
	fs.StringVarP(&q.codec, "compression", "z", "", "`codec`: none, gzip, snappy, lz4 or zstd")
	fs.StringVar(&q.acks, "acks", "", "who must have a record: all, 1 (the leader) or 0")
	fs.BoolVarP(&q.tombstone, "tombstone", "Z", false, "an empty value is null, which deletes the key in a compacted topic")
	fs.BoolVar(&q.noCreate, "no-create", false, "do not create the topic")
	a.complete(c, "compression", codecNames()...)
	a.complete(c, "acks", "all", "1", "0")
	return c
}

func (q *production) check(cmd *cobra.Command) error {
	inInput := q.json || strings.Contains(q.format, "%t")
	switch {
	case q.topic == "" && !inInput:
		return usage("walser produce needs a topic, or a format with %%t in it")
	case q.json && cmd.Flags().Changed("format"):
		return usage("-f and --json both say how to read: give one of them")
	case q.partition < -1:
		return usage("-p %d: want a partition, or -1 to spread by key", q.partition)
	}
	for _, h := range q.headers {
		if k, _, ok := strings.Cut(h, "="); !ok || k == "" {
			return usage("-H %s: want key=value", h)
		}
	}
	return nil
}

// options returns the producer's options: flags above properties.
func (q *production) options(s *settings, timeout time.Duration) (opts []kgo.Opt, err error) {
	if q.acks != "" {
		if s.acks, err = parseAcks(q.acks); err != nil {
			return nil, usage("--acks %s: %v", q.acks, err)
		}
	}
	if q.codec != "" {
		if s.codec, err = parseCodec(q.codec); err != nil {
			return nil, usage("-z %s: %v", q.codec, err)
		}
	}
	if opts, err = s.producer(); err != nil {
		return nil, err
	}
	// Below the properties: they may set another.
	s.opts = append([]kgo.Opt{kgo.RecordDeliveryTimeout(timeout), kgo.ProducerLinger(5 * time.Millisecond)}, s.opts...)
	if q.partition >= 0 || strings.Contains(q.format, "%p") {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if !q.noCreate {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	return append(opts, kgo.UnknownTopicRetries(3)), nil
}

func (a *app) produce(ctx context.Context, q *production) (err error) {
	s, err := a.clientSettings()
	if err != nil {
		return err
	}
	opts, err := q.options(s, a.flags.timeout)
	if err != nil {
		return err
	}
	in := a.Stdin
	if q.file != "" {
		f, err := openInput(q.file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	read, err := q.source(in)
	if err != nil {
		return err
	}
	return a.open(ctx, s, opts, func(c *client) error {
		missing, err := a.missing(ctx, c.admin, q)
		if err != nil {
			return err
		}
		w := producer{a: a, q: q, missing: missing, results: make(chan result, 1000)}
		return w.run(ctx, c.Client, read)
	})
}

// missing says whether the topic does not exist yet; with --no-create that is a failure.
func (a *app) missing(ctx context.Context, adm admin, q *production) (bool, error) {
	if q.topic == "" {
		return false, nil
	}
	asking, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	details, err := adm.ListTopicsWithInternal(asking)
	if err != nil {
		return false, fmt.Errorf("look topics up: %w", err)
	}
	if _, ok := details[q.topic]; ok {
		return false, nil
	}
	if q.noCreate {
		return true, &Failure{Code: ExitNotFound, Cause: fmt.Errorf("topic %s does not exist", q.topic), Setting: "--no-create", Fix: "`walser topic create " + q.topic + "`"}
	}
	return true, nil
}

// source returns a function that reads the next record, io.EOF after the last.
func (q *production) source(in io.Reader) (func() (*kgo.Record, error), error) {
	var next func() (*kgo.Record, error)
	if q.json {
		d := json.NewDecoder(bufio.NewReader(in))
		d.DisallowUnknownFields()
		next = func() (*kgo.Record, error) { return q.fromJSON(d) }
	} else {
		if strings.HasSuffix(q.format, `\n`) {
			in = &terminated{in: in, last: '\n'}
		}
		r, err := kgo.NewRecordReader(in, q.format)
		if err != nil {
			return nil, usage("-f %q: %v", q.format, err)
		}
		next = r.ReadRecord
	}
	return func() (*kgo.Record, error) {
		r, err := next()
		if err != nil {
			return nil, err
		}
		q.complete(r)
		return r, nil
	}, nil
}

func (q *production) fromJSON(d *json.Decoder) (*kgo.Record, error) {
	var in Record
	if err := d.Decode(&in); err != nil {
		return nil, err
	}
	r := &kgo.Record{Key: in.Key, Value: in.Value}
	if q.topic == "" {
		r.Topic = in.Topic
	}
	if in.Timestamp != nil {
		r.Timestamp = time.UnixMilli(*in.Timestamp)
	}
	for _, h := range in.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r, nil
}

// complete gives a record what the flags say.
func (q *production) complete(r *kgo.Record) {
	if q.topic != "" {
		r.Topic = q.topic
	}
	if q.key != "" && len(r.Key) == 0 {
		r.Key = []byte(q.key)
	}
	for _, h := range q.headers {
		k, v, _ := strings.Cut(h, "=")
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
	}
	if q.partition >= 0 {
		r.Partition = q.partition
	}
	switch {
	case len(r.Value) > 0:
	case q.tombstone:
		r.Value = nil
	case r.Value == nil && !q.json:
		r.Value = []byte{}
	}
}

// producer hands records to the client and waits for their answers.
type producer struct {
	a       *app
	q       *production
	missing bool // the topic did not exist
	results chan result
}

type result struct {
	record *kgo.Record
	err    error
}

// run reads until the end of the input, Ctrl-C or the first failure, and returns when every record that was
// read has its answer.
func (w *producer) run(ctx context.Context, c *kgo.Client, read func() (*kgo.Record, error)) error {
	var (
		written = make(chan error, 1)
		records = make(chan *kgo.Record)
		stop    = make(chan struct{})
		readErr error
	)
	go func() { written <- w.report(stop) }()
	// The goroutine that reads may hang in a read of a terminal; it ends with the process then.
	go func() {
		defer close(records)
		for {
			r, err := read()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					readErr = fmt.Errorf("read input: %w", err) // seen after records is closed
				}
				return
			}
			select {
			case records <- r:
			case <-stop:
				return
			}
		}
	}()
	var err error
	for open := true; open; {
		select {
		case r, more := <-records:
			if open = more; more {
				c.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) { w.results <- result{r, err} })
			} else {
				err = readErr
			}
		case <-stop:
			open = false
		case <-ctx.Done():
			open = false
		}
	}
	// Every record has a delivery timeout, so this ends.
	if flush := c.Flush(context.WithoutCancel(ctx)); flush != nil {
		err = errors.Join(err, flush)
	}
	close(w.results)
	return errors.Join(<-written, err)
}

// report follows the answers until results is closed. The first failure closes stop.
func (w *producer) report(stop chan struct{}) error {
	var (
		done, failed int64
		first        error
		print        = w.a.flags.output != ""
		out          = bufio.NewWriter(w.a.Stdout)
	)
	for r := range w.results {
		if r.err != nil {
			if failed++; failed == 1 {
				first = r.err
				close(stop)
			}
			continue
		}
		if done++; done == 1 && w.missing {
			w.a.note("topic %s did not exist; it was created with the cluster's defaults", w.q.topic)
		}
		if print {
			if err := w.a.printProduced(out, r.record, done == 1); err != nil && first == nil {
				first = err
				close(stop)
			}
		}
	}
	if err := out.Flush(); err != nil && first == nil {
		first = err
	}
	if first == nil {
		return nil
	}
	if failed == 0 {
		return first
	}
	f := w.a.explain(fmt.Errorf("produce: %w", first))
	if w.missing && errors.Is(first, kerr.UnknownTopicOrPartition) {
		f.Cause = fmt.Errorf("topic %s does not exist, and the cluster did not create it", w.q.topic)
		f.Setting, f.Fix = "auto.create.topics.enable of the node", "`walser topic create "+w.q.topic+"`"
	}
	if done > 0 {
		f.Code = ExitPartial
		f.Cause = fmt.Errorf("%d records were written, then: %w", done, f.Cause)
	}
	return f
}

func (a *app) printProduced(w io.Writer, r *kgo.Record, header bool) error {
	p := ProducedRecord{r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli()}
	switch a.flags.output {
	case outputJSON:
		return writeJSON(w, p)
	case outputJSONL:
		return writeJSONL(w, p)
	case outputYAML:
		return writeYAML(w, []ProducedRecord{p})
	}
	if header && !a.flags.noHeaders {
		fmt.Fprintf(w, "%9s  %10s  %s\n", "PARTITION", "OFFSET", "TOPIC")
	}
	_, err := fmt.Fprintf(w, "%9d  %10d  %s\n", p.Partition, p.Offset, p.Topic)
	return err
}
