package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is the noun version.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Time    string `json:"time,omitempty"` // of the commit
	Dirty   bool   `json:"dirty,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  exactly(),
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion()
			if a.flags.output == "" || a.flags.output == outputTable {
				_, err := fmt.Fprintf(a.Stdout, "walser %s%s %s %s/%s\n", v.Version, commitNote(v), v.Go, v.OS, v.Arch)
				return err
			}
			return printOne(a, v)
		},
	}
}

func commitNote(v Version) string {
	if v.Commit == "" {
		return ""
	}
	dirty := ""
	if v.Dirty {
		dirty = ", changed"
	}
	return fmt.Sprintf(" (%.12s%s)", v.Commit, dirty)
}

// buildVersion returns what the toolchain noted in the binary.
func buildVersion() Version {
	v := Version{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Dirty = s.Value == "true"
		}
	}
	return v
}
