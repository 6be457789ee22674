package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/magiconair/properties"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	defaultBootstrap = "localhost:9092"
	envBootstrap     = "WALSER_BOOTSTRAP_SERVER"
)

// property is one client setting and where it was made.
type property struct {
	key, value, source string
}

// settings are what a client is made of. Layers, the strongest first: flags, -X, environment (bootstrap
// servers only), --command-config, defaults.
type settings struct {
	bootstrap       []string
	bootstrapSource string
	opts            []kgo.Opt

	// Those that commands read or that depend on each other.
	acks            *kgo.Acks // nil: the default, all
	idempotence     *bool
	group           string
	autoOffsetReset string
	codec           *kgo.CompressionCodec
}

// clientSettings reads every layer. Keys that nobody knows are named on standard error.
func (a *app) clientSettings() (*settings, error) {
	all, err := a.properties()
	if err != nil {
		return nil, err
	}
	s := defaultSettings()
	for _, p := range all {
		if err := a.apply(s, p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func defaultSettings() *settings {
	return &settings{bootstrap: []string{defaultBootstrap}, bootstrapSource: "default"}
}

// apply sets one property, or says on standard error that nobody knows it.
func (a *app) apply(s *settings, p property) error {
	known, err := s.set(p)
	if err != nil {
		return &Failure{Code: ExitUsage, Cause: fmt.Errorf("%s=%s: %w", p.key, p.value, err), Setting: p.key + " (" + p.source + ")"}
	}
	if !known {
		a.note("warning: %s (%s) is no client setting that walser knows; it has no effect", p.key, p.source)
	}
	return nil
}

// properties returns what the layers say, for each key the strongest.
func (a *app) properties() ([]property, error) {
	var layers []property
	if f := a.flags.commandConfig; f != "" {
		fromFile, err := readProperties(f)
		if err != nil {
			return nil, err
		}
		layers = fromFile
	}
	if v := a.getenv(envBootstrap); v != "" {
		layers = append(layers, property{"bootstrap.servers", v, "environment variable " + envBootstrap})
	}
	for _, kv := range a.flags.properties {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || strings.TrimSpace(k) == "" {
			return nil, usage("-X %s: want key=value", kv)
		}
		layers = append(layers, property{strings.TrimSpace(k), strings.TrimSpace(v), "-X"})
	}
	if v := a.flags.bootstrap; v != "" {
		layers = append(layers, property{"bootstrap.servers", v, "--bootstrap-server"})
	}
	var strongest []property
	for i, p := range layers {
		if !slices.ContainsFunc(layers[i+1:], func(later property) bool { return later.key == p.key }) {
			strongest = append(strongest, p)
		}
	}
	return strongest, nil
}

// readProperties reads a Kafka client file in the order of its lines.
func readProperties(name string) ([]property, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, &Failure{Code: ExitUsage, Cause: fmt.Errorf("read client properties: %w", err), Setting: "--command-config"}
	}
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	p, err := loader.LoadBytes(text)
	if err != nil {
		return nil, &Failure{Code: ExitUsage, Cause: fmt.Errorf("read client properties %s: %w", name, err), Setting: "--command-config"}
	}
	var all []property
	for _, k := range p.Keys() {
		v, _ := p.Get(k)
		all = append(all, property{k, strings.TrimSpace(v), name})
	}
	return all, nil
}

// errSecurity refuses what would have to be ignored: a client that is told to use TLS or SASL must not go on without.
var errSecurity = errors.New("TLS and SASL are not supported yet")

// set applies one property. Properties of producers and consumers are known to every command, since one
// file serves them all.
func (s *settings) set(p property) (known bool, err error) {
	switch p.key {
	case "bootstrap.servers":
		s.bootstrapSource = p.source
		s.bootstrap, err = parseBootstrap(p.value)
	case "client.id":
		s.add(kgo.ClientID(p.value))
	case "client.rack":
		s.add(kgo.Rack(p.value))
	case "security.protocol":
		if !strings.EqualFold(p.value, "PLAINTEXT") {
			err = errSecurity
		}
	case "metadata.max.age.ms":
		err = millis(s, p.value, 1, kgo.MetadataMaxAge)
	case "connections.max.idle.ms":
		err = millis(s, p.value, 1, kgo.ConnIdleTimeout)
	case "request.timeout.ms":
		err = millis(s, p.value, 1, kgo.RequestTimeoutOverhead)
	case "retries":
		err = s.number(p.value, 0, math.MaxInt32, func(n int64) kgo.Opt { return kgo.RequestRetries(int(n)) })

	case "acks":
		s.acks, err = parseAcks(p.value)
	case "enable.idempotence":
		s.idempotence, err = parseBool(p.value)
	case "compression.type":
		s.codec, err = parseCodec(p.value)
	case "linger.ms":
		err = millis(s, p.value, 0, kgo.ProducerLinger)
	case "delivery.timeout.ms":
		err = millis(s, p.value, 1, kgo.RecordDeliveryTimeout)
	case "batch.size":
		err = s.number(p.value, 1, math.MaxInt32, func(n int64) kgo.Opt { return kgo.ProducerBatchMaxBytes(int32(n)) })
	case "buffer.memory":
		err = s.number(p.value, 1, math.MaxInt32, func(n int64) kgo.Opt { return kgo.MaxBufferedBytes(int(n)) })
	case "max.in.flight.requests.per.connection":
		err = s.number(p.value, 1, 5, func(n int64) kgo.Opt { return kgo.MaxProduceRequestsInflightPerBroker(int(n)) })

	case "group.id":
		s.group = p.value
	case "group.instance.id":
		s.add(kgo.InstanceID(p.value))
	case "auto.offset.reset":
		s.autoOffsetReset = p.value
		if p.value != "earliest" && p.value != "latest" {
			err = errors.New("want earliest or latest")
		}
	case "isolation.level":
		switch p.value {
		case "read_committed":
			s.add(kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		case "read_uncommitted":
			s.add(kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
		default:
			err = errors.New("want read_committed or read_uncommitted")
		}
	case "fetch.min.bytes":
		err = s.number(p.value, 0, math.MaxInt32, func(n int64) kgo.Opt { return kgo.FetchMinBytes(int32(n)) })
	case "fetch.max.bytes":
		err = s.number(p.value, 1, math.MaxInt32, func(n int64) kgo.Opt { return kgo.FetchMaxBytes(int32(n)) })
	case "max.partition.fetch.bytes":
		err = s.number(p.value, 1, math.MaxInt32, func(n int64) kgo.Opt { return kgo.FetchMaxPartitionBytes(int32(n)) })
	case "fetch.max.wait.ms":
		err = millis(s, p.value, 0, kgo.FetchMaxWait)
	case "session.timeout.ms":
		err = millis(s, p.value, 1, kgo.SessionTimeout)
	case "heartbeat.interval.ms":
		err = millis(s, p.value, 1, kgo.HeartbeatInterval)
	case "max.poll.interval.ms":
		err = millis(s, p.value, 1, kgo.RebalanceTimeout)
	default:
		if strings.HasPrefix(p.key, "sasl.") || strings.HasPrefix(p.key, "ssl.") {
			return true, errSecurity
		}
		return false, nil
	}
	return true, err
}

func (s *settings) add(o kgo.Opt) { s.opts = append(s.opts, o) }

func (s *settings) number(text string, least, most int64, opt func(int64) kgo.Opt) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return fmt.Errorf("want a number from %d to %d", least, most)
	}
	s.add(opt(n))
	return nil
}

// millis adds an option that takes a duration, which Kafka's clients write in milliseconds.
func millis[O kgo.Opt](s *settings, text string, least int64, opt func(time.Duration) O) error {
	return s.number(text, least, math.MaxInt64/int64(time.Millisecond), func(n int64) kgo.Opt { return opt(time.Duration(n) * time.Millisecond) })
}

// producer returns the options that depend on each other.
func (s *settings) producer() ([]kgo.Opt, error) {
	var opts []kgo.Opt
	if s.codec != nil {
		opts = append(opts, kgo.ProducerBatchCompression(*s.codec))
	}
	all := s.acks == nil || *s.acks == kgo.AllISRAcks()
	idempotent := s.idempotence == nil && all || s.idempotence != nil && *s.idempotence
	if idempotent && !all {
		return nil, &Failure{Code: ExitUsage, Cause: errors.New("an idempotent producer needs acks=all"), Setting: "acks (--acks), enable.idempotence"}
	}
	if !idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if s.acks != nil {
		opts = append(opts, kgo.RequiredAcks(*s.acks))
	}
	return opts, nil
}

func parseBootstrap(text string) ([]string, error) {
	var seeds []string
	for s := range strings.SplitSeq(text, ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if !strings.Contains(s, ":") {
			s += ":9092"
		}
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" {
			return nil, fmt.Errorf("%q is no host:port", s)
		} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%q has no port from 1 to 65535", s)
		}
		seeds = append(seeds, s)
	}
	if len(seeds) == 0 {
		return nil, errors.New("want host:port, or several with commas")
	}
	return seeds, nil
}

