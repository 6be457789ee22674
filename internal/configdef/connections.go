package configdef

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseConnectionOverrides reads the value of max.connections.per.ip.overrides, address:count,address:count,
// with an IPv6 address in brackets or without. It returns nil for an empty one. Names are refused: Kafka
// looks them up once, and a bound would follow whatever that answer was.
func ParseConnectionOverrides(text string) (map[netip.Addr]int, error) {
	var overrides map[netip.Addr]int
	for pair := range strings.SplitSeq(text, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		i := max(strings.LastIndexByte(pair, ':'), 0)
		host := strings.TrimSuffix(strings.TrimPrefix(pair[:i], "["), "]")
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return nil, fmt.Errorf("%q is not address:count (host names are not looked up)", pair)
		}
		count, err := strconv.ParseInt(strings.TrimSpace(pair[i+1:]), 10, 32)
		if err != nil || count < 0 {
			return nil, fmt.Errorf("%q is not address:count", pair)
		}
		if overrides == nil {
			overrides = map[netip.Addr]int{}
		}
		overrides[addr.Unmap().WithZone("")] = int(count)
	}
	return overrides, nil
}
