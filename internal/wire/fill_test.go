package wire_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/wire"
)

var (
	tagsType     = reflect.TypeFor[wire.Tags]()
	recordsType  = reflect.TypeFor[wire.Records]()
	kmsgTagsType = reflect.TypeFor[kmsg.Tags]()
)

// filler sets every field of a message, ours or kmsg's, to random values. Fields that the version at
// hand lacks are set too: kmsg drops them, and settle takes them back from ours.
type filler struct{ *rand.Rand }

func newFiller(seed uint64) filler { return filler{rand.New(rand.NewPCG(seed, 7))} }

func (f filler) fill(v reflect.Value) {
	switch v.Type() {
	case tagsType:
		if f.IntN(4) == 0 {
			v.Set(reflect.ValueOf(wire.Tags{{ID: 100, Data: f.bytes()}, {ID: 1 << 31, Data: f.bytes()}}))
		}
		return
	case kmsgTagsType:
		if f.IntN(4) == 0 {
			v.Addr().Interface().(*kmsg.Tags).Set(100, f.bytes())
		}
		return
	case recordsType:
		v.Set(reflect.ValueOf(wire.Records{Bytes: f.bytes()}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Version" || v.Type().Field(i).Type.Kind() != reflect.Int16 || v.Type().PkgPath() != "github.com/twmb/franz-go/pkg/kmsg" || i != 0 {
				f.fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.SetZero()
		if f.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem())
		}
	case reflect.Slice:
		switch {
		case f.IntN(5) == 0:
			v.SetZero()
		case v.Type().Elem().Kind() == reflect.Uint8:
			v.SetBytes(f.bytes())
		default:
			v.Set(reflect.MakeSlice(v.Type(), f.IntN(4), 4))
			for i := range v.Len() {
				f.fill(v.Index(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.String:
		v.SetString(string(f.bytes()))
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat(f.NormFloat64())
	default:
		n := f.Uint64() >> f.IntN(64)
		if v.CanInt() {
			v.SetInt(int64(n))
		} else {
			v.SetUint(n)
		}
	}
}

func (f filler) bytes() []byte {
	b := make([]byte, f.IntN(12))
	if f.IntN(20) == 0 {
		b = make([]byte, 120+f.IntN(300)) // lengths around where a varint needs a second byte
	}
	for i := range b {
		b[i] = byte(f.Uint32())
	}
	return b
}

var refusal = regexp.MustCompile(`(\w+)\.(\w+) is (set|null), which`)

// encode encodes m at version. A field that the version cannot carry is named by the writer's refusal; it
// is then put back to its preset, or from null to empty, and encoding tried again.
func encode(t testing.TB, m codec, version int16) []byte {
	t.Helper()
	for range 200 {
		var w wire.Writer
		m.Encode(&w, version)
		err := w.Err()
		if err == nil {
			return w.Bytes()
		}
		if strings.Contains(err.Error(), "tagged fields in a version that has none") {
			settle(reflect.ValueOf(m), func(v reflect.Value) {
				if tags := v.FieldByName("UnknownTags"); tags.IsValid() {
					tags.SetZero()
				}
			})
			continue
		}
		match := refusal.FindStringSubmatch(err.Error())
		if match == nil {
			t.Fatalf("%T v%d: %v", m, version, err)
		}
		settle(reflect.ValueOf(m), func(v reflect.Value) {
			if v.Type().Name() != match[1] {
				return
			}
			field := v.FieldByName(match[2])
			if match[3] == "null" {
				if field.Kind() == reflect.Pointer {
					field.Set(reflect.New(field.Type().Elem()))
				} else {
					field.Set(reflect.MakeSlice(field.Type(), 0, 0))
				}
				return
			}
			preset := reflect.New(v.Type())
			preset.Interface().(interface{ Reset() }).Reset()
			field.Set(preset.Elem().FieldByName(match[2]))
		})
	}
	t.Fatalf("%T v%d does not settle", m, version)
	return nil
}

// settle calls fix with every struct in v.
func settle(v reflect.Value, fix func(reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			settle(v.Elem(), fix)
		}
	case reflect.Slice:
		for i := range v.Len() {
			settle(v.Index(i), fix)
		}
	case reflect.Struct:
		fix(v)
		for i := range v.NumField() {
			settle(v.Field(i), fix)
		}
	}
}

// codec is what messages and data structs have in common.
type codec interface {
	Reset()
	Decode(r *wire.Reader, version int16)
	Encode(w *wire.Writer, version int16)
}

// decode decodes all of b into m.
func decode(m codec, b []byte, version int16) error {
	var r wire.Reader
	r.Reset(b)
	m.Decode(&r, version)
	if r.Err() == nil && r.Remaining() > 0 {
		return fmt.Errorf("%d bytes left over", r.Remaining())
	}
	return r.Err()
}
