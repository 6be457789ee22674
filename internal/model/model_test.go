package model_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/model"
)

func TestUUID_TextForm(t *testing.T) {
	u := model.UUID{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x4d, 0xef, 0x80, 1, 2, 3, 4, 5, 6, 7}
	got, err := model.ParseUUID(u.String())
	if err != nil || got != u {
		t.Fatalf("ParseUUID(%q) = %v, %v; want the same uuid", u.String(), got, err)
	}
	for _, bad := range []string{"", "short", strings.Repeat("!", 22), strings.Repeat("A", 21) + "B"} {
		if _, err := model.ParseUUID(bad); err == nil {
			t.Errorf("ParseUUID(%q) accepted a string that no uuid writes", bad)
		}
	}
}

func TestNewUUID_NeverLooksLikeAFlag(t *testing.T) {
	// The first 16 bytes would give a text form that starts with '-': it must draw again.
	random := bytes.NewReader(append(bytes.Repeat([]byte{0xfb}, 16), bytes.Repeat([]byte{1}, 16)...))
	u, err := model.NewUUID(random)
	if err != nil {
		t.Fatal(err)
	}
	if u.String()[0] == '-' || random.Len() != 0 {
		t.Fatalf("NewUUID = %s with %d bytes left, want a second draw", u, random.Len())
	}
}

func TestValidateTopicName(t *testing.T) {
	for _, name := range []string{"a", "A.b_c-9", strings.Repeat("x", 249), "..."} {
		if err := model.ValidateTopicName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", strings.Repeat("x", 250), "a/b", "a b", "ä"} {
		if err := model.ValidateTopicName(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

// The expected values are Java's "...".hashCode() folded by Kafka's Utils.abs.
func TestCoordinatorPartition_IsJavas(t *testing.T) {
	for _, tc := range []struct {
		key  string
		n    int32
		want int32
	}{
		{"", 50, 0},
		{"my-group", 50, 12},
		{"polygenelubricants", 50, 0}, // hashCode is MinInt32
		{"\U0001F600", 50, 1772899 % 50},
	} {
		if got := model.CoordinatorPartition(tc.key, tc.n); got != tc.want {
			t.Errorf("CoordinatorPartition(%q, %d) = %d, want %d", tc.key, tc.n, got, tc.want)
		}
	}
}
