package main

import (
	"bytes"
	"testing"
	"time"
)

func TestSteadyRate(t *testing.T) {
	const output = `1000000 records sent, 327439.4 records/sec (319.76 MB/sec), 2.97 ms avg latency, 284.00 ms max latency.
750000 steady state records sent, 500000.0 records/sec (319.76 MB/sec), 2.97 ms avg latency.
`
	records, took, err := steadyRate(output)
	if err != nil || records != 750_000 || took != 1500*time.Millisecond {
		t.Errorf("got %d in %v, %v", records, took, err)
	}
	for _, output := range []string{"", "0 records sent, 0.0 records/sec", "5 records sent, 0.0 records/sec"} {
		if _, _, err := steadyRate(output); err == nil {
			t.Errorf("took %q", output)
		}
	}
}

func TestFeedLines(t *testing.T) {
	load := cases()[0].load
	var out bytes.Buffer
	if err := feedLines(&out, load, 2500); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), []byte{'\n'})
	if len(lines) != 2500 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		if len(line) != load.RecordBytes {
			t.Fatalf("a line has %d bytes", len(line))
		}
	}
}
