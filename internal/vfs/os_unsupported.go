//go:build !linux && !darwin && !windows

package vfs

import "errors"

func usage(string) (Usage, error) { return Usage{}, errors.ErrUnsupported }
