package main

import "fmt"

// target is what Walser promises for one figure of a case.
type target struct {
	Figure  string  `json:"figure"`
	Peer    string  `json:"peer"` // whose figure
	Op      string  `json:"op"`   // ≥, ≤ or <
	Bound   float64 `json:"bound"`
	ToKafka bool    `json:"to_kafka"` // it bounds the ratio to Kafka's figure, not the figure itself
}

// atLeast and atMost bound the ratio of Walser's figure to Kafka's.
func atLeast(figure string, ratio float64) target {
	return target{figure, peerWalser, "≥", ratio, true}
}
func atMost(figure string, ratio float64) target {
	return target{figure, peerWalser, "≤", ratio, true}
}

// byDefault says the same of Walser with its default durability.
func (t target) byDefault() target {
	t.Peer = peerWalserDefault
	return t
}

// holds says whether a ratio, or a figure, keeps within the target.
func (t target) holds(v float64) bool {
	switch t.Op {
	case "≥":
		return v >= t.Bound
	case "≤":
		return v <= t.Bound
	case "<":
		return v < t.Bound
	}
	return false
}

// String is the target as a table has it.
func (t target) String() string {
	if t.ToKafka {
		return fmt.Sprintf("%s %v×", t.Op, t.Bound)
	}
	return fmt.Sprintf("%s %v", t.Op, t.Bound)
}

// verdict says whether a target holds: its median, and in how many rounds.
type verdict struct {
	Case string `json:"case"`
	target
	Measured bool   `json:"measured"`
	Value    spread `json:"value"` // the ratio to Kafka, or the figure
	Holds    bool   `json:"holds"` // the median does
	HoldsIn  int    `json:"holds_in_rounds"`
}

// judge compares a target with the figure's values by peer, in the order of the rounds.
func (t target) judge(name string, values map[string][]float64) verdict {
	v := verdict{Case: name, target: t}
	rounds := values[t.Peer]
	v.Value, v.Measured = spreadOf(rounds), len(rounds) > 0
	if t.ToKafka {
		v.Value, v.Measured = ratioOf(rounds, values[peerKafka])
		rounds = quotients(rounds, values[peerKafka])
	}
	if !v.Measured {
		return v
	}
	v.Holds = t.holds(v.Value.Median)
	for _, value := range rounds {
		if t.holds(value) {
			v.HoldsIn++
		}
	}
	return v
}

// word is the verdict as a table has it.
func (v *verdict) word() string {
	switch {
	case !v.Measured:
		return "not measured"
	case v.Holds:
		return "holds"
	}
	return "MISSED"
}
