package differential

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// session plays one script to one broker.
type session struct {
	addr    string
	conns   map[string]*conn
	saved   map[string]any // by variable, and by variable and version: see ofVersion
	known   names
	version int16 // of the request that is being sent
	barrier int
}

type conn struct {
	net.Conn
	correlation int32
	waiting     []sent // requests whose answers a script collects later
}

type sent struct {
	key     wire.Key
	version int16
	id      int32
}

// patience is how long a broker may take before its silence is its answer.
const patience = 10 * time.Second

func newSession(addr string) *session {
	return &session{addr: addr, conns: map[string]*conn{}, saved: map[string]any{}, known: names{}}
}

func (s *session) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

func (s *session) conn(name string) (*conn, error) {
	if c := s.conns[name]; c != nil {
		return c, nil
	}
	raw, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	s.conns[name] = &conn{Conn: raw}
	return s.conns[name], nil
}

var errClosed = errors.New("closed")

// run sends the request of c at version and returns the text of the answer.
func (s *session) run(c *testCase, version int16) (string, error) {
	s.version = version
	deadline := time.Now().Add(3 * patience)
	for {
		text, request, answer, err := s.once(c, version)
		var timeout net.Error
		silent := errors.As(err, &timeout) && timeout.Timeout()
		if silent || errors.Is(err, errClosed) {
			s.conns[c.conn].Close()
			delete(s.conns, c.conn)
			if silent {
				return "silence", nil
			}
			return "closed", nil
		}
		if err != nil {
			return "", err
		}
		again := false
		for _, name := range c.retry {
			again = again || strings.Contains(text, name)
		}
		if again && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if answer == nil {
			return text, nil
		}
		for _, save := range c.save {
			v, err := fieldAt(reflect.ValueOf(answer).Elem(), save[1])
			if err != nil {
				return "", fmt.Errorf("save %s: %w", save[0], err)
			}
			s.saved[save[0]], s.saved[s.ofVersion(save[0])] = v, v
			if text, ok := v.(string); ok && text != "" {
				s.known[text] = "$" + save[0]
			}
		}
		text = render(answer, s.known)
		return text, s.settle(request, answer)
	}
}

// once returns what it sent as well, unless that is no message.
func (s *session) once(c *testCase, version int16) (string, wire.Request, wire.Response, error) {
	conn, err := s.conn(c.conn)
	if err != nil {
		return "", nil, nil, err
	}
	switch c.api {
	case "bytes":
		b, err := hex.DecodeString(strings.ReplaceAll(c.body, " ", ""))
		if err != nil {
			return "", nil, nil, err
		}
		if _, err := conn.Write(b); err != nil {
			return "", nil, nil, errClosed
		}
		frame, err := conn.readFrame(patience)
		return hex.EncodeToString(frame), nil, nil, err
	case "raw":
		text, answer, err := s.raw(conn, c.body)
		return text, nil, answer, err
	case "await":
		if len(conn.waiting) == 0 {
			return "", nil, nil, errors.New("nothing to await")
		}
		next := conn.waiting[0]
		conn.waiting = conn.waiting[1:]
		answer, err := conn.receive(next)
		if err != nil {
			return "", nil, nil, err
		}
		return render(answer, s.known), nil, answer, nil
	}
	key, ok := keyOf(c.api)
	if !ok {
		return "", nil, nil, fmt.Errorf("no API %q", c.api)
	}
	fields, err := parseValue(c.body)
	if err != nil {
		return "", nil, nil, err
	}
	request := wire.NewRequest(key)
	request.Reset()
	if err := assign(reflect.ValueOf(request).Elem(), fields, s.resolve); err != nil {
		return "", nil, nil, err
	}
	pending, err := conn.send(request, version, c.client)
	if err != nil {
		return "", nil, nil, err
	}
	if produce, ok := request.(*wire.ProduceRequest); ok && produce.Acks == 0 {
		text, err := s.probe(conn)
		return text, nil, nil, err
	}
	if c.later {
		conn.waiting = append(conn.waiting, pending)
		return "sent", nil, nil, nil
	}
	answer, err := conn.receive(pending)
	if err != nil {
		return "", nil, nil, err
	}
	return render(answer, s.known), request, answer, nil
}

// probe tells silence from a closed connection by asking for something else.
func (s *session) probe(conn *conn) (string, error) {
	pending, err := conn.send(wire.NewRequest(wire.KeyAPIVersions), 0, "")
	if err != nil {
		return "", err
	}
	if _, err := conn.receive(pending); err != nil {
		return "", err
	}
	return "no answer", nil
}

