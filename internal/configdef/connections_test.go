package configdef_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/walser-io/walser/internal/configdef"
)

func TestParseConnectionOverrides(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tc := range []struct {
		text string
		want map[netip.Addr]int
		err  string
	}{
		{"", nil, ""},
		{" , ", nil, ""},
		{"10.0.0.7:100, 10.0.0.8: 0", map[netip.Addr]int{addr("10.0.0.7"): 100, addr("10.0.0.8"): 0}, ""},
		{"[2001:db8::1]:2,2001:db8::2:3", map[netip.Addr]int{addr("2001:db8::1"): 2, addr("2001:db8::2"): 3}, ""},
		{"[::ffff:10.0.0.7]:1", map[netip.Addr]int{addr("10.0.0.7"): 1}, ""},
		{"gateway:5", nil, `"gateway:5" is not address:count (host names are not looked up)`},
		{"10.0.0.7", nil, `"10.0.0.7" is not address:count (host names are not looked up)`},
		{":5", nil, `":5" is not address:count (host names are not looked up)`},
		{"10.0.0.7:-1", nil, `"10.0.0.7:-1" is not address:count`},
		{"10.0.0.7:many", nil, `"10.0.0.7:many" is not address:count`},
	} {
		got, err := configdef.ParseConnectionOverrides(tc.text)
		if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%q: %s", tc.text, diff)
		}
		if (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%q: error %v, want %s", tc.text, err, tc.err)
		}
	}
}
