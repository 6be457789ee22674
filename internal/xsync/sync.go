//go:build !synctests

package xsync

import "sync"

// Mutex is a sync.Mutex in this build.
type Mutex = sync.Mutex

// RWMutex is a sync.RWMutex in this build.
type RWMutex = sync.RWMutex
