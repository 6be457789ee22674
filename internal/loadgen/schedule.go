package loadgen

import "time"

// Schedule says when each record of an open loop is due, whatever has become of those before it: the time
// that latency counts from. It holds for rates up to maxRate and for an hour.
type Schedule struct {
	Rate int // records per second
}

// At returns when record i is due, from the start.
func (s Schedule) At(i int64) time.Duration {
	return time.Duration(i * int64(time.Second) / int64(s.Rate))
}

// Due returns how many records are due by the given time: the first i for which At(i) lies after it.
func (s Schedule) Due(elapsed time.Duration) int64 {
	if elapsed < 0 {
		return 0
	}
	// At(i) ≤ elapsed means i·1e9/rate < elapsed+1, hence the count is (elapsed+1)·rate/1e9, rounded up.
	return (int64(elapsed+1)*int64(s.Rate) + int64(time.Second) - 1) / int64(time.Second)
}
