package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// machine is what a figure means nothing without.
type machine struct {
	CPUs       int     `json:"cpus"`
	CPU        string  `json:"cpu"`
	MemoryMiB  int64   `json:"memory_mib"`
	Kernel     string  `json:"kernel"`
	FileSystem string  `json:"file_system"`
	LoadBefore float64 `json:"load_before"` // processes that ran or waited in the minute before
	Go         string  `json:"go"`
	Client     string  `json:"client"`
	Commit     string  `json:"commit"`
}

func describeMachine(ctx context.Context, dir string) machine {
	m := machine{
		CPUs: runtime.NumCPU(), CPU: "unknown", Kernel: runtime.GOOS, FileSystem: fileSystem(dir),
		Go: runtime.Version(), Client: "franz-go " + moduleVersion("github.com/twmb/franz-go"), Commit: "an unknown commit",
	}
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	if kib, err := field(read("/proc/meminfo"), "MemTotal"); err == nil {
		m.MemoryMiB = kib >> 10
	}
	if release := strings.TrimSpace(read("/proc/sys/kernel/osrelease")); release != "" {
		m.Kernel = "Linux " + release
	}
	if words := strings.Fields(read("/proc/loadavg")); len(words) > 0 {
		m.LoadBefore, _ = strconv.ParseFloat(words[0], 64) // zero where it is not a number
	}
	if root, err := repository(); err == nil {
		m.Commit = commit(ctx, root)
	}
	return m
}

// busy says whether something else used the machine before the run.
func (m *machine) busy() bool { return m.LoadBefore > 0.5*float64(m.CPUs) }

func (m *machine) lines() []string {
	lines := []string{
		fmt.Sprintf("%d CPUs (%s), %d MiB, %s, data on %s", m.CPUs, m.CPU, m.MemoryMiB, m.Kernel, m.FileSystem),
		fmt.Sprintf("load average before the run %.2f", m.LoadBefore),
	}
	if m.busy() {
		lines = append(lines, "NOT QUIET: something else was using the machine; do not quote these figures")
	}
	return lines
}

// read returns a file's text, or nothing.
func read(name string) string {
	text, _ := os.ReadFile(name) // a report says unknown then
	return string(text)
}

// moduleVersion returns the version of a module that this program links.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == path {
				return dep.Version
			}
		}
	}
	return "of an unknown version"
}