// raw sends a frame of a header and a body that no encoder would write: key=18 version=99 body=00 [as=0].
func (s *session) raw(conn *conn, text string) (string, wire.Response, error) {
	var key, version, as int64 = 0, 0, -1
	var body []byte
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "key":
			key, err = strconv.ParseInt(value, 10, 16)
		case "version":
			version, err = strconv.ParseInt(value, 10, 16)
		case "as":
			as, err = strconv.ParseInt(value, 10, 16)
		case "body":
			body, err = hex.DecodeString(value)
		default:
			err = fmt.Errorf("%q is no part of a frame", word)
		}
		if err != nil {
			return "", nil, err
		}
	}
	conn.correlation++
	var w wire.Writer
	w.Int32(int32(10 + len(body)))
	w.Int16(int16(key))
	w.Int16(int16(version))
	w.Int32(conn.correlation)
	w.Int16(-1)
	if _, err := conn.Write(append(w.Bytes(), body...)); err != nil {
		return "", nil, errClosed
	}
	if as < 0 {
		frame, err := conn.readFrame(patience)
		return hex.EncodeToString(frame[min(4, len(frame)):]), nil, err
	}
	answer, err := conn.receive(sent{wire.Key(key), int16(as), conn.correlation})
	if err != nil {
		return "", nil, err
	}
	return render(answer, s.known), answer, nil
}

func (c *conn) send(request wire.Request, version int16, client string) (sent, error) {
	c.correlation++
	if client == "" {
		client = "differential"
	}
	var w wire.Writer
	wire.EncodeRequest(&w, &wire.RequestHeader{Version: version, CorrelationID: c.correlation, ClientID: []byte(client)}, request)
	if w.Err() != nil {
		return sent{}, w.Err()
	}
	if _, err := c.Write(w.Bytes()); err != nil {
		return sent{}, errClosed
	}
	return sent{request.Key(), version, c.correlation}, nil
}

func (c *conn) receive(s sent) (wire.Response, error) {
	frame, err := c.readFrame(patience)
	if err != nil {
		return nil, err
	}
	var r wire.Reader
	r.Reset(frame)
	if id := wire.DecodeResponseHeader(&r, s.key, s.version); id != s.id {
		return nil, fmt.Errorf("answer to request %d, want %d", id, s.id)
	}
	answer := wire.NewResponse(s.key)
	answer.Decode(&r, s.version)
	if r.Err() != nil || r.Remaining() > 0 {
		return nil, fmt.Errorf("%v version %d: %w, %d bytes left over", s.key, s.version, r.Err(), r.Remaining())
	}
	return answer, nil
}

func (c *conn) readFrame(patience time.Duration) ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience)) // the read tells
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, err
		}
		return nil, errClosed
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, frame)
	return frame, err
}

// resolve works out what a script cannot write down: saved fields, topic ids, batches.
func (s *session) resolve(v any) (any, error) {
	switch v := v.(type) {
	case variable:
		return s.load(string(v))
	case call:
		switch v.name {
		case "batch":
			return buildBatch(v.arg.(object), s.resolve)
		case "id":
			return s.topicID(v.arg.([]any)[0].(string))
		case "uuid": // one that names nothing
			return model.UUID{15: byte(v.arg.([]any)[0].(int64))}, nil
		case "each": // a name of its own for each version, or what was saved in this version
			if saved, ok := v.arg.([]any)[0].(variable); ok {
				return s.load(s.ofVersion(string(saved)))
			}
			name := v.arg.([]any)[0].(string)
			s.known[s.ofVersion(name)] = fmt.Sprintf("each(%q)", name)
			return s.ofVersion(name), nil
		case "subscription": // what a consumer wants: topics
			return subscription(v.arg.([]any)), nil
		case "repeat":
			args := v.arg.([]any)
			return strings.Repeat(args[0].(string), int(args[1].(int64))), nil
		}
		return nil, fmt.Errorf("no function %q", v.name)
	}
	return v, nil
}

func (s *session) load(variable string) (any, error) {
	saved, ok := s.saved[variable]
	if !ok {
		return nil, fmt.Errorf("$%s is not saved", variable)
	}
	return saved, nil
}

func (s *session) ofVersion(name string) string { return fmt.Sprintf("%s-v%d", name, s.version) }