func parseAcks(text string) (*kgo.Acks, error) {
	var acks kgo.Acks
	switch text {
	case "all", "-1":
		acks = kgo.AllISRAcks()
	case "1":
		acks = kgo.LeaderAck()
	case "0":
		acks = kgo.NoAck()
	default:
		return nil, errors.New("want all, 1 or 0")
	}
	return &acks, nil
}

func parseBool(text string) (*bool, error) {
	switch {
	case strings.EqualFold(text, "true"):
		return new(true), nil
	case strings.EqualFold(text, "false"):
		return new(false), nil
	}
	return nil, errors.New("want true or false")
}

func codecNames() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

func parseCodec(text string) (*kgo.CompressionCodec, error) {
	var c kgo.CompressionCodec
	switch text {
	case "none":
		c = kgo.NoCompression()
	case "gzip":
		c = kgo.GzipCompression()
	case "snappy":
		c = kgo.SnappyCompression()
	case "lz4":
		c = kgo.Lz4Compression()
	case "zstd":
		c = kgo.ZstdCompression()
	default:
		return nil, fmt.Errorf("want one of %s", strings.Join(codecNames(), ", "))
	}
	return &c, nil
}

// client is a connection to a cluster: records through Client, everything else through admin.
type client struct {
	*kgo.Client
	admin admin
	opts  []kgo.Opt // that it was made of, for those who need more such clients
}

