package wire_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// TestGolden decodes frames of old versions, which no client of today's Java or Go libraries sends, prints
// what they say, and encodes them to the same bytes. Requests were recorded from the client that the file
// is named after; responses were encoded by kmsg with values that tell every field from its neighbours.
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata/golden", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			frame, err := hex.DecodeString(strings.Join(strings.Fields(d.Input), ""))
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			switch d.Cmd {
			case "request":
				return goldenRequest(t, d, frame)
			case "response":
				var key, version int
				d.ScanArgs(t, "key", &key)
				d.ScanArgs(t, "version", &version)
				return goldenResponse(t, d, frame, wire.Key(key), int16(version))
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

func goldenRequest(t *testing.T, d *datadriven.TestData, frame []byte) string {
	var (
		r wire.Reader
		h wire.RequestHeader
		w wire.Writer
	)
	r.Reset(frame)
	if size := r.Int32(); int(size) != r.Remaining() {
		d.Fatalf(t, "frame says %d bytes and has %d", size, r.Remaining())
	}
	h.Decode(&r)
	m := wire.NewRequest(h.Key)
	if err := wire.DecodeRequest(&r, m, h.Version); err != nil {
		d.Fatalf(t, "%v", err)
	}
	wire.EncodeRequest(&w, &h, m)
	if w.Err() != nil || !bytes.Equal(w.Bytes(), frame) {
		d.Fatalf(t, "encodes to other bytes: %x (%v)", w.Bytes(), w.Err())
	}
	return fmt.Sprintf("%v v%d correlation %d client %q\n%s", h.Key, h.Version, h.CorrelationID, h.ClientID, dump(m))
}

func goldenResponse(t *testing.T, d *datadriven.TestData, frame []byte, key wire.Key, version int16) string {
	var (
		r wire.Reader
		w wire.Writer
	)
	r.Reset(frame)
	r.Int32()
	correlationID := wire.DecodeResponseHeader(&r, key, version)
	m := wire.NewResponse(key)
	m.Decode(&r, version)
	if r.Err() != nil || r.Remaining() > 0 {
		d.Fatalf(t, "%v, %d bytes left", r.Err(), r.Remaining())
	}
	wire.EncodeResponse(&w, m, version, correlationID)
	if w.Err() != nil || !bytes.Equal(w.Bytes(), frame) {
		d.Fatalf(t, "encodes to other bytes: %x (%v)", w.Bytes(), w.Err())
	}
	return fmt.Sprintf("%v v%d correlation %d\n%s", key, version, correlationID, dump(m))
}

// dump prints the fields of m that are not at their presets, one per line.
func dump(m wire.Message) string {
	var b strings.Builder
	dumpStruct(&b, reflect.ValueOf(m).Elem(), "  ")
	return b.String()
}

func dumpStruct(b *strings.Builder, v reflect.Value, indent string) {
	preset := reflect.New(v.Type())
	preset.Interface().(interface{ Reset() }).Reset()
	for i := range v.NumField() {
		f := v.Field(i)
		if reflect.DeepEqual(f.Interface(), preset.Elem().Field(i).Interface()) {
			continue
		}
		fmt.Fprintf(b, "%s%s:", indent, v.Type().Field(i).Name)
		dumpValue(b, f, indent)
	}
}

// dumpBytes prints text as text and the rest in hex.
func dumpBytes(b *strings.Builder, v []byte) {
	binary := func(r rune) bool { return r < ' ' || r > '~' }
	switch {
	case v == nil:
		b.WriteString(" null\n")
	case bytes.ContainsFunc(v, binary):
		fmt.Fprintf(b, " %x\n", v)
	default:
		fmt.Fprintf(b, " %q\n", v)
	}
}

func dumpValue(b *strings.Builder, v reflect.Value, indent string) {
	switch x := v.Interface().(type) {
	case model.UUID:
		fmt.Fprintf(b, " %v\n", x)
		return
	case []byte:
		dumpBytes(b, x)
		return
	case wire.Records:
		dumpBytes(b, x.Bytes)
		return
	case wire.Tags:
		for _, tag := range x {
			fmt.Fprintf(b, " %d=%x", tag.ID, tag.Data)
		}
		b.WriteString("\n")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		b.WriteString("\n")
		dumpStruct(b, v, indent+"  ")
	case reflect.Pointer:
		if v.IsNil() {
			b.WriteString(" null\n")
			return
		}
		dumpValue(b, v.Elem(), indent)
	case reflect.Slice:
		switch {
		case v.IsNil():
			b.WriteString(" null\n")
		case v.Len() == 0:
			b.WriteString(" []\n")
		case v.Type().Elem().Kind() != reflect.Struct:
			fmt.Fprintf(b, " %v\n", v)
		default:
			b.WriteString("\n")
			for i := range v.Len() {
				fmt.Fprintf(b, "%s-\n", indent)
				dumpStruct(b, v.Index(i), indent+"  ")
			}
		}
	case reflect.String:
		fmt.Fprintf(b, " %q\n", v.String())
	default:
		fmt.Fprintf(b, " %v\n", v)
	}
}
