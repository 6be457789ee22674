package cli

import (
	"errors"
	"fmt"
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
