package differential

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// assign sets the field, slice or struct dst to the value of a script.
func assign(dst reflect.Value, v any, resolve func(any) (any, error)) error {
	v, err := resolve(v)
	if err != nil {
		return err
	}
	if v == nil {
		switch dst.Kind() {
		case reflect.Pointer, reflect.Slice:
			dst.SetZero()
			return nil
		}
		return fmt.Errorf("null for a %s", dst.Type())
	}
	if dst.Type() == reflect.TypeFor[wire.Records]() {
		return assign(dst.Field(0), v, resolve)
	}
	switch v := v.(type) {
	case object:
		if dst.Kind() == reflect.Pointer {
			dst.Set(reflect.New(dst.Type().Elem()))
			dst = dst.Elem()
			dst.Addr().MethodByName("Reset").Call(nil)
		}
		for _, f := range v {
			field := dst.FieldByName(f.name)
			if !field.IsValid() {
				return fmt.Errorf("%s has no field %q", dst.Type(), f.name)
			}
			if err := assign(field, f.value, resolve); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	case []any:
		if dst.Type() == reflect.TypeFor[[]byte]() { // several batches in a row
			var joined []byte
			for _, part := range v {
				part, err := resolve(part)
				if err != nil {
					return err
				}
				joined = append(joined, bytesOf(part)...)
			}
			dst.SetBytes(joined)
			return nil
		}
		slice := reflect.MakeSlice(dst.Type(), len(v), len(v))
		for i, e := range v {
			if reset := slice.Index(i).Addr().MethodByName("Reset"); reset.IsValid() {
				reset.Call(nil)
			}
			if err := assign(slice.Index(i), e, resolve); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		dst.Set(slice)
	case string:
		switch {
		case dst.Kind() == reflect.String:
			dst.SetString(v)
		case dst.Type() == reflect.TypeFor[*string]():
			dst.Set(reflect.ValueOf(&v))
		case dst.Type() == reflect.TypeFor[[]byte]():
			dst.SetBytes([]byte(v))
		default:
			return fmt.Errorf("text for a %s", dst.Type())
		}
	case []byte:
		dst.SetBytes(v)
	case int64:
		if !dst.CanInt() || dst.OverflowInt(v) {
			return fmt.Errorf("%d for a %s", v, dst.Type())
		}
		dst.SetInt(v)
	case bool:
		dst.SetBool(v)
	case model.UUID:
		dst.Set(reflect.ValueOf(v))
	default:
		return fmt.Errorf("%T for a %s", v, dst.Type())
	}
	return nil
}

// names are what ids of this run are called in the answers: topic ids, member ids, producer ids.
type names map[string]string

// render shows a message in the notation of the scripts. Fields at their presets are left out, but error
// codes never are. What two brokers cannot agree on is masked: its presence is compared, its value is not.
func render(m wire.Message, known names) string {
	return renderStruct(reflect.ValueOf(m).Elem(), known, "")
}

// ignored fields say nothing about behaviour: throttling is tested elsewhere.
var ignored = map[string]bool{"ThrottleTimeMs": true}

// masked fields differ from broker to broker and from run to run.
var masked = map[string]bool{
	"ClusterID": true, "Host": true, "Port": true, "SessionID": true, "ErrorMessage": true, "BatchIndexErrorMessage": true,
	"FinalizedFeaturesEpoch": true, "LogDir": true, "TotalBytes": true, "UsableBytes": true, "Documentation": true,
	"ProducerID": true, "TopicConfigErrorMessage": true, "ClientHost": true,
}

// unordered lists come out of hash maps in Apache Kafka, so their order means nothing.
var unordered = map[string]bool{
	"Topics": true, "Responses": true, "Configs": true, "SupportedFeatures": true, "FinalizedFeatures": true, "Members": true,
	"Groups": true, "Results": true,
}

// unorderedTypes do so where other lists of the name do not.
var unorderedTypes = map[reflect.Type]bool{
	reflect.TypeFor[[]wire.OffsetCommitResponsePartition](): true,
	reflect.TypeFor[[]wire.OffsetFetchResponsePartition]():  true,
	reflect.TypeFor[[]wire.OffsetFetchResponsePartitions](): true,
	reflect.TypeFor[[]wire.OffsetDeleteResponsePartition](): true,
}

const broad = 118 // columns, beyond which a value is broken into lines

func renderStruct(v reflect.Value, known names, indent string) string {
	preset := reflect.New(v.Type())
	if reset := preset.MethodByName("Reset"); reset.IsValid() {
		reset.Call(nil)
	}
	var parts []string
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		code := f.Type() == reflect.TypeFor[kafkaerr.Code]()
		if ignored[name] || !code && same(f, preset.Elem().Field(i)) {
			continue
		}
		if text, ok := f.Interface().(*string); ok && strings.HasSuffix(name, "ErrorMessage") && *text == "" {
			continue
		}
		if masked[name] && !(name == "ProducerID" && f.Int() < 0) {
			parts = append(parts, name+": <>")
			continue
		}
		if (unordered[name] || unorderedTypes[f.Type()]) && f.Kind() == reflect.Slice && f.Len() > 0 {
			parts = append(parts, name+": "+layout("[", slices.Sorted(slices.Values(renderAll(f, known, indent+"    "))), "]", indent+"  "))
			continue
		}
		parts = append(parts, name+": "+renderValue(f, known, indent+"  "))
	}
	return layout("{", parts, "}", indent)
}

func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice {
		return a.Len() == 0 && a.IsNil() == b.IsNil() || a.Len() == 0 && a.Type() == reflect.TypeFor[wire.Tags]()
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func renderValue(v reflect.Value, known names, indent string) string {
	switch x := v.Interface().(type) {
	case kafkaerr.Code:
		return x.Error()
	case model.UUID:
		switch name := known[x.String()]; {
		case x.IsZero():
			return "0"
		case name != "":
			return "id(" + name + ")"
		}
		return "<id>"
	case wire.Records:
		if x.Nil() {
			return "null"
		}
		return renderRecords(x.Bytes)
	case []byte:
		if x == nil {
			return "null"
		}
		return renderText(string(x), known)
	case string:
		return renderText(x, known)
	case *string:
		if x == nil {
			return "null"
		}
		return renderText(*x, known)
	case int64:
		return timeText(x)
	}
	switch v.Kind() {
	case reflect.Struct:
		return renderStruct(v, known, indent)
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return renderStruct(v.Elem(), known, indent)
	case reflect.Slice:
		if v.IsNil() {
			return "null"
		}
		return layout("[", renderAll(v, known, indent+"  "), "]", indent)
	}
	return fmt.Sprint(v.Interface())
}

func renderAll(list reflect.Value, known names, indent string) []string {
	parts := make([]string, list.Len())
	for i := range parts {
		parts[i] = renderValue(list.Index(i), known, indent)
	}
	return parts
}

func renderText(s string, known names) string {
	if name := known[s]; name != "" {
		return name
	}
	if n := len(s) - 37; n >= 0 && s[n] == '-' && strings.Count(s[n:], "-") == 5 { // <client id>-<uuid>
		return strconv.Quote(s[:n]) + "-<uuid>"
	}
	return strconv.Quote(s)
}

// timeText hides times of this run, and keeps those that scripts choose.
func timeText(ms int64) string {
	if ago := time.Now().UnixMilli() - ms; ago < 3_600_000*24 && ago > -3_600_000*24 {
		return "<now>"
	}
	return strconv.FormatInt(ms, 10)
}

func layout(open string, parts []string, end, indent string) string {
	line := open + strings.Join(parts, ", ") + end
	if len(indent)+len(line) <= broad && !strings.Contains(line, "\n") || len(parts) == 0 {
		return line
	}
	inner := "\n" + indent + "  "
	return open + inner + strings.Join(parts, ","+inner) + ",\n" + indent + end
}
