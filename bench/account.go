package main

import (
	"fmt"
	"time"
)

// account adds up what the broker, this process and the machine use between pairs of edges.
type account struct {
	broker   *process
	profiled bool // the first edge begins a CPU profile
	open     bool
	from     used
	total    used
	err      error // the first
}

// used is what has been used so far.
type used struct {
	brokerCPU, clientCPU, machineCPU time.Duration
	diskRead                         int64
}

// otherCPU is what the machine spent on neither broker nor client. The accounts are not read at the same
// moment, so it may come out a little below nothing.
func (u *used) otherCPU() time.Duration { return max(0, u.machineCPU-u.brokerCPU-u.clientCPU) }

func (a *account) edge() {
	now, err := a.read()
	if err == nil && a.profiled {
		a.profiled = false
		err = a.broker.beginProfile()
	}
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("read the broker's account: %w", err)
	}
	if a.open {
		a.total.brokerCPU += now.brokerCPU - a.from.brokerCPU
		a.total.clientCPU += now.clientCPU - a.from.clientCPU
		a.total.machineCPU += now.machineCPU - a.from.machineCPU
		a.total.diskRead += now.diskRead - a.from.diskRead
	}
	a.open, a.from = !a.open, now
}

func (a *account) read() (now used, err error) {
	if now.brokerCPU, err = a.broker.cpu(); err != nil {
		return now, err
	}
	if now.clientCPU, err = cpuOf("self"); err != nil { // with clients of ours that have ended
		return now, err
	}
	if now.machineCPU, err = machineCPU(); err != nil {
		return now, err
	}
	now.diskRead, err = a.broker.diskRead()
	return now, err
}
