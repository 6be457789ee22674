package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Origin is the layer a value comes from.
type Origin int8

// The layers, the strongest last.
const (
	FromDefault Origin = iota
	FromFile
	FromEnvironment
	FromFlag
)

// Source says where a value was set, precisely enough to go and change it.
type Source struct {
	Origin Origin
	Name   string // file name, or name of the environment variable
	Line   int    // line of the file, from 1
}

// String returns "server.properties:12", "environment variable WALSER_LISTENERS", "--set" or "default".
func (s Source) String() string {
	switch s.Origin {
	case FromFile:
		return fmt.Sprintf("%s:%d", s.Name, s.Line)
	case FromEnvironment:
		return "environment variable " + s.Name
	case FromFlag:
		return "--set"
	default:
		return "default"
	}
}

// Format is the notation of a configuration file.
type Format int8

// The formats. Properties is Java's, as in server.properties.
const (
	Properties Format = iota
	YAML
)

// FormatOf returns the format that a file's name stands for: YAML for .yaml and .yml, else properties.
func FormatOf(path string) Format {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml":
		return YAML
	}
	return Properties
}

// Sources are the layers below and above the environment. The zero Sources are none, which leaves a node
// of its own on loopback.
type Sources struct {
	// Defaults take the place of the table's defaults: what the caller knows and the table cannot, as the
	// data directory (log.dir) under the user's data home. Any layer may set the key again.
	Defaults map[string]string
	File     *File    // nil: no file
	Set      []string // key=value, later ones win
}

// File is a configuration file that has been read.
type File struct {
	Name   string // as messages show it
	Format Format
	Data   []byte
}

// maxFileBytes bounds what is taken for a configuration file.
const maxFileBytes = 4 << 20

// ReadFile reads the file that --config names.
func ReadFile(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if info.IsDir() || info.Size() > maxFileBytes {
		return nil, fmt.Errorf("read configuration: %s is not a configuration file (a directory, or above %d MiB)", path, maxFileBytes>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return &File{Name: path, Format: FormatOf(path), Data: data}, nil
}

// setting is one key=value as it was found.
type setting struct {
	name, value string
	source      Source
}
