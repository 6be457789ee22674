package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/walser-io/walser/internal/cli"
)

// TestInput reads records as they come from pipes and files, the last line ended or not.
func TestInput(t *testing.T) {
	for _, tc := range []struct {
		format, input string
		want          string // key=value of each record; ~ is null
	}{
		{`%v\n`, "", ""},
		{`%v\n`, "a\nb\n", "~=a ~=b"},
		{`%v\n`, "a\nb", "~=a ~=b"},
		{`%v\n`, "a\n\nb\n", "~=a ~= ~=b"},
		{`%v\n`, "\n", "~="},
		{`%k=%v\n`, "k=v\nk2=v2", "k=v k2=v2"},
		{`%V{ascii} %v`, "1 a2 bc", "~=a ~=bc"},
		{"json", `{"key":"k","value":"v"} {"key":null,"value":null}{"key":{"base64":"YQ=="},"value":""}`, "k=v ~=~ a="},
	} {
		got, err := cli.ReadAll(iotest.OneByteReader(strings.NewReader(tc.input)), tc.format)
		if err != nil {
			t.Errorf("%s of %q: %v", tc.format, tc.input, err)
		}
		var parts []string
		for _, r := range got {
			part := func(b []byte) string {
				if b == nil {
					return "~"
				}
				return string(b)
			}
			parts = append(parts, part(r.Key)+"="+part(r.Value))
		}
		if text := strings.Join(parts, " "); text != tc.want {
			t.Errorf("%s of %q: %s, want %s", tc.format, tc.input, text, tc.want)
		}
	}
	for _, bad := range []string{`{"value":1}`, `{"vlaue":"x"}`, `{"value":{"base64":7}}`, `{"value":"x"`} {
		if got, err := cli.ReadAll(strings.NewReader(bad), "json"); err == nil {
			t.Errorf("%s: %v, want an error", bad, got)
		}
	}
}

// TestText: bytes of any kind survive the way through JSON.
func TestText(t *testing.T) {
	for _, b := range [][]byte{nil, {}, []byte("text"), []byte("<ü&\"\\\n>"), {0xff, 0, 0xfe}} {
		j, err := json.Marshal(cli.Text(b))
		if err != nil {
			t.Fatal(err)
		}
		var back cli.Text
		if err := json.Unmarshal(j, &back); err != nil || string(back) != string(b) || (back == nil) != (b == nil) {
			t.Errorf("%q became %s became %q, %v", b, j, back, err)
		}
	}
}
