package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// envProfile makes walser write a CPU profile when a signal asks for it: the first begins it, the next ends it.
const envProfile = "WALSER_CPU_PROFILE"

const profileTimeout = 10 * time.Second

// beginProfile begins a CPU profile of a broker that can be asked for one.
func (p *process) beginProfile() error {
	if p.profile == "" {
		return nil
	}
	p.profiling = true
	return p.cmd.Process.Signal(profileSignal)
}

// endProfile ends the profile that was begun, if it goes on.
func (p *process) endProfile() error {
	if !p.profiling {
		return nil
	}
	p.profiling = false
	return p.cmd.Process.Signal(profileSignal)
}

// keepProfile moves the profile that has ended to the file of that name.
func (p *process) keepProfile(name string) error {
	if p.profile == "" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), profileTimeout, fmt.Errorf("%s writes no CPU profile", p.name))
	defer cancel()
	err := again(ctx, 5*time.Millisecond, func() error {
		_, err := os.Stat(p.profile)
		return err
	})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(p.profile)
	if err != nil {
		return err
	}
	if err := writeWhole(name, text); err != nil { // it may lie on another file system
		return err
	}
	return os.Remove(p.profile)
}
