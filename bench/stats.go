package main

import (
	"math"
	"slices"
)

// spread is the median of some rounds and how far they lie apart.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"`
}

// spreadOf returns the spread of the rounds' values; of none it is zero.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1], Rounds: len(sorted)}
}

// quotients divides a by b round by round.
func quotients(a, b []float64) (pairs []float64) {
	for i := range min(len(a), len(b)) {
		pairs = append(pairs, a[i]/b[i])
	}
	return pairs
}

// ratioOf compares two peers round by round. The median is that of one over that of the other, as a reader
// of the two columns would divide; the ends are those of the rounds' own ratios, which a slow minute of the
// machine touches less, as it falls on both. Values are paired by their place; where b is zero there is no
// ratio.
func ratioOf(a, b []float64) (spread, bool) {
	pairs := quotients(a, b)
	ratio := spreadOf(pairs)
	ratio.Median = spreadOf(a).Median / spreadOf(b).Median
	for _, v := range []float64{ratio.Median, ratio.Min, ratio.Max} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return spread{}, false
		}
	}
	return ratio, len(pairs) > 0
}
