package main

import "testing"

func TestTarget_Judge(t *testing.T) {
	values := map[string][]float64{peerWalser: {30, 32, 10}, peerWalserDefault: {9, 9, 9}, peerKafka: {10, 8, 5}}
	for name, tc := range map[string]struct {
		target  target
		median  float64
		holds   bool
		holdsIn int
	}{
		"above":                         {atLeast("f", 3.7), 3.75, true, 1},
		"just":                          {atLeast("f", 3.75), 3.75, true, 1},
		"the median misses":             {atLeast("f", 3.76), 3.75, false, 1},
		"at most":                       {atMost("f", 3), 3.75, false, 2},
		"of the default":                {atMost("f", 1.2).byDefault(), 9.0 / 8, true, 2},
		"a figure itself":               {target{"f", peerWalser, "≤", 30, false}, 30, true, 2},
		"below, and equal is not below": {target{"f", peerWalser, "<", 30, false}, 30, false, 1},
	} {
		v := tc.target.judge("c", values)
		if !v.Measured || v.Value.Median != tc.median || v.Holds != tc.holds || v.HoldsIn != tc.holdsIn || v.Value.Rounds != 3 || v.Case != "c" {
			t.Errorf("%s: %+v", name, v)
		}
	}
	v := atLeast("f", 0).judge("c", map[string][]float64{peerWalser: {1}})
	if v.Measured || v.Holds || v.word() != "not measured" {
		t.Errorf("judged without Kafka: %+v", v)
	}
}

// A target that names no figure of its case would never be judged.
func TestCases_TargetsNameFigures(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range cases() {
		if seen[c.name] {
			t.Errorf("two cases are called %s", c.name)
		}
		seen[c.name] = true
		if err := c.load.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		names := map[string]bool{}
		for _, f := range figuresOf(c.kind) {
			names[f.name] = true
		}
		for _, target := range c.targets {
			if !names[target.Figure] {
				t.Errorf("%s has no figure %q", c.name, target.Figure)
			}
			if target.Peer == peerWalserDefault && !c.kind.durable() {
				t.Errorf("%s does not measure %s", c.name, target.Peer)
			}
			if target.holds(target.Bound+0.01) != (target.Op == "≥") || target.holds(target.Bound) != (target.Op != "<") {
				t.Errorf("%s: %s means something else", c.name, target)
			}
		}
	}
}