// subscription is the metadata of a consumer in version 0 of its own protocol.
func subscription(topics []any) []byte {
	message := wire.ConsumerProtocolSubscription{}
	message.Reset()
	for _, topic := range topics {
		message.Topics = append(message.Topics, topic.(string))
	}
	var w wire.Writer
	w.Int16(0)
	message.Encode(&w, 0)
	return w.Bytes()
}

// fieldAt follows Topics.0.Name.
func fieldAt(v reflect.Value, path string) (any, error) {
	for step := range strings.SplitSeq(path, ".") {
		if i, err := strconv.Atoi(step); err == nil {
			if v.Kind() != reflect.Slice || i >= v.Len() {
				return nil, fmt.Errorf("no element %s", step)
			}
			v = v.Index(i)
			continue
		}
		if v = v.FieldByName(step); !v.IsValid() {
			return nil, fmt.Errorf("no field %s", step)
		}
	}
	switch {
	case v.CanInt():
		return v.Int(), nil
	case v.Type() == reflect.TypeFor[[]byte]():
		return string(v.Bytes()), nil
	}
	return v.Interface(), nil
}

// call asks the broker something for the test itself, on a connection of its own.
func (s *session) call(request wire.Request, version int16) (wire.Response, error) {
	conn, err := s.conn(" own")
	if err != nil {
		return nil, err
	}
	pending, err := conn.send(request, version, "")
	if err != nil {
		return nil, err
	}
	return conn.receive(pending)
}

func (s *session) metadata(topic string) (*wire.MetadataResponseTopic, error) {
	request := &wire.MetadataRequest{}
	request.Reset()
	wire.Add(&request.Topics).Name = []byte(topic)
	request.AllowAutoTopicCreation = false
	answer, err := s.call(request, 12)
	if err != nil {
		return nil, err
	}
	return &answer.(*wire.MetadataResponse).Topics[0], nil
}

func (s *session) topicID(topic string) (model.UUID, error) {
	t, err := s.metadata(topic)
	if err != nil {
		return model.UUID{}, err
	}
	if t.ErrorCode == 0 {
		s.known[t.TopicID.String()] = topic
	}
	return t.TopicID, nil
}

// settle waits until a change is in force. Apache Kafka answers once its controller has made it, and its
// broker follows a moment later; the scripts are about answers, not about that moment.
func (s *session) settle(request wire.Request, answer wire.Response) error {
	switch answer := answer.(type) {
	case *wire.CreateTopicsResponse:
		for _, t := range answer.Topics {
			if t.ErrorCode == kafkaerr.None && !request.(*wire.CreateTopicsRequest).ValidateOnly {
				if err := s.awaitTopic(t.Name, 1); err != nil {
					return err
				}
			}
		}
	case *wire.DeleteTopicsResponse, *wire.AlterConfigsResponse, *wire.IncrementalAlterConfigsResponse, *wire.CreatePartitionsResponse:
		return s.pass()
	}
	return nil
}

// awaitTopic waits until every partition of a topic is served.
func (s *session) awaitTopic(topic string, partitions int) error {
	return eventually(topic, func() (bool, error) {
		t, err := s.metadata(topic)
		if err != nil || t.ErrorCode != 0 || len(t.Partitions) < partitions {
			return false, err
		}
		request := &wire.ListOffsetsRequest{}
		request.Reset()
		list := wire.Add(&request.Topics)
		list.Name = topic
		for _, p := range t.Partitions {
			partition := wire.Add(&list.Partitions)
			partition.PartitionIndex, partition.Timestamp = p.PartitionIndex, -1
		}
		answer, err := s.call(request, 5)
		if err != nil {
			return false, err
		}
		for _, p := range answer.(*wire.ListOffsetsResponse).Topics[0].Partitions {
			if p.ErrorCode != kafkaerr.None {
				return false, nil
			}
		}
		return true, nil
	})
}

// pass returns once the broker has followed all that its controller did before: it makes two topics, one
// after the other, and metadata is applied in order. Their names begin with "settle-".
func (s *session) pass() error {
	for range 2 {
		s.barrier++
		topic := fmt.Sprintf("settle-%d", s.barrier)
		request := &wire.CreateTopicsRequest{}
		request.Reset()
		t := wire.Add(&request.Topics)
		t.Name, t.NumPartitions, t.ReplicationFactor = topic, 1, 1
		request.TimeoutMs = 10_000
		if _, err := s.call(request, 5); err != nil {
			return err
		}
		if err := s.awaitTopic(topic, 1); err != nil {
			return err
		}
	}
	return nil
}

func eventually(what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(3 * patience); ; time.Sleep(10 * time.Millisecond) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not served in time", what)
		}
	}
}
