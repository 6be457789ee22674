package server_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/wire"
)

// flexibleFrame builds a request with header v2.
func flexibleFrame(version int16, id int32, body ...byte) []byte {
	return frame(wire.KeyAPIVersions, version, id, append([]byte{0}, body...)...)
}

// compact writes strings of flexible versions, "null" as null, with what else is given as it is.
func compact(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			if p == "null" {
				b = append(b, 0)
				continue
			}
			b = append(append(b, byte(len(p)+1)), p...)
		case int:
			b = append(b, byte(p))
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAPIVersions_Bytes(t *testing.T) {
	const (
		// The table of the test: Produce from 0, Fetch 4-11, Heartbeat 0-3, ApiVersions 0-5.
		keysV0 = "00000004 000000000008 00010004000b 000c00000003 001200000005"
		keysV3 = "05 00000000000800 00010004000b00 000c0000000300 00120000000500"
		// group.version 0-1, metadata.version 7-33.
		supportedV4 = "00 2a 03 0e 67726f75702e76657273696f6e 0000 0001 00 11 6d657461646174612e76657273696f6e 0007 0021 00"
		supportedV3 = "00 17 02 11 6d657461646174612e76657273696f6e 0007 0021 00"
		epoch       = "01 08 0000000000000005"
		finalized   = "02 17 02 11 6d657461646174612e76657273696f6e 0021 0021 00"
	)
	node1, other := []byte{0, 0, 0, 1}, []byte{0, 0, 0, 2}
	none := []byte{0xff, 0xff, 0xff, 0xff}
	tests := []struct {
		name    string
		request []byte
		want    string // after the correlation id; the response header is v0 throughout
	}{
		{"v0", frame(wire.KeyAPIVersions, 0, 9), "0000" + keysV0},
		{"v1 has a throttle time", frame(wire.KeyAPIVersions, 1, 9), "0000" + keysV0 + "00000000"},
		{"v2", frame(wire.KeyAPIVersions, 2, 9), "0000" + keysV0 + "00000000"},
		{
			"v3 leaves out features that start at 0", flexibleFrame(3, 9, compact("sarama", "1.46", 0)...),
			"0000" + keysV3 + "00000000 03" + supportedV3 + epoch + finalized,
		},
		{
			"v4 shows them", flexibleFrame(4, 9, compact("sarama", "1.46", 0)...),
			"0000" + keysV3 + "00000000 03" + supportedV4 + epoch + finalized,
		},
		{
			"v5 without a node", flexibleFrame(5, 9, compact("java", "4.4.0", "null", none, 0)...),
			"0000" + keysV3 + "00000000 03" + supportedV4 + epoch + finalized,
		},
		{
			"v5 of this node", flexibleFrame(5, 9, compact("java", "4.4.0", "cluster", node1, 0)...),
			"0000" + keysV3 + "00000000 03" + supportedV4 + epoch + finalized,
		},
		{"v5 of another node", flexibleFrame(5, 9, compact("java", "4.4.0", "cluster", other, 0)...), "0081 01 00000000 00"},
		{"v5 of another cluster", flexibleFrame(5, 9, compact("java", "4.4.0", "elsewhere", node1, 0)...), "0081 01 00000000 00"},
		{"v5 with a cluster alone", flexibleFrame(5, 9, compact("java", "4.4.0", "cluster", none, 0)...), "002a 01 00000000 00"},
		{"v5 with a node alone", flexibleFrame(5, 9, compact("java", "4.4.0", "null", node1, 0)...), "002a 01 00000000 00"},
		{"v5 wrong name comes before another node", flexibleFrame(5, 9, compact("-", "4.4.0", "cluster", other, 0)...), "002a 01 00000000 00"},
		{
			"name of one letter", flexibleFrame(3, 9, compact("a", "1", 0)...),
			"0000" + keysV3 + "00000000 03" + supportedV3 + epoch + finalized,
		},
		{"empty name", flexibleFrame(3, 9, compact("", "1", 0)...), "002a 01 00000000 00"},
		{"name that ends with a dot", flexibleFrame(3, 9, compact("a.", "1", 0)...), "002a 01 00000000 00"},
		{"name with a space", flexibleFrame(3, 9, compact("a b", "1", 0)...), "002a 01 00000000 00"},
		{"name with a line end", flexibleFrame(3, 9, compact("a\n", "1", 0)...), "002a 01 00000000 00"},
		{"version that starts with a hyphen", flexibleFrame(3, 9, compact("a", "-1", 0)...), "002a 01 00000000 00"},
		{"above ours, whatever the body", flexibleFrame(6, 9, 0xde, 0xad), "0023 00000001 001200000005"},
		{"far above ours", flexibleFrame(32767, 9), "0023 00000001 001200000005"},
		{"negative", frame(wire.KeyAPIVersions, -1, 9), "0023 00000001 001200000005"},
	}
	n := start(t, echo(), server.Config{}, func(d *server.Deps) {
		d.Features = func() server.Features {
			return server.Features{
				Supported: []server.SupportedFeature{{Name: "group.version", Max: 1}, {Name: "metadata.version", Min: 7, Max: 33}},
				Finalized: []server.FinalizedFeature{{Name: "group.version", Level: 0}, {Name: "metadata.version", Level: 33}},
				Epoch:     5,
			}
		}
	})
	c := n.dial(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c.t = t
			c.send(test.request)
			id, got := c.recv()
			if want := unhex(t, test.want); id != 9 || !bytes.Equal(got, want) {
				t.Errorf("answer to %d\n got %x\nwant %x", id, got, want)
			}
		})
	}
}

func TestAPIVersions_MalformedClosesTheConnection(t *testing.T) {
	for name, f := range map[string][]byte{
		"header without tags": frame(wire.KeyAPIVersions, 3, 9),
		"name beyond the end": flexibleFrame(3, 9, 200, 'a'),
		"tags without an end": flexibleFrame(3, 9, compact("a", "1", 0xff, 0xff, 0xff, 0xff, 0x0f)...),
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, echo(), server.Config{}).dial(t)
			c.send(f)
			c.expectClosed()
		})
	}
}

func TestAPIVersions_NamesTheClient(t *testing.T) {
	conns := make(chan *server.Conn, 1)
	c := start(t, []server.API{api(wire.KeyHeartbeat, func(r *server.Request) server.Outcome {
		conns <- r.Conn
		return answerAtOnce(r)
	})}, server.Config{}).dial(t)
	c.send(flexibleFrame(3, 1, compact("librdkafka", "2.15.0", 0)...), heartbeat(2, "g"))
	c.expect(1, 2)
	if name, version := (<-conns).ClientSoftware(); name != "librdkafka" || version != "2.15.0" {
		t.Errorf("client %q %q", name, version)
	}
}
