package cli

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// size is the value of a flag that is a number of bytes: 512, 64KiB, 1MiB, 2GiB.
type size[T int | int64] struct{ bytes *T }

// sizeUnits are largest first.
func sizeUnits() []string { return []string{"TiB", "GiB", "MiB", "KiB"} }

// Set implements pflag.Value.
func (s size[T]) Set(text string) error {
	number, shift := text, 0
	for i, unit := range sizeUnits() {
		if n, ok := strings.CutSuffix(strings.ToLower(text), strings.ToLower(unit)); ok {
			number, shift = strings.TrimSpace(n), 10*(len(sizeUnits())-i)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift || int64(T(n<<shift)) != n<<shift {
		return errors.New("want a number of bytes, or of KiB, MiB, GiB or TiB: 512, 64KiB")
	}
	*s.bytes = T(n << shift)
	return nil
}

// String implements pflag.Value.
func (s size[T]) String() string {
	if s.bytes == nil {
		return ""
	}
	return sizeText(int64(*s.bytes))
}

// Type implements pflag.Value.
func (s size[T]) Type() string { return "size" }

// sizeText is a size as the flag takes it.
func sizeText(bytes int64) string {
	for i, unit := range sizeUnits() {
		if one := int64(1) << (10 * (len(sizeUnits()) - i)); bytes >= one && bytes%one == 0 {
			return strconv.FormatInt(bytes/one, 10) + unit
		}
	}
	return strconv.FormatInt(bytes, 10)
}
