package main

import "testing"

func TestSpreadOf(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{Median: 3, Min: 3, Max: 3, Rounds: 1}},
		{[]float64{9, 1, 2}, spread{Median: 2, Min: 1, Max: 9, Rounds: 3}},
		{[]float64{4, 1, 8, 2}, spread{Median: 3, Min: 1, Max: 8, Rounds: 4}},
	} {
		if got := spreadOf(tc.values); got != tc.want {
			t.Errorf("of %v: %+v, want %+v", tc.values, got, tc.want)
		}
	}
}

func TestRatioOf(t *testing.T) {
	// The third minute was slow for both: the ratios do not show it, the columns do.
	got, ok := ratioOf([]float64{30, 32, 10}, []float64{10, 8, 5})
	if want := (spread{Median: 30.0 / 8, Min: 2, Max: 4, Rounds: 3}); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	for name, pair := range map[string][2][]float64{
		"none":       {nil, nil},
		"one column": {{1}, nil},
		"of zero":    {{1, 2}, {0, 1}},
		"zero/zero":  {{0}, {0}},
	} {
		if got, ok := ratioOf(pair[0], pair[1]); ok {
			t.Errorf("%s: a ratio of %+v", name, got)
		}
	}
}
