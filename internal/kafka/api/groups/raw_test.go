package groups_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawClient sends requests of any version and reads the bytes of the answers. It encodes and decodes by
// another implementation than the server's.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	next int32
}

func (c *rawClient) send(version int16, req kmsg.Request) {
	c.t.Helper()
	req.SetVersion(version)
	c.next++
	if _, err := c.conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("client")).AppendRequest(nil, req, c.next)); err != nil {
		c.t.Fatalf("send %s v%d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
}

// recv returns the body of the next answer, which is to be the one to the last request.
func (c *rawClient) recv(flexible bool) []byte {
	c.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	if got := int32(binary.BigEndian.Uint32(b)); got != c.next {
		c.t.Fatalf("answer to %d, want the one to %d", got, c.next)
	}
	if b = b[4:]; flexible {
		b = b[1:] // no tags
	}
	return b
}

// ask sends a request and returns its answer, decoded and as it came.
func (c *rawClient) ask(version int16, req kmsg.Request) (kmsg.Response, []byte) {
	c.t.Helper()
	c.send(version, req)
	resp := req.ResponseKind()
	resp.SetVersion(version)
	body := c.recv(resp.IsFlexible())
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("decode %s v%d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	return resp, body
}

// ask is rawClient.ask for an answer of a known type.
func ask[R kmsg.Response](c *rawClient, version int16, req kmsg.Request) R {
	c.t.Helper()
	resp, _ := c.ask(version, req)
	return resp.(R)
}
