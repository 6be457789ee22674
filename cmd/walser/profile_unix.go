//go:build unix

package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// profileOnSignal lets SIGUSR1 begin a CPU profile, and the next one end it and put it into the file, whole.
// It serves until the process ends.
func profileOnSignal(file string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			if err := profile(file, signals); err != nil {
				os.Stderr.WriteString("walser: CPU profile: " + err.Error() + "\n")
			}
		}
	}()
}

// profile writes what runs until the next signal.
func profile(file string, next <-chan os.Signal) error {
	part := file + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	<-next
	pprof.StopCPUProfile()
	return os.Rename(part, file)
}
