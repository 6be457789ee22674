//go:build !linux

package main

import (
	"errors"
	"syscall"
)

// The accounts of a process are read in Linux's /proc, so a run elsewhere ends here.
var errLinux = errors.New("this program measures through /proc: it needs Linux")

const profileSignal = syscall.SIGTERM // never sent

func childAttr() *syscall.SysProcAttr { return nil }

func dropCache(string) error { return errLinux }

func freeBytes(string) (int64, error) { return 0, errLinux }

func fileSystem(string) string { return "unknown" }
