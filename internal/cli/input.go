package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// openInput opens a file of the user's.
func openInput(name string) (*os.File, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Failure{Code: ExitNotFound, Cause: fmt.Errorf("read input: %w", err)}
	}
	if err != nil {
		return nil, fmt.Errorf("read input: %w", err)
	}
	return f, nil
}

// terminated ends the last line of an input that does not end it itself.
type terminated struct {
	in   io.Reader
	last byte // that was read; a line feed at the start, since no line is open
}

func (t *terminated) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := t.in.Read(p)
	if n > 0 {
		t.last = p[n-1]
		if errors.Is(err, io.EOF) {
			err = nil // the next read says so again
		}
		return n, err
	}
	if errors.Is(err, io.EOF) && t.last != '\n' {
		p[0], t.last = '\n', '\n'
		return 1, nil
	}
	return 0, err
}