// close leaves the cluster. A client of a test has no connection.
func (c *client) close() {
	if c.Client != nil {
		c.CloseAllowingRebalance() // a poll that was cut short may hold one off
	}
}

// admin is what commands ask of a cluster. *kadm.Client is it.
type admin interface {
	BrokerMetadata(ctx context.Context) (kadm.Metadata, error)
	ListTopicsWithInternal(ctx context.Context, topics ...string) (kadm.TopicDetails, error)
	DescribeTopicConfigs(ctx context.Context, topics ...string) (kadm.ResourceConfigs, error)
	CreateTopics(ctx context.Context, partitions int32, replicas int16, configs map[string]*string, topics ...string) (kadm.CreateTopicResponses, error)
	ValidateCreateTopics(ctx context.Context, partitions int32, replicas int16, configs map[string]*string, topics ...string) (kadm.CreateTopicResponses, error)
	AlterTopicConfigs(ctx context.Context, configs []kadm.AlterConfig, topics ...string) (kadm.AlterConfigsResponses, error)
	UpdatePartitions(ctx context.Context, set int, topics ...string) (kadm.CreatePartitionsResponses, error)
	DeleteTopics(ctx context.Context, topics ...string) (kadm.DeleteTopicResponses, error)
	DeleteRecords(ctx context.Context, os kadm.Offsets) (kadm.DeleteRecordsResponses, error)

	ListStartOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)
	ListEndOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)
	ListOffsetsAfterMilli(ctx context.Context, ms int64, topics ...string) (kadm.ListedOffsets, error)

	ListGroups(ctx context.Context, states ...string) (kadm.ListedGroups, error)
	DescribeGroups(ctx context.Context, groups ...string) (kadm.DescribedGroups, error)
	Lag(ctx context.Context, groups ...string) (kadm.DescribedGroupLags, error)
	FetchOffsets(ctx context.Context, group string) (kadm.OffsetResponses, error)
	CommitOffsets(ctx context.Context, group string, os kadm.Offsets) (kadm.OffsetResponses, error)
	DeleteGroups(ctx context.Context, groups ...string) (kadm.DeleteGroupResponses, error)
}

var _ admin = (*kadm.Client)(nil)

// connector makes a client and sees that somebody answers. logger is nil where nobody wants to read it.
type connector func(ctx context.Context, opts []kgo.Opt) (*client, error)

// open makes a client of the settings and calls use with it, then leaves. ctx bounds use where the
// command asks something and has an end; commands that go on pass their own to open's use.
func (a *app) open(ctx context.Context, s *settings, opts []kgo.Opt, use func(*client) error) error {
	all := append([]kgo.Opt{kgo.SeedBrokers(s.bootstrap...), kgo.ClientID("walser-cli")}, s.opts...)
	all = append(all, opts...)
	var failed atomic.Pointer[string] // the last address that could not be dialled
	var dialer net.Dialer
	all = append(all, kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, min(10*time.Second, a.flags.timeout))
		defer cancel()
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			failed.Store(&address)
		}
		return conn, err
	}))
	if a.flags.verbose {
		all = append(all, kgo.WithLogger(kgo.BasicLogger(a.Stderr, kgo.LogLevelInfo, func() string { return "client: " })))
	}
	connecting, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	c, err := a.connect(connecting, all)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unreachable(s, err)
	}
	defer c.close()
	err = use(c)
	if address := failed.Load(); err != nil && address != nil && !slices.Contains(s.bootstrap, *address) && a.explain(err).Code == ExitUnreachable {
		return &Failure{
			Code:    ExitUnreachable,
			Cause:   fmt.Errorf("%s answers, but says that clients connect to %s, and there nobody answers", strings.Join(s.bootstrap, ","), *address),
			Setting: "advertised.listeners of the node",
			Fix:     "set it to an address that this machine can reach",
		}
	}
	return err
}

// ask opens a client for a command that asks something and ends within --timeout.
func (a *app) ask(ctx context.Context, use func(context.Context, *client) error) error {
	s, err := a.clientSettings()
	if err != nil {
		return err
	}
	return a.open(ctx, s, nil, func(c *client) error {
		asking, cancel := context.WithTimeout(ctx, a.flags.timeout)
		defer cancel()
		return use(asking, c)
	})
}

// unreachable explains why no seed answered.
func unreachable(s *settings, err error) error {
	f := &Failure{
		Code:    ExitUnreachable,
		Cause:   fmt.Errorf("no broker answers at %s: %w", strings.Join(s.bootstrap, ","), err),
		Setting: fmt.Sprintf("--bootstrap-server (-b), %s, bootstrap.servers; now from: %s", envBootstrap, s.bootstrapSource),
		Fix:     "start a node with `walser server`, or name one that runs with -b host:port",
	}
	if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
		f.Fix = "see that a Kafka listener without TLS or SASL is at that address"
	}
	return f
}

// connectKafka connects to a real cluster.
func connectKafka(ctx context.Context, opts []kgo.Opt) (*client, error) {
	kafka, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, usage("%v", err)
	}
	if err := kafka.Ping(ctx); err != nil {
		kafka.Close()
		return nil, err
	}
	return &client{kafka, kadm.NewClient(kafka), opts}, nil
}
